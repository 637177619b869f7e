/**
 * Stands in for execution in tests of batching: holds batches until told, checks what every assembled batch must satisfy,
 * and computes outputs as twice the inputs, padding included. Turns and timers are worked by hand on a virtual clock.
 */
import { Logger } from '../../base/logger.ts';
import type { Batch } from '../../inference-worker/batching/batch.ts';
import { BatchServable } from '../../inference-worker/batching/batch-servable.ts';
import { type BatchingOptions, DEFAULT_BATCHING } from '../../inference-worker/batching/batching-options.ts';
import type { Executor } from '../../inference-worker/batching/executor.ts';
import { type Pacer, TurnLoop } from '../../inference-worker/batching/turn-loop.ts';
import type { Signature } from '../../inference-worker/session/signature.ts';
import { executionFailed, type WorkerError } from '../../inference-worker/worker-error.ts';
import { float32, type TestTensor } from './predict-tasks.ts';
import { VirtualClock } from './virtual-clock.ts';

/** `x` float32 [-1, 2] to `y` of the same shape. */
export const DOUBLING: Signature = {
  name: 'serving_default',
  methodName: 'tensorflow/serving/predict',
  inputs: [{ name: 'x', dtype: 1, ortType: 'float32', shape: [-1, 2] }],
  outputs: [{ name: 'y', dtype: 1, ortType: 'float32', shape: [-1, 2] }],
};

export class FakeExecutor implements Executor {
  readonly place = 'thread';
  readonly running: Batch[] = [];
  readonly forgotten: Batch[] = [];
  /** Every batch ever started, as it was then. */
  readonly started: {
    rows: number;
    executedRows: number;
    tasks: number;
    priority: number;
    tail: string;
    atMs: number;
  }[] = [];
  closed = false;
  onStart: (batch: Batch) => void = () => {};
  places: number;
  private readonly clock: VirtualClock;

  constructor(clock: VirtualClock, places: number) {
    this.clock = clock;
    this.places = places;
  }

  accepts(_ahead: boolean): boolean {
    return this.running.length < this.places;
  }

  start(batch: Batch): void {
    this.running.push(batch);
    this.started.push({
      rows: batch.rows,
      executedRows: batch.executedRows,
      tasks: batch.count,
      priority: batch.priority,
      tail: batch.plan.inputs[0].rowDims.join('x'),
      atMs: this.clock.nowMs(),
    });
    this.onStart(batch);
  }

  forget(batch: Batch): void {
    this.forgotten.push(batch);
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** Takes a running batch out with its outputs computed. */
  compute(index: number): Batch {
    const [batch] = this.running.splice(index, 1);
    for (let i = 0; i < batch.plan.inputs.length; i++) {
      const input = batch.views.inputs[i] as Float32Array;
      const output = batch.views.outputs[i] as Float32Array;
      const used = batch.executedRows * batch.plan.inputs[i].rowElements;
      for (let at = 0; at < used; at++) output[at] = input[at] * 2;
    }
    return batch;
  }
}

/** Timers and turn ends that wait to be run. */
export class ManualPacer implements Pacer {
  private turnEnds: (() => void)[] = [];
  private timers: { dueMs: number; run: () => void }[] = [];
  private readonly clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.clock = clock;
  }

  atTurnEnd(run: () => void): void {
    this.turnEnds.push(run);
  }

  after(ms: number, run: () => void): () => void {
    const timer = { dueMs: this.clock.nowMs() + ms, run };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  /** When the next timer is due; Infinity without any. */
  get nextDueMs(): number {
    return this.timers.reduce((least, { dueMs }) => Math.min(least, dueMs), Number.POSITIVE_INFINITY);
  }

  /** Ends this turn, and following ones that it asks for. */
  endTurn(): void {
    while (this.turnEnds.length > 0) this.endOneTurn();
  }

  endOneTurn(): void {
    for (const run of this.turnEnds.splice(0)) run();
  }

  /** Runs the timers that are due by now, each in a turn of its own. */
  runTimers(): void {
    for (const timer of this.timers.filter(({ dueMs }) => dueMs <= this.clock.nowMs())) {
      this.timers = this.timers.filter((other) => other !== timer);
      timer.run();
      this.endTurn();
    }
  }
}

/** A servable over a fake executor. Time passes only through `advance`. */
export class BatchingBench {
  readonly clock = new VirtualClock();
  readonly pacer = new ManualPacer(this.clock);
  readonly executor: FakeExecutor;
  readonly servable: BatchServable;
  readonly brokenWith: WorkerError[] = [];

  constructor(batching: Partial<BatchingOptions> = {}, signature = DOUBLING, places = 1, batchable = true) {
    this.executor = new FakeExecutor(this.clock, places);
    this.servable = new BatchServable(
      {
        model: 'double',
        version: 1n,
        shape: {
          signature,
          outputs: signature.outputs.map(() => ({ shapeIsCertain: true })),
          batchable,
          options: { ...DEFAULT_BATCHING, ...batching },
        },
        clock: this.clock,
        log: new Logger('silent'),
        turns: new TurnLoop(this.clock, this.pacer),
        onBroken: (_servable, error) => this.brokenWith.push(error),
        review: () => {},
      },
      this.executor,
    );
  }

  advance(ms: number): void {
    this.clock.advance(ms);
    this.pacer.runTimers();
    this.pacer.endTurn();
  }

  finish(index = 0, executeMs = 1): void {
    const batch = this.executor.compute(index);
    this.servable.scheduler.batchFinished(batch, null, executeMs);
    this.servable.scheduler.placeFreed();
    this.pacer.endTurn();
  }

  fail(index = 0, blameable = true, message = 'the model said no'): void {
    const [batch] = this.executor.running.splice(index, 1);
    this.servable.scheduler.batchFailed(batch, executionFailed(message), blameable);
    this.servable.scheduler.placeFreed();
    this.pacer.endTurn();
  }
}

/** An input for DOUBLING: `count` rows of consecutive values. */
export function rows(count: number, from = 1): { x: TestTensor } {
  return {
    x: float32(
      [count, 2],
      Array.from({ length: count * 2 }, (_, i) => from + i),
    ),
  };
}
