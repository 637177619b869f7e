/** The figures of one servable. The scheduler and the servable change them; scrapes read them. */
import type { ServableStats } from './batcher.ts';
import type { ExecutionPlace } from './batching-options.ts';

export class ServableCounters implements ServableStats {
  place: ExecutionPlace = 'front';
  fullBatchMs = Number.NaN;
  queuedTasks = 0;
  queuedRows = 0;
  runningBatches = 0;
  acceptedTasks = 0;
  answeredTasks = 0;
  failedTasks = 0;
  expiredTasks = 0;
  cancelledTasks = 0;
  refusedTasks = 0;
  executedBatches = 0;
  executedRows = 0;
  paddedRows = 0;
  queueMsSum = 0;
  executeMsSum = 0;
  replacedThreads = 0;
}
