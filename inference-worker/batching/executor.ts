/** Where assembled batches run, and what it tells the scheduler. Implementations live in `session/`. */

import type { WorkerError } from '../worker-error.ts';
import type { Batch } from './batch.ts';
import type { ExecutionPlace } from './batching-options.ts';
import type { LooseOutput } from './slab.ts';

export interface Executor {
  readonly place: ExecutionPlace;
  /**
   * Whether `start` may be called now. `ahead` asks for a place behind a running batch, which only a batch that cannot
   * gain by waiting should take.
   */
  accepts(ahead: boolean): boolean;
  /** Executes the first `batch.executedRows` rows; the sink hears of it exactly once, possibly during this call. */
  start(batch: Batch): void;
  /** The batch's slab will not come again. */
  forget(batch: Batch): void;
  /** Ends threads and releases sessions. Called when nothing runs any more, or when a thread is stuck for good. */
  close(): Promise<void>;
}

/** The scheduler as executors see it. */
export interface ExecutorSink {
  /** `loose` holds the outputs that are not in the slab. */
  batchFinished(batch: Batch, loose: readonly (LooseOutput | null)[] | null, executeMs: number): void;
  /** `blameable`: one of the batch's tasks may be the cause, so they are worth trying one by one. */
  batchFailed(batch: Batch, error: WorkerError, blameable: boolean): void;
  /** A place became free outside of a turn that the scheduler knows of. */
  placeFreed(): void;
  /** A thread was replaced after a JavaScript error. */
  threadReplaced(): void;
  /** A thread is stuck in native code; nothing of this servable can be trusted to run again in this process. */
  stuck(error: WorkerError): void;
}
