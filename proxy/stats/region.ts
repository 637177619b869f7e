/**
 * Where counts live: one region of Float64 slots per data thread, written by that thread alone with plain stores.
 *
 * The control thread reads all regions and sums them at scrape time. Accepted imprecision: a scrape sees each slot at
 * some moment of its own, so a histogram's buckets and its sum may be one request apart. Doubles count exactly to 2^53.
 */

import { assert } from '../../base/assert.ts';
import { recordLatency } from './histogram.ts';

/** One thread's slots. Hot code may write `cells[base + offset]` itself; the methods say the same in words. */
export class StatsRegion {
  readonly cells: Float64Array;

  /** A view of a buffer made by `StatsRegions`; the buffer may come from another thread. */
  constructor(buffer: SharedArrayBuffer) {
    this.cells = new Float64Array(buffer);
  }

  /** Adds to a counter, or moves a gauge (`amount` may then be negative). */
  add(slot: number, amount: number): void {
    this.cells[slot]! += amount;
  }

  /** Sets a gauge. */
  set(slot: number, value: number): void {
    this.cells[slot] = value;
  }

  /** Counts a duration in the histogram that starts at `slot`. */
  recordLatency(slot: number, valueMs: number): void {
    recordLatency(this.cells, slot, valueMs);
  }
}

/** All threads' regions, as the control thread owns them. */
export class StatsRegions {
  readonly buffers: readonly SharedArrayBuffer[];
  private readonly views: readonly Float64Array[];

  /** Zeroed regions of `slots` slots for `threads` threads. */
  constructor(threads: number, slots: number) {
    assert(threads >= 1 && slots >= 1, 'a region needs a thread and a slot');
    const bytes = slots * Float64Array.BYTES_PER_ELEMENT;
    this.buffers = Array.from({ length: threads }, () => new SharedArrayBuffer(bytes));
    this.views = this.buffers.map((buffer) => new Float64Array(buffer));
  }

  get threads(): number {
    return this.views.length;
  }

  /** One thread's value of a slot. */
  read(thread: number, slot: number): number {
    return this.views[thread]![slot]!;
  }

  /** Sums every slot over all threads into `sums`, which has the length of a region. */
  sumInto(sums: Float64Array): void {
    sums.set(this.views[0]!);
    for (let thread = 1; thread < this.views.length; thread++) {
      const view = this.views[thread]!;
      for (let slot = 0; slot < sums.length; slot++) sums[slot]! += view[slot]!;
    }
  }

  /** Zeroes slots in every region: for gauges of a thread that died, or a block that changes its owner. */
  clear(firstSlot: number, count: number): void {
    for (const view of this.views) view.fill(0, firstSlot, firstSlot + count);
  }

  /** Zeroes the given slots of one thread: the gauges of a thread that died, before another takes its region. */
  clearSlots(thread: number, slots: Iterable<number>): void {
    for (const slot of slots) this.views[thread]![slot] = 0;
  }
}
