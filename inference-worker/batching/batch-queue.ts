/**
 * The tasks that wait for one servable, signature and tail shape, already lying in the slabs they will be executed in.
 *
 * What holds here, and in the scheduler that empties these queues:
 *  1. A batch holds tasks of one servable, one signature, one tail shape and one priority.
 *  2. Its rows never exceed `maxBatchSize`, nor does the size it runs at; the last of `allowedBatchSizes` equals it.
 *  3. Rows added to reach an allowed size never reach a caller.
 *  4. Expired and cancelled tasks leave before assembly: no session runs rows nobody waits for.
 *  5. A full queue refuses at once; a refused task leaves no trace.
 *  6. Primary tasks go before shadow tasks, and neither can fill the other's queue. Within a priority: first come, first served.
 *  7. Every accepted task gets exactly one reply, also when its batch fails, its thread dies, or the servable closes.
 *  8. A slab's rows are reused only after all replies from it were written.
 *
 *   lane (one per priority):   closed batch | closed batch | ... | open batch   <- tasks are added here
 *                              ^ taken from here
 */
import { assert } from '../../base/assert.ts';
import type { Batch } from './batch.ts';
import { type PredictCall, Priority } from './batcher.ts';
import { enqueuedBatchesLimit, executedRows, type ServableShape } from './servable-shape.ts';
import type { SlabPool } from './slab-pool.ts';

export const LANES = 2;

/** The lane of a task: shadow is everything that is not primary. */
export function laneOf(priority: number): number {
  return priority <= Priority.primary ? 0 : 1;
}

export class BatchQueue {
  readonly pool: SlabPool;
  /** Shape of one row of each input; with the signature it is what all tasks here have in common. */
  readonly rowDims: readonly (readonly number[])[];
  /** Tasks and rows waiting in both lanes. */
  tasks = 0;
  rows = 0;
  /** Batches of this queue that are being executed, answered or retried. */
  inFlight = 0;
  private readonly shape: ServableShape;
  private readonly limit: number;
  private readonly timeoutMs: number;
  private readonly lanes: Batch[][] = [[], []];

  constructor(shape: ServableShape, rowDims: readonly (readonly number[])[], pool: SlabPool) {
    this.shape = shape;
    this.rowDims = rowDims;
    this.pool = pool;
    this.limit = enqueuedBatchesLimit(shape);
    this.timeoutMs = shape.options.batchTimeoutMicros / 1000;
  }

  get isIdle(): boolean {
    return this.tasks === 0 && this.inFlight === 0;
  }

  /**
   * The batch whose rows `[batch.rows, batch.rows + rows)` the task may write, or null when the queue is full.
   * Follow with `commit` or, if the task turns out to be malformed, `abandon`.
   */
  open(rows: number, priority: number): Batch | null {
    const lane = this.lanes[laneOf(priority)];
    const last = lane.length > 0 ? lane[lane.length - 1] : null;
    if (last !== null && !last.closed && last.hasRoomFor(rows)) return last;
    if (lane.length >= this.limit) return null;
    return this.pool.acquire(executedRows(this.shape.options, rows));
  }

  /** Whether no further batch may wait in the lane of `priority`. */
  isFull(priority: number): boolean {
    return this.lanes[laneOf(priority)].length >= this.limit;
  }

  /** The task's rows are written: it is accepted. */
  commit(batch: Batch, call: PredictCall, nowMs: number): void {
    if (batch.count === 0) {
      const index = laneOf(call.priority);
      const lane = this.lanes[index];
      if (lane.length > 0) lane[lane.length - 1].closed = true;
      batch.priority = index;
      lane.push(batch);
    }
    batch.add(call, nowMs);
    assert(batch.rows <= this.shape.options.maxBatchSize, 'a batch never exceeds maxBatchSize');
    this.tasks++;
    this.rows += call.rows;
  }

  abandon(batch: Batch): void {
    if (batch.count === 0) this.pool.release(batch);
  }

  /** The batch to run next in a lane, waiting or ready, or null. */
  head(lane: number): Batch | null {
    const batches = this.lanes[lane];
    return batches.length > 0 ? batches[0] : null;
  }

  /**
   * When the head of `lane` may run if a place is idle: now or earlier when it is closed or need not wait, otherwise when
   * its timeout has passed or waiting would cost a task its deadline, the run taking `runMs`. Infinity for an empty lane.
   */
  dueMs(lane: number, runMs: number): number {
    const batch = this.head(lane);
    if (batch === null) return Number.POSITIVE_INFINITY;
    if (batch.closed || this.timeoutMs === 0) return batch.openedAtMs;
    return Math.min(batch.openedAtMs + this.timeoutMs, batch.earliestDeadlineMs - runMs);
  }

  /** Takes the head of `lane` out. */
  take(lane: number): Batch {
    const batch = this.lanes[lane].shift();
    assert(batch !== undefined, 'a batch is taken from a lane that has one');
    this.tasks -= batch.count;
    this.rows -= batch.rows;
    return batch;
  }

  /** Removes expired and cancelled tasks from all waiting batches, and batches that become empty. */
  removeDead(nowMs: number, dropped: (call: PredictCall) => void): void {
    for (const lane of this.lanes) {
      for (let i = lane.length - 1; i >= 0; i--) {
        const batch = lane[i];
        const rows = batch.rows;
        this.tasks -= batch.removeDead(nowMs, dropped);
        this.rows -= rows - batch.rows;
        if (batch.count > 0) continue;
        lane.splice(i, 1);
        this.pool.release(batch);
      }
    }
  }
}
