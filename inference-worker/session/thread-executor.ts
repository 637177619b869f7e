/**
 * Runs batches in execution threads, each with a session of its own, so that no other stream waits for them. A lost thread
 * is replaced; batches it had not begun go to the replacement.
 */
import type { Logger } from '../../base/logger.ts';
import type { Batch } from '../batching/batch.ts';
import type { Executor, ExecutorSink } from '../batching/executor.ts';
import type { LooseOutput } from '../batching/slab.ts';
import { executionThreadLost, executionTimedOut } from '../worker-error.ts';
import {
  ExecutionThreadHandle,
  MAX_BATCHES_PER_THREAD,
  type ThreadEvents,
  type ThreadOptions,
} from './execution-thread-handle.ts';
import type { ModelInfo } from './model-info.ts';
import { executionError } from './out-of-memory.ts';

export class ThreadExecutor implements Executor, ThreadEvents {
  readonly place = 'thread';
  /** Set before the first start. */
  sink!: ExecutorSink;
  private readonly options: ThreadOptions;
  private readonly log: Logger;
  private readonly threads: ExecutionThreadHandle[] = [];
  /** Batches of lost threads that wait for a replacement. */
  private orphans: Batch[] = [];
  private replacing: Promise<void> = Promise.resolve();
  private closing = false;

  constructor(options: ThreadOptions, log: Logger) {
    this.options = options;
    this.log = log;
  }

  /** Starts `count` more threads and resolves when all have loaded; rejects, those threads ended, when one cannot. */
  async addThreads(count: number): Promise<ModelInfo> {
    const added: ExecutionThreadHandle[] = [];
    for (let i = 0; i < count; i++) added.push(new ExecutionThreadHandle(this.options, this.freeInstance(added), this));
    const results = await Promise.allSettled(added.map((thread) => thread.loaded));
    const failure = results.find((result) => result.status === 'rejected');
    if (failure !== undefined) {
      await Promise.all(added.map((thread) => thread.stop()));
      throw failure.reason;
    }
    this.threads.push(...added);
    return (results[0] as PromiseFulfilledResult<ModelInfo>).value;
  }

  accepts(ahead: boolean): boolean {
    return this.leastLoaded(ahead ? MAX_BATCHES_PER_THREAD : 1) !== null;
  }

  start(batch: Batch): void {
    this.leastLoaded(MAX_BATCHES_PER_THREAD)!.start(batch);
  }

  forget(batch: Batch): void {
    for (const thread of this.threads) if (thread.state === 'ready') thread.forget(batch);
  }

  async close(): Promise<void> {
    await this.replacing;
    this.closing = true;
    await Promise.all(this.threads.map((thread) => thread.stop()));
  }

  // --- what threads report ------------------------------------------------------------------------------------------

  succeeded(batch: Batch, loose: (LooseOutput | null)[] | null, executeMs: number): void {
    this.sink.batchFinished(batch, loose, executeMs);
    this.sink.placeFreed();
  }

  failed(batch: Batch, message: string): void {
    this.sink.batchFailed(batch, executionError(message), true);
    this.sink.placeFreed();
  }

  lost(thread: ExecutionThreadHandle, error: Error, begun: Batch[], waiting: Batch[]): void {
    this.log.error('execution_thread_lost', { error, batches: begun.length });
    this.threads.splice(this.threads.indexOf(thread), 1);
    const hopeless = this.closing ? [...begun, ...waiting] : begun;
    for (const batch of hopeless) this.sink.batchFailed(batch, executionThreadLost(error.message), false);
    if (this.closing) return;
    this.orphans.push(...waiting);
    this.replacing = this.replacing.then(() => this.replace());
  }

  stuck(_thread: ExecutionThreadHandle, batches: Batch[]): void {
    const error = executionTimedOut(this.options.executionTimeoutMs);
    this.log.error('execution_thread_stuck', { timeoutMs: this.options.executionTimeoutMs });
    this.sink.stuck(error);
    for (const batch of batches) this.sink.batchFailed(batch, error, false);
  }

  /** A lost thread whose replacement does not even load the model is as good as stuck: only a new process may help. */
  private async replace(): Promise<void> {
    try {
      await this.addThreads(1);
    } catch (error) {
      const lost = executionThreadLost(`no replacement: ${(error as Error).message}`);
      const { orphans } = this;
      this.orphans = [];
      this.sink.stuck(lost);
      for (const batch of orphans) this.sink.batchFailed(batch, lost, false);
      return;
    }
    const { orphans } = this;
    this.orphans = [];
    this.sink.threadReplaced();
    for (const batch of orphans) this.start(batch);
    this.sink.placeFreed();
  }

  /** The least instance number no thread has, so that a replacement takes the device of the one it replaces. */
  private freeInstance(added: readonly ExecutionThreadHandle[]): number {
    let instance = 0;
    while ([...this.threads, ...added].some((thread) => thread.instance === instance)) instance++;
    return instance;
  }

  private leastLoaded(limit: number): ExecutionThreadHandle | null {
    let chosen: ExecutionThreadHandle | null = null;
    for (const thread of this.threads) {
      if (thread.state !== 'ready' || thread.load >= limit) continue;
      if (chosen === null || thread.load < chosen.load) chosen = thread;
    }
    return chosen;
  }
}
