/**
 * The state of all breakers that data threads share: one SharedArrayBuffer of Int32 cells.
 *
 *     [ header: clusters, threads, ... (16) ] then per cluster:
 *     [ state (16) | thread 0's window (8 buckets x 4) | thread 1's window | ... ]
 *     state:  PHASE DETAIL_EPOCH UNTIL LASTING EVENT CHANGED_AT OPENINGS IN_A_ROW, 8 spare
 *     bucket: EPOCH ID SUCCESSES FAILURES
 *
 * The rule that holds: PHASE changes only by compare-and-exchange, and every change adds one to the epoch it carries.
 * So of any number of threads that want to change a breaker exactly one does, and a request that remembers the epoch it
 * began in can tell at its end whether the breaker has changed since. The grant of a probe is such a change: the epoch
 * it makes is the probe's token, and no two probes share one.
 *
 * Details of a change (UNTIL ...) are written by the thread that made it, after the exchange, and then marked with the
 * epoch they belong to. A reader that finds another mark (it came in between, or the writer died there) falls back on
 * the time at which it noticed the change itself, so nothing waits for a thread that is gone.
 *
 * Times are whole milliseconds modulo 2^32, compared by signed difference. All threads' clocks must count from the same
 * origin, as `systemClock` does. Accepted imprecision: a breaker left open without one request for 49.7 days may reject
 * for one more open period.
 */

import { assert } from '../../base/assert.ts';
import type { BreakerStateName } from './breaker-verdict.ts';

/** States a PHASE cell can hold, in its low three bits. CLOSED is 0, so zeroed memory is a closed breaker. */
export const Phase = {
  /** Requests pass; outcomes are counted. To OPEN, HELD_*. */
  CLOSED: 0,
  /** Requests are rejected until UNTIL. To PROBING, HELD_*. */
  OPEN: 1,
  /** The open period is over and no probe is in flight: the next request probes. To PROBING, HELD_*. */
  HALF_OPEN: 2,
  /** One probe is in flight and should settle before UNTIL. To CLOSED, OPEN, HALF_OPEN, PROBING (the next), HELD_*. */
  PROBING: 3,
  /** An operator's: requests are rejected. To HALF_OPEN, HELD_CLOSED. */
  HELD_OPEN: 4,
  /** An operator's: requests pass and nothing is judged. To CLOSED, HELD_OPEN. */
  HELD_CLOSED: 5,
} as const;

const STATE_BITS = 3;
const STATE_MASK = (1 << STATE_BITS) - 1;

/** Offsets in a cluster's state cells. */
export const Cell = {
  PHASE: 0,
  /** Epoch the following details belong to. */
  DETAIL_EPOCH: 1,
  /** End of the open period (OPEN) or deadline of the probe (PROBING). */
  UNTIL: 2,
  /** UNTIL minus the time of the change: no honest remainder is longer. */
  LASTING: 3,
  /** `BreakerEvent` of the last change. */
  EVENT: 4,
  CHANGED_AT: 5,
  /** Openings since the breaker last closed: the exponent of the open period. */
  OPENINGS: 6,
  /** Failures in a row, over all threads in the order they were recorded. */
  IN_A_ROW: 7,
} as const;

const HEADER_CELLS = 16;
const STATE_CELLS = 16;

/** Buckets of a window. It then covers between 7/8 and 8/8 of the configured length. */
export const WINDOW_BUCKETS = 8;
/** Cells of a bucket: EPOCH, ID, SUCCESSES, FAILURES. */
export const BUCKET_CELLS = 4;
/** Two cache lines, so that two threads never write to the same one. */
const WINDOW_CELLS = WINDOW_BUCKETS * BUCKET_CELLS;

const MAX_CLUSTERS = 4096;
const MAX_THREADS = 64;

const STATE_NAMES: readonly BreakerStateName[] = [
  'closed',
  'open',
  'half_open',
  'half_open',
  'held_open',
  'held_closed',
];

/** A view of the shared cells as one thread uses them. Send `buffer` to another thread and construct a view there. */
export class BreakerCells {
  readonly buffer: SharedArrayBuffer;
  readonly cells: Int32Array;
  readonly clusters: number;
  readonly threads: number;
  /** Which thread's windows this view writes; -1 for a view that only watches and holds (the control thread). */
  readonly threadIndex: number;

  constructor(buffer: SharedArrayBuffer, threadIndex = -1) {
    this.buffer = buffer;
    this.cells = new Int32Array(buffer);
    this.clusters = this.cells[0]!;
    this.threads = this.cells[1]!;
    this.threadIndex = threadIndex;
    assert(this.clusters > 0, 'the buffer was not made by BreakerCells.allocate');
    assert(threadIndex >= -1 && threadIndex < this.threads, 'threadIndex outside the threads allocated for');
  }

  /** A zeroed buffer (all breakers closed) for up to 4096 clusters and 64 recording threads; 64 + 128 bytes per thread each. */
  static allocate(clusters: number, threads: number): SharedArrayBuffer {
    assert(clusters >= 1 && clusters <= MAX_CLUSTERS, 'clusters outside 1..4096');
    assert(threads >= 1 && threads <= MAX_THREADS, 'threads outside 1..64');
    const cells = HEADER_CELLS + clusters * (STATE_CELLS + threads * WINDOW_CELLS);
    const buffer = new SharedArrayBuffer(cells * Int32Array.BYTES_PER_ELEMENT);
    const header = new Int32Array(buffer);
    header[0] = clusters;
    header[1] = threads;
    return buffer;
  }

  /** First state cell of a cluster. */
  stateBase(index: number): number {
    assert(index >= 0 && index < this.clusters, 'breaker index outside the clusters allocated for');
    return HEADER_CELLS + index * (STATE_CELLS + this.threads * WINDOW_CELLS);
  }

  /** First cell of a thread's window for a cluster. */
  windowBase(index: number, thread: number): number {
    return this.stateBase(index) + STATE_CELLS + thread * WINDOW_CELLS;
  }

  /** Closes a breaker and forgets its past: for an index that is given to another cluster. */
  reset(index: number): void {
    const base = this.stateBase(index);
    Atomics.store(this.cells, base + Cell.OPENINGS, 0);
    Atomics.store(this.cells, base + Cell.IN_A_ROW, 0);
    for (;;) {
      const phase = Atomics.load(this.cells, base);
      if (Atomics.compareExchange(this.cells, base, phase, nextPhase(phase, Phase.CLOSED)) === phase) return;
    }
  }
}

/** The state in a PHASE cell. */
export function stateOf(phase: number): number {
  return phase & STATE_MASK;
}

/** The epoch in a PHASE cell, 0..2^29-1; it grows by one with every change and wraps. */
export function epochOf(phase: number): number {
  return phase >>> STATE_BITS;
}

/** The PHASE cell of a state in an epoch. */
export function phaseOf(epoch: number, state: number): number {
  return (epoch << STATE_BITS) | state;
}

/** The PHASE cell that follows `phase` when the breaker goes to `state`. */
export function nextPhase(phase: number, state: number): number {
  return phaseOf(epochOf(phase) + 1, state);
}

/** The name people see for the state in a PHASE cell. */
export function stateName(phase: number): BreakerStateName {
  return STATE_NAMES[stateOf(phase)]!;
}

/** A clock reading as cells hold times: whole milliseconds modulo 2^32. */
export function cellTime(nowMs: number): number {
  return Math.floor(nowMs) | 0;
}
