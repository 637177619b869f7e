/**
 * The rolling window a closed breaker judges by: successes and failures of the last `windowMs`, over all threads.
 *
 * Each thread counts in buckets of its own, so no count is contended or lost, and every bucket is stamped with the
 * breaker's epoch and the number of its slice of time. Nothing is ever cleared for others: a sum takes only buckets of
 * the current epoch and of the last eight slices, so a transition empties the window by itself. A success costs one
 * plain store; the sum, needed for a failure only, is a walk over threads x 8 buckets whatever the traffic.
 *
 * Accepted imprecision: a sum that meets a thread at the turn of its bucket misses that bucket; an outcome whose epoch
 * was checked just before a transition may be counted just after it, under the old stamp, where no sum sees it. Both
 * forget outcomes and never invent them. After a change of `windowMs` old slices may count for one window.
 */

import { AREA_CELLS, type BreakerCells, BUCKET_CELLS, WINDOW_BUCKETS } from './breaker-cells.ts';

const EPOCH = 0;
const ID = 1;
const SUCCESSES = 2;
const FAILURES = 3;
/** No epoch has this number: the bucket is being turned. */
const TURNING = -1;

export class BreakerWindow {
  /** Result of the last `sum`. */
  successes = 0;
  /** Result of the last `sum`. */
  failures = 0;

  private readonly cells: Int32Array;
  private readonly firstCell: number;
  private readonly threads: number;
  private readonly ownCell: number;
  private bucketMs: number;
  private currentCell: number;
  private currentEpoch = TURNING;
  private currentEndMs = 0;

  constructor(shared: BreakerCells, index: number, windowMs: number) {
    this.cells = shared.cells;
    this.firstCell = shared.windowBase(index, 0);
    this.threads = shared.threads;
    this.ownCell = shared.windowBase(index, Math.max(0, shared.threadIndex));
    this.bucketMs = bucketLengthMs(windowMs);
    this.currentCell = this.ownCell;
  }

  /** Takes a new window length; the bucket in use is left at the next outcome. */
  resize(windowMs: number): void {
    this.bucketMs = bucketLengthMs(windowMs);
    this.currentEpoch = TURNING;
  }

  /** Counts an outcome of this thread in `epoch`. */
  count(epoch: number, failed: boolean, nowMs: number): void {
    if (epoch !== this.currentEpoch || nowMs >= this.currentEndMs) this.turn(epoch, nowMs);
    // One writer: a plain store suffices, at a tenth of the cost of an atomic add.
    this.cells[this.currentCell + (failed ? FAILURES : SUCCESSES)]! += 1;
  }

  /** Sums the window of all threads in `epoch` into `successes` and `failures`. */
  sum(epoch: number, nowMs: number): void {
    const cells = this.cells;
    const newest = this.sliceOf(nowMs);
    let successes = 0;
    let failures = 0;
    for (let thread = 0; thread < this.threads; thread++) {
      const first = this.firstCell + thread * AREA_CELLS;
      for (let cell = first; cell < first + WINDOW_BUCKETS * BUCKET_CELLS; cell += BUCKET_CELLS) {
        // Atomic, so that what is read after it is no older than the stamp: counts of another epoch cannot slip in.
        if (Atomics.load(cells, cell + EPOCH) !== epoch) continue;
        // Another thread's clock may be a slice ahead of ours; anything else out of range is old.
        const age = (newest - cells[cell + ID]!) | 0;
        if (age >= WINDOW_BUCKETS || age < -1) continue;
        successes += cells[cell + SUCCESSES]!;
        failures += cells[cell + FAILURES]!;
      }
    }
    this.successes = successes;
    this.failures = failures;
  }

  private sliceOf(nowMs: number): number {
    return Math.floor(nowMs / this.bucketMs) | 0;
  }

  /** Moves to the bucket of `nowMs`, emptying what it held a window ago or in another epoch. */
  private turn(epoch: number, nowMs: number): void {
    const slice = Math.floor(nowMs / this.bucketMs);
    const cell = this.ownCell + ((slice | 0) & (WINDOW_BUCKETS - 1)) * BUCKET_CELLS;
    this.currentCell = cell;
    this.currentEpoch = epoch;
    this.currentEndMs = (slice + 1) * this.bucketMs;
    // A bucket this thread resumes (it was replaced, or the length changed back) keeps its counts.
    if (this.cells[cell + EPOCH] === epoch && this.cells[cell + ID] === (slice | 0)) return;
    Atomics.store(this.cells, cell + EPOCH, TURNING);
    this.cells[cell + SUCCESSES] = 0;
    this.cells[cell + FAILURES] = 0;
    this.cells[cell + ID] = slice | 0;
    Atomics.store(this.cells, cell + EPOCH, epoch);
  }
}

function bucketLengthMs(windowMs: number): number {
  return Math.max(1, windowMs / WINDOW_BUCKETS);
}
