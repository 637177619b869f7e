/**
 * What data threads share about the load of clusters: requests in flight and waiting, so that admission bounds hold for
 * the process, and the requests and retries of the last seconds, so that a retry budget does.
 *
 *     [ places, threads, ... (16) ] then per place
 *     [ in flight, pending | 10 x (second, requests, retries) | 10 x (second, requests, hedges) ] (64 cells)
 *     then per thread and place [ in flight, pending ]: what is to be taken back when the thread dies
 *
 * A thread that dies between the two stores of one request leaves the total off by one; it dies by an uncaught error in
 * some handler or for want of memory, not in between. While a bound is reached, a refusal in one thread may be seen by
 * another for an instant as one more request; nothing is ever admitted above the bound.
 */
import { assert } from '../../base/assert.ts';
import { RETRY_CELLS } from './retry-budget.ts';

const HEADER_CELLS = 16;
const PLACE_CELLS = 64;
const OWN_CELLS = 2;
const IN_FLIGHT = 0;
const PENDING = 1;
const RETRIES = 2;
const HEDGES = 32;

export class LoadCells {
  private readonly cells: Int32Array;
  private readonly places: number;
  private readonly threads: number;

  constructor(buffer: SharedArrayBuffer) {
    this.cells = new Int32Array(buffer);
    this.places = this.cells[0]!;
    this.threads = this.cells[1]!;
  }

  /** Memory for this many clusters and data threads. */
  static allocate(places: number, threads: number): SharedArrayBuffer {
    assert(HEDGES >= RETRIES + RETRY_CELLS, 'a place holds its retries');
    assert(PLACE_CELLS >= HEDGES + RETRY_CELLS, 'and its hedges');
    const cells = HEADER_CELLS + places * PLACE_CELLS + threads * places * OWN_CELLS;
    const buffer = new SharedArrayBuffer(cells * Int32Array.BYTES_PER_ELEMENT);
    new Int32Array(buffer).set([places, threads]);
    return buffer;
  }

  /** The load of the cluster at `place` as `thread` moves it. */
  load(place: number, thread: number): ClusterLoad {
    assert(place >= 0 && place < this.places, 'a place of these cells');
    // Nobody to share with, which is the default: atomic operations would cost 0.3 us a request.
    if (this.threads === 1) return ClusterLoad.alone();
    return new ClusterLoad(this.cells, sharedAt(place), this.ownAt(place, thread));
  }

  /** Where the retry budget of the cluster at `place` is kept. */
  retries(place: number): Int32Array {
    const at = sharedAt(place) + RETRIES;
    return this.cells.subarray(at, at + RETRY_CELLS);
  }

  /** Where the budget of its hedges is kept. */
  hedges(place: number): Int32Array {
    const at = sharedAt(place) + HEDGES;
    return this.cells.subarray(at, at + RETRY_CELLS);
  }

  /** A thread died: what it had in flight and waiting is gone with it. */
  forget(thread: number): void {
    if (this.threads === 1) return;
    for (let place = 0; place < this.places; place++) {
      for (const count of [IN_FLIGHT, PENDING]) {
        const own = this.ownAt(place, thread) + count;
        Atomics.sub(this.cells, sharedAt(place) + count, Atomics.exchange(this.cells, own, 0));
      }
    }
  }

  private ownAt(place: number, thread: number): number {
    return HEADER_CELLS + this.places * PLACE_CELLS + (thread * this.places + place) * OWN_CELLS;
  }
}

function sharedAt(place: number): number {
  return HEADER_CELLS + place * PLACE_CELLS;
}

/** How much is with one cluster, over all threads. */
export class ClusterLoad {
  private readonly cells: Int32Array;
  /** Where the total is; -1 when there is only this thread's part. */
  private readonly shared: number;
  private readonly own: number;

  constructor(cells: Int32Array, shared: number, own: number) {
    this.cells = cells;
    this.shared = shared;
    this.own = own;
  }

  /** Of a cluster that no other thread knows. */
  static alone(): ClusterLoad {
    return new ClusterLoad(new Int32Array(OWN_CELLS), -1, 0);
  }

  /** One more request in flight; false when there are `max`. */
  tryEnter(max: number): boolean {
    return this.tryAdd(IN_FLIGHT, max);
  }

  leave(): void {
    this.subtract(IN_FLIGHT);
  }

  /** One more request that waits for a connection; false when there are `max`. */
  tryWait(max: number): boolean {
    return this.tryAdd(PENDING, max);
  }

  stopWaiting(): void {
    this.subtract(PENDING);
  }

  private tryAdd(count: number, max: number): boolean {
    const { cells, shared } = this;
    const own = this.own + count;
    if (shared < 0) {
      if (cells[own]! >= max) return false;
    } else if (Atomics.add(cells, shared + count, 1) >= max) {
      Atomics.sub(cells, shared + count, 1);
      return false;
    }
    cells[own]! += 1;
    return true;
  }

  private subtract(count: number): void {
    this.cells[this.own + count]! -= 1;
    if (this.shared >= 0) Atomics.sub(this.cells, this.shared + count, 1);
  }
}
