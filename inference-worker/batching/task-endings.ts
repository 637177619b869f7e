/** How tasks end other than by an answer. Every reply goes out guarded: one that throws must not take others with it. */
import type { Logger } from '../../base/logger.ts';
import { EntryPoint } from '../metrics/entry-points.ts';
import { cancelledInQueue, executionFailed, expiredInQueue, WorkerError } from '../worker-error.ts';
import type { Batch } from './batch.ts';
import type { PredictCall } from './batcher.ts';
import type { ServableCounters } from './servable-counters.ts';

export class TaskEndings {
  /** Collects tasks nobody waits for, while a queue is being looked through; `dismissDead` replies to them afterwards. */
  readonly noteDead = (call: PredictCall): void => {
    this.dead.push(call);
  };
  /** For an `onOutputs` that threw. */
  readonly replyFailed = (call: PredictCall, thrown: unknown): void => {
    this.log.error('reply_threw', { error: thrown });
    this.reply(call, thrown instanceof WorkerError ? thrown : executionFailed('the answer could not be written'));
  };
  private readonly log: Logger;
  private readonly stats: ServableCounters;
  private dead: PredictCall[] = [];

  constructor(log: Logger, stats: ServableCounters) {
    this.log = log;
    this.stats = stats;
  }

  /** Replies to the tasks noted as dead. They may submit again while being told. */
  dismissDead(): void {
    if (this.dead.length === 0) return;
    const { dead } = this;
    this.dead = [];
    for (const call of dead) {
      const counters = this.stats.signature(call.signature.name);
      if (call.cancelled) {
        this.stats.cancelledTasks++;
        counters.cancelledTasks++;
      } else {
        this.stats.expiredTasks++;
        counters.expiredTasks++;
      }
      this.reply(call, call.cancelled ? cancelledInQueue() : expiredInQueue());
    }
  }

  failAll(batch: Batch, error: WorkerError): void {
    for (let i = 0; i < batch.count; i++) this.fail(batch.calls[i]!, error);
  }

  fail(call: PredictCall, error: WorkerError): void {
    this.stats.failedTasks++;
    this.stats.signature(call.signature.name).failedTasks++;
    this.reply(call, error);
  }

  private reply(call: PredictCall, error: WorkerError): void {
    if (call.entry !== EntryPoint.part) this.stats.signature(call.signature.name).statuses[error.code]++;
    try {
      call.onFailure(error);
    } catch (thrown) {
      this.log.error('reply_threw', { error: thrown });
    }
  }
}
