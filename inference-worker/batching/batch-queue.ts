/**
 * The tasks that wait for one servable, signature and tail shape, already lying in the slabs they will be executed in.
 *
 * What holds here, and in the scheduler that empties these queues:
 *  1. A batch holds tasks of one servable, one signature, one tail shape and one priority.
 *  2. Its rows never exceed `maxBatchSize`, nor does the size it runs at; the last of `allowedBatchSizes` equals it.
 *  3. Rows added to reach an allowed size never reach a caller.
 *  4. Expired and cancelled tasks leave before assembly: no session runs rows nobody waits for.
 *  5. A full queue refuses at once; a refused task leaves no trace.
 *  6. Tasks of a higher priority go first, primary before shadow, and none can fill the queue of another. Within a priority:
 *     first come, first served.
 *  7. Every accepted task gets exactly one reply, also when its batch fails, its thread dies, or the servable closes.
 *  8. A slab's rows are reused only after all replies from it were written.
 *
 *   lane (one per priority):   closed batch | closed batch | ... | open batch   <- tasks are added here
 *                              ^ taken from here
 */
import { assert } from '../../base/assert.ts';
import { ArrivalPace } from './arrival-pace.ts';
import type { Batch } from './batch.ts';
import { type PredictCall, Priority } from './batcher.ts';
import { DispatchPolicy } from './dispatch-policy.ts';
import { enqueuedBatchesLimit, executedRows, type ServableShape } from './servable-shape.ts';
import type { SlabPool } from './slab-pool.ts';

export const LANES = 4;

/** The lane of a task, the first going first. */
export function laneOf(priority: number): number {
  return priority < Priority.primary ? 0 : priority < Priority.low ? 1 : priority < Priority.shadow ? 2 : 3;
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
  private readonly policy: DispatchPolicy;
  private readonly lanes: readonly Batch[][] = Array.from({ length: LANES }, () => []);
  private readonly paces: readonly ArrivalPace[] = Array.from({ length: LANES }, () => new ArrivalPace());
  private readonly laneRows = new Float64Array(LANES);

  constructor(
    shape: ServableShape,
    rowDims: readonly (readonly number[])[],
    pool: SlabPool,
    policy: DispatchPolicy = new DispatchPolicy(shape.options),
  ) {
    this.shape = shape;
    this.rowDims = rowDims;
    this.pool = pool;
    this.limit = enqueuedBatchesLimit(shape);
    this.policy = policy;
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
    if (last !== null && !last.closed && last.hasRoomFor(rows) && last.rows + rows <= this.policy.rowsLimit)
      return last;
    if (lane.length >= this.limit) return null;
    return this.pool.acquire(executedRows(this.shape.options, rows));
  }

  /** Rows that may be added in parts of at most `partRows`: the room of the open batch and of those that may follow. */
  roomFor(partRows: number, priority: number): number {
    const lane = this.lanes[laneOf(priority)];
    return this.openRoom(priority) + Math.max(0, this.limit - lane.length) * partRows;
  }

  /** Rows the open batch still takes; 0 when there is none. */
  openRoom(priority: number): number {
    const lane = this.lanes[laneOf(priority)];
    const last = lane.length > 0 ? lane[lane.length - 1] : null;
    if (last === null || last.closed) return 0;
    return Math.max(0, Math.min(last.plan.capacityRows, this.policy.rowsLimit) - last.rows);
  }

  /** Most rows of a batch here. */
  get fullRows(): number {
    return Math.min(this.pool.plan.capacityRows, this.policy.rowsLimit);
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
    const lane = batch.priority;
    batch.add(call, nowMs);
    if (batch.rows >= this.policy.rowsLimit) batch.closed = true;
    assert(batch.rows <= this.shape.options.maxBatchSize, 'a batch never exceeds maxBatchSize');
    this.paces[lane].record(nowMs);
    this.laneRows[lane] += call.rows;
    this.tasks++;
    this.rows += call.rows;
  }

  abandon(batch: Batch): void {
    if (batch.count === 0) this.pool.release(batch);
  }

  /** Rows that wait in `lane` and those before it. */
  rowsUpTo(lane: number): number {
    let rows = 0;
    for (let i = 0; i <= lane; i++) rows += this.laneRows[i];
    return rows;
  }

  /** The batch to run next in a lane, waiting or ready, or null. */
  head(lane: number): Batch | null {
    const batches = this.lanes[lane];
    return batches.length > 0 ? batches[0] : null;
  }

  /**
   * When the head of `lane` may run if a place is idle: now or earlier when it is closed or need not wait, otherwise when
   * the policy says so or waiting would cost a task its deadline, the run taking `runMs`. Infinity for an empty lane.
   */
  dueMs(lane: number, runMs: number, nowMs: number): number {
    const batch = this.head(lane);
    if (batch === null) return Number.POSITIVE_INFINITY;
    if (batch.closed) return batch.openedAtMs;
    const pace = this.paces[lane];
    const dueMs = this.policy.dueMs(batch, runMs, pace.gapMs(nowMs), pace.lastMs);
    return Math.min(dueMs, batch.earliestDeadlineMs - runMs);
  }

  /** Takes the head of `lane` out. */
  take(lane: number): Batch {
    const batch = this.lanes[lane].shift();
    assert(batch !== undefined, 'a batch is taken from a lane that has one');
    this.tasks -= batch.count;
    this.rows -= batch.rows;
    this.laneRows[lane] -= batch.rows;
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
        this.laneRows[batch.priority] -= rows - batch.rows;
        if (batch.count > 0) continue;
        lane.splice(i, 1);
        this.pool.release(batch);
      }
    }
  }
}
