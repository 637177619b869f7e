/**
 * The front's side of one execution thread: what it was given, what came back, and what became of it.
 *
 *   loading -> ready -> ended      told to stop, or loading failed
 *   loading | ready -> lost        a JavaScript error ended the thread; its batch failed, others can be run elsewhere
 *   ready -> stuck                 a run took longer than the execution timeout; terminal, the process must be replaced
 *
 * The thread is never terminated from here: `terminate()` while it is inside onnxruntime aborts the process.
 */
import { Worker } from 'node:worker_threads';
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import type { Batch } from '../batching/batch.ts';
import type { LooseOutput } from '../batching/slab.ts';
import { deviceLockFor } from './device-lock.ts';
import type { ModelInfo } from './model-info.ts';
import type { ExecutionSettings } from './provider-options.ts';
import {
  BEGUN,
  type FromThread,
  RING_SLOTS,
  STOP,
  ThreadControl,
  type ThreadData,
  type ToThread,
} from './thread-protocol.ts';

/** Batches a thread holds at most: one running, one ready behind it. */
export const MAX_BATCHES_PER_THREAD = 2;

export type ThreadState = 'loading' | 'ready' | 'ended' | 'lost' | 'stuck';

export interface ThreadOptions {
  /** The thread's program; `execution-thread.ts` except in tests. */
  readonly entry: URL;
  readonly name: string;
  readonly path: string;
  readonly execution: ExecutionSettings;
  readonly maxBatchSize: number;
  readonly allowedBatchSizes: readonly number[];
  readonly executionTimeoutMs: number;
  readonly clock: Clock;
}

export interface ThreadEvents {
  succeeded(batch: Batch, loose: (LooseOutput | null)[] | null, executeMs: number): void;
  failed(batch: Batch, message: string): void;
  /** The thread is gone: `begun` was in its hands, `waiting` was not touched. */
  lost(thread: ExecutionThreadHandle, error: Error, begun: Batch[], waiting: Batch[]): void;
  /** It is inside onnxruntime for too long, with these batches; whatever it still reports is ignored. */
  stuck(thread: ExecutionThreadHandle, batches: Batch[]): void;
}

export class ExecutionThreadHandle {
  state: ThreadState = 'loading';
  /** Resolves with what loading found, rejects when the model cannot be loaded or the thread dies first. */
  readonly loaded: Promise<ModelInfo>;
  /** Which of the servable's sessions it holds. */
  readonly instance: number;
  private readonly options: ThreadOptions;
  private readonly events: ThreadEvents;
  private readonly control = new ThreadControl();
  private readonly worker: Worker;
  /** Resolves when the thread has exited, or is given up. */
  private readonly gone: Promise<void>;
  private setGone!: () => void;
  /** Batches by sequence; those from `finished` to `written` are with the thread. */
  private readonly batches: (Batch | null)[] = new Array(RING_SLOTS).fill(null);
  private readonly announced = new Set<number>();
  private written = 0;
  private finished = 0;
  private headBeganMs = 0;
  private watchdog: NodeJS.Timeout | null = null;
  private error: Error | null = null;
  private settleLoad!: { resolve: (info: ModelInfo) => void; reject: (error: Error) => void };

  constructor(options: ThreadOptions, instance: number, events: ThreadEvents) {
    this.instance = instance;
    this.options = options;
    this.events = events;
    this.loaded = new Promise((resolve, reject) => {
      this.settleLoad = { resolve, reject };
    });
    const { path, execution, maxBatchSize, allowedBatchSizes } = options;
    const control = this.control.memory;
    const deviceLock = deviceLockFor(execution)?.memory ?? null;
    const workerData: ThreadData = { path, execution, instance, deviceLock, control, maxBatchSize, allowedBatchSizes };
    this.worker = new Worker(options.entry, { workerData, name: options.name });
    this.worker.on('message', (message: FromThread) => this.receive(message));
    this.worker.on('error', (error) => {
      this.error = error instanceof Error ? error : new Error(String(error));
    });
    this.gone = new Promise((resolve) => {
      this.setGone = resolve;
    });
    this.worker.once('exit', () => {
      this.ended();
      this.setGone();
    });
  }

  get load(): number {
    return (this.written - this.finished) | 0;
  }

