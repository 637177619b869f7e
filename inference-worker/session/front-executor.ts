/**
 * Runs batches in the thread that serves the sockets: no hop and no wake-up, at the price of holding up everything else
 * for as long as a batch takes. Only for models whose full batch stays around a millisecond.
 */
import type { Clock } from '../../base/clock.ts';
import type { Batch } from '../batching/batch.ts';
import type { Executor, ExecutorSink } from '../batching/executor.ts';
import type { NativeSession } from './native-session.ts';
import { executionError } from './out-of-memory.ts';
import { SlabRunner } from './slab-runner.ts';

export class FrontExecutor implements Executor {
  readonly place = 'front';
  /** Set before the first start. */
  sink!: ExecutorSink;
  private readonly session: NativeSession;
  private readonly clock: Clock;
  private runners = new WeakMap<Batch, SlabRunner>();

  constructor(session: NativeSession, clock: Clock) {
    this.session = session;
    this.clock = clock;
  }

  accepts(): boolean {
    return true;
  }

  start(batch: Batch): void {
    const beganMs = this.clock.nowMs();
    let loose: ReturnType<SlabRunner['run']>;
    try {
      loose = this.runnerOf(batch).run(batch.executedRows, batch.strings);
    } catch (error) {
      this.sink.batchFailed(batch, executionError((error as Error).message), true);
      return;
    }
    this.sink.batchFinished(batch, loose, this.clock.nowMs() - beganMs);
  }

  forget(batch: Batch): void {
    this.runners.delete(batch);
  }

  async close(): Promise<void> {
    this.runners = new WeakMap();
    this.session.release();
  }

  private runnerOf(batch: Batch): SlabRunner {
    let runner = this.runners.get(batch);
    if (runner === undefined) {
      runner = new SlabRunner(this.session, batch.plan, batch.views);
      this.runners.set(batch, runner);
    }
    return runner;
  }
}
