/**
 * The invariants at the head of batch-queue.ts, under random arrivals, cancellations, deadlines, failures and time, with
 * an executor that finishes when told.
 */
import fc from 'fast-check';
import t from 'tap';
import type { Batch } from '../../../../inference-worker/batching/batch.ts';
import { laneOf } from '../../../../inference-worker/batching/batch-queue.ts';
import { Priority } from '../../../../inference-worker/batching/batcher.ts';
import type { WorkerError } from '../../../../inference-worker/worker-error.ts';
import { BatchingBench, DOUBLING } from '../../../support/fake-executor.ts';
import { runs, seedFor } from '../../../support/fuzz-runs.ts';
import { float32, predictRequest, RecordingCall } from '../../../support/predict-tasks.ts';

const ANY_TAIL = {
  ...DOUBLING,
  inputs: [{ ...DOUBLING.inputs[0], shape: [-1, -1] }],
  outputs: [{ ...DOUBLING.outputs[0], shape: [-1, 2] }],
};

type Step =
  | { do: 'submit'; rows: number; priority: number; deadlineMs: number; tail: number }
  | { do: 'cancel'; which: number }
  | { do: 'advance'; ms: number }
  | { do: 'turn' }
  | { do: 'finish' }
  | { do: 'fail'; blameable: boolean };

const submitStep = fc.record({
  do: fc.constant('submit' as const),
  rows: fc.integer({ min: 0, max: 9 }),
  priority: fc.constantFrom(...Object.values(Priority)),
  deadlineMs: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 0, max: 20 })),
  tail: fc.constantFrom(2, 2, 2, 1),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: submitStep },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat(30) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 6 }) }) },
  { weight: 3, arbitrary: fc.constant({ do: 'turn' as const }) },
  { weight: 3, arbitrary: fc.constant({ do: 'finish' as const }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), blameable: fc.boolean() }) },
);
const setup = fc.record({
  allowedBatchSizes: fc.constantFrom([], [2, 4, 8], [8], [3, 8]),
  batchTimeoutMicros: fc.constantFrom(0, 3000),
  maxEnqueuedBatches: fc.integer({ min: 1, max: 3 }),
  places: fc.integer({ min: 1, max: 2 }),
  steps: fc.array(step, { minLength: 5, maxLength: 60 }),
});
const MAX_BATCH = 8;

/** One run of the steps, with everything the invariants speak of checked as it happens. */
class Trial {
  readonly bench: BatchingBench;
  readonly accepted: { call: RecordingCall; first: number; tail: number; order: number; started: boolean }[] = [];
  readonly refused: RecordingCall[] = [];
  readonly problems: string[] = [];
  private readonly allowed: readonly number[];
  private readonly limit: number;
  private readonly waits: boolean;
  private nextValue = 1;

  constructor(options: {
    allowedBatchSizes: readonly number[];
    batchTimeoutMicros: number;
    maxEnqueuedBatches: number;
    places: number;
  }) {
    this.allowed = options.allowedBatchSizes;
    this.limit = options.maxEnqueuedBatches;
    this.waits = options.batchTimeoutMicros > 0;
    this.bench = new BatchingBench({ ...options, maxBatchSize: MAX_BATCH }, ANY_TAIL, options.places);
    this.bench.executor.onStart = (batch) => this.checkStarted(batch);
  }

  take(step: Step): void {
    if (step.do === 'submit') this.submit(step.rows, step.priority, step.deadlineMs, step.tail);
    else if (step.do === 'cancel' && this.accepted.length > 0) {
      this.accepted[step.which % this.accepted.length].call.cancelled = true;
    } else if (step.do === 'advance') this.bench.advance(step.ms);
    else if (step.do === 'turn') this.bench.pacer.endTurn();
    else if (step.do === 'finish' && this.bench.executor.running.length > 0) this.bench.finish();
    else if (step.do === 'fail' && this.bench.executor.running.length > 0) this.bench.fail(0, step.blameable);
  }

  private submit(rows: number, priority: number, deadlineMs: number, tail: number): void {
    const call = new RecordingCall(ANY_TAIL);
    call.priority = priority;
    call.deadlineMs = this.bench.clock.nowMs() + deadlineMs;
    const first = this.nextValue;
    const values = Array.from({ length: rows * tail }, () => this.nextValue++);
    const { view, buf } = predictRequest({ x: float32([rows, tail], values) });
    const waitingBefore = this.waiting(laneOf(priority)).length;
    const refusal = this.bench.servable.submit(call, view, buf);
    if (call.replies > 0) this.note('replied during submit');
    if (refusal === null) {
      this.accepted.push({ call, first, tail, order: this.accepted.length, started: false });
    } else {
      this.refused.push(call);
      this.checkRefusal(refusal, rows, deadlineMs, waitingBefore);
    }
  }

