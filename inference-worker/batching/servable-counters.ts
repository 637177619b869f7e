/** The figures of one servable. The scheduler and the servable change them; scrapes read them. */
import { Distribution } from '../metrics/distribution.ts';
import type { ServableStats, SignatureStats } from './batcher.ts';
import type { ExecutionPlace } from './batching-options.ts';

/** What became of the tasks of one signature. */
export class SignatureCounters implements SignatureStats {
  acceptedTasks = 0;
  answeredTasks = 0;
  failedTasks = 0;
  expiredTasks = 0;
  cancelledTasks = 0;
  refusedTasks = 0;
  /** Rows of accepted tasks. */
  rows = 0;
  readonly queueMs = Distribution.latency();
  readonly computeMs = Distribution.latency();
  readonly inputRows = Distribution.size();
}

export class ServableCounters implements ServableStats {
  place: ExecutionPlace = 'front';
  provider = 'cpu';
  instances = 1;
  fullBatchMs = Number.NaN;
  msPerRow = Number.NaN;
  msPerBatch = Number.NaN;
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
  /** Batches by rows of tasks, by rows padded, and by duration. */
  readonly batchRows = Distribution.size();
  readonly batchPadding = Distribution.size();
  readonly batchMs = Distribution.latency();
  readonly bySignature = new Map<string, SignatureCounters>();

  /** The counters of a signature, made when it is first asked for. */
  signature(name: string): SignatureCounters {
    let counters = this.bySignature.get(name);
    if (counters === undefined) {
      counters = new SignatureCounters();
      this.bySignature.set(name, counters);
    }
    return counters;
  }
}