  start(batch: Batch): void {
    assert(this.state === 'ready' && this.load < MAX_BATCHES_PER_THREAD, 'a batch goes to a thread with room');
    if (!this.announced.has(batch.id)) {
      this.announced.add(batch.id);
      this.send({ kind: 'slab', id: batch.id, plan: batch.plan, memory: batch.memory });
    }
    if (batch.hasStrings) {
      this.send({ kind: 'strings', id: batch.id, strings: batch.strings });
    }
    if (this.load === 0) this.headBeganMs = this.options.clock.nowMs();
    this.batches[this.written & (RING_SLOTS - 1)] = batch;
    this.control.write(this.written, batch.id, batch.executedRows);
    this.written = (this.written + 1) | 0;
    this.watch(this.options.executionTimeoutMs);
  }

  forget(batch: Batch): void {
    if (this.announced.delete(batch.id)) this.send({ kind: 'forget', id: batch.id });
  }

  /** Ends the thread after the batches it has, and resolves when it is gone; at once when it is stuck. */
  async stop(): Promise<void> {
    Atomics.store(this.control.words, STOP, 1);
    this.control.wake();
    await this.gone;
  }

  // --- what the thread reports --------------------------------------------------------------------------------------

  private receive(message: FromThread): void {
    if (this.state === 'stuck') return;
    if (typeof message === 'number') {
      this.events.succeeded(this.settle(message), null, this.control.durationOf(message));
    } else if (message.kind === 'outputs') {
      const { sequence, loose } = message;
      this.events.succeeded(this.settle(sequence), loose, this.control.durationOf(sequence));
    } else if (message.kind === 'failed') {
      this.events.failed(this.settle(message.sequence), message.message);
    } else if (message.kind === 'loaded') {
      this.state = 'ready';
      this.settleLoad.resolve(message.info);
    } else {
      this.settleLoad.reject(new Error(message.message));
    }
  }

  private settle(sequence: number): Batch {
    assert(sequence === this.finished, 'a thread reports its commands in order');
    const slot = sequence & (RING_SLOTS - 1);
    const batch = this.batches[slot]!;
    this.batches[slot] = null;
    this.finished = (sequence + 1) | 0;
    this.headBeganMs = this.options.clock.nowMs();
    return batch;
  }

  private ended(): void {
    if (this.watchdog !== null) clearTimeout(this.watchdog);
    if (this.state === 'stuck') return;
    const error = this.error ?? new Error('the thread ended before it was asked to');
    this.settleLoad.reject(error);
    if (this.error === null && Atomics.load(this.control.words, STOP) === 1 && this.load === 0) {
      this.state = 'ended';
      return;
    }
    const wasLoaded = this.state === 'ready';
    this.state = wasLoaded ? 'lost' : 'ended';
    if (!wasLoaded) return;
    const begunUpTo = Atomics.load(this.control.words, BEGUN);
    const begun: Batch[] = [];
    const waiting: Batch[] = [];
    for (let at = this.finished; at !== this.written; at = (at + 1) | 0) {
      (((begunUpTo - at) | 0) > 0 ? begun : waiting).push(this.batches[at & (RING_SLOTS - 1)]!);
    }
    this.events.lost(this, error, begun, waiting);
  }

  // --- the execution timeout ----------------------------------------------------------------------------------------

  /** One timer at a time: it looks at the batch then running and, if that one has time left, sleeps for the rest. */
  private watch(delayMs: number): void {
    if (this.watchdog !== null || this.options.executionTimeoutMs === 0) return;
    this.watchdog = setTimeout(() => {
      this.watchdog = null;
      if (this.load === 0) return;
      const leftMs = this.headBeganMs + this.options.executionTimeoutMs - this.options.clock.nowMs();
      if (leftMs > 0) this.watch(Math.ceil(leftMs));
      else this.giveUp();
    }, delayMs);
  }

  private giveUp(): void {
    this.state = 'stuck';
    this.worker.unref();
    this.setGone();
    const batches: Batch[] = [];
    for (let at = this.finished; at !== this.written; at = (at + 1) | 0) {
      batches.push(this.batches[at & (RING_SLOTS - 1)]!);
    }
    this.events.stuck(this, batches);
  }

  private send(message: ToThread): void {
    this.worker.postMessage(message);
  }
}