  private waiting(lane: number) {
    return this.accepted.filter(
      ({ call, started }) => !started && call.replies === 0 && laneOf(call.priority) === lane,
    );
  }

  private checkRefusal(error: WorkerError, rows: number, deadlineMs: number, waiting: number): void {
    if (rows > MAX_BATCH) {
      if (error.message !== `Task size ${rows} is larger than maximum input batch size 8`) this.note(error.message);
    } else if (error.reason === 'batch_queue_full') {
      if (waiting < this.limit) this.note(`refused as full with ${waiting} waiting`);
    } else if (rows > 0 && deadlineMs > 0) {
      this.note(`refused without need: ${error.message}`);
    }
  }

  private checkStarted(batch: Batch): void {
    const nowMs = this.bench.clock.nowMs();
    if (batch.rows < 1 || batch.rows > MAX_BATCH) this.note(`batch of ${batch.rows} rows`);
    const expected = this.allowed.find((size) => size >= batch.rows) ?? batch.rows;
    if (batch.executedRows !== expected) this.note(`${batch.rows} rows ran as ${batch.executedRows}`);
    for (let i = 0; i < batch.count; i++) {
      const task = this.accepted.find(({ call }) => call === batch.calls[i])!;
      const { call } = task;
      if (call.cancelled || call.deadlineMs <= nowMs) this.note('a dead task was assembled');
      if (laneOf(call.priority) !== batch.priority) this.note('priorities share a batch');
      if (task.tail !== batch.plan.inputs[0].rowDims[0]) this.note('tail shapes share a batch');
      const overtaken = this.waiting(laneOf(call.priority)).some(
        ({ tail, order }) => tail === task.tail && order < task.order,
      );
      if (!task.started && overtaken) this.note('a later task overtook an earlier one');
      task.started = true;
    }
    for (let lane = 0; lane < batch.priority && !this.waits; lane++) {
      if (this.waiting(lane).length > 0) this.note('a task went before one of a higher priority');
    }
  }

  /** Closes the servable and lets everything finish; then every reply must be there and right. */
  async end(): Promise<void> {
    const closed = this.bench.servable.close();
    for (let i = 0; i < 200; i++) {
      this.bench.pacer.endTurn();
      if (this.bench.executor.running.length > 0) this.bench.finish();
    }
    await closed;
    for (const { call, first, tail } of this.accepted) this.checkReply(call, first, tail);
    for (const call of this.refused) if (call.replies !== 0) this.note('a refused call was answered');
    const { stats } = this.bench.servable;
    const ended = stats.answeredTasks + stats.failedTasks + stats.expiredTasks + stats.cancelledTasks;
    if (stats.acceptedTasks !== this.accepted.length || ended !== this.accepted.length)
      this.note('tasks are miscounted');
    if (stats.refusedTasks !== this.refused.length) this.note('refusals are miscounted');
    if (stats.queuedTasks + stats.queuedRows + stats.runningBatches !== 0) this.note('gauges do not return to zero');
  }

  private checkReply(call: RecordingCall, first: number, tail: number): void {
    if (call.replies !== 1) this.note(`${call.replies} replies`);
    if (call.outputs === null) return;
    const [{ dims, values }] = call.outputs;
    const expected = Array.from({ length: call.rows * tail }, (_, i) => (first + i) * 2);
    if (tail === 2 && dims.join() !== `${call.rows},2`) this.note(`dims ${dims}`);
    if (tail === 2 && values.join() !== expected.join()) this.note(`values ${values} instead of ${expected}`);
  }

  private note(problem: string): void {
    this.problems.push(problem);
  }
}

t.test('batches keep their invariants whatever arrives, is cancelled, expires or fails', async (t) => {
  await fc.assert(
    fc.asyncProperty(setup, async ({ steps, ...options }) => {
      const trial = new Trial(options);
      for (const step of steps) trial.take(step);
      await trial.end();
      if (trial.problems.length > 0) throw new Error(trial.problems.join('; '));
    }),
    { numRuns: runs(400), seed: seedFor(20_260) },
  );
  t.pass('400 random histories');
});
