/**
 * Batches that failed for a reason one of their tasks may have caused. Each task is run again alone, so that only the one
 * to blame fails and no caller suffers from whom its rows happened to lie next to.
 */
import type { Batch } from './batch.ts';
import { type BatchQueue, LANES } from './batch-queue.ts';
import type { PredictCall } from './batcher.ts';

/** A failed batch, tasks before `next` already taken; `nextRow` is where the next one's rows begin. */
class FailedBatch {
  readonly queue: BatchQueue;
  readonly batch: Batch;
  next = 0;
  nextRow = 0;

  constructor(queue: BatchQueue, batch: Batch) {
    this.queue = queue;
    this.batch = batch;
  }
}

export class RetryQueue {
  private readonly lanes: FailedBatch[][] = Array.from({ length: LANES }, () => []);

  /** Takes over a failed batch and its place among `queue.inFlight`. */
  add(queue: BatchQueue, batch: Batch): void {
    this.lanes[batch.priority].push(new FailedBatch(queue, batch));
  }

  has(lane: number): boolean {
    return this.lanes[lane].length > 0;
  }

  /** The next task of `lane` in a batch of its own, counted as in flight, and the queue it is of. */
  take(lane: number): { readonly queue: BatchQueue; readonly batch: Batch } {
    const failed = this.lanes[lane][0];
    const { queue } = failed;
    const batch = queue.pool.acquireForRetry();
    batch.priority = lane;
    batch.copyCall(failed.batch, failed.next, failed.nextRow);
    failed.next++;
    failed.nextRow += batch.rows;
    if (failed.next < failed.batch.count) {
      queue.inFlight++;
    } else {
      this.lanes[lane].shift();
      queue.pool.release(failed.batch);
    }
    return { queue, batch };
  }

  /** Gives up on everything: `failed` hears of each task still to be run, and the batches go back. */
  clear(failed: (call: PredictCall) => void): void {
    for (const lane of this.lanes) {
      for (const { queue, batch, next } of lane.splice(0)) {
        for (let i = next; i < batch.count; i++) failed(batch.calls[i]!);
        queue.inFlight--;
        queue.pool.release(batch);
      }
    }
  }
}
