/** When waiting pays, and what the latency goal allows, by plain figures. */
import t from 'tap';
import { ArrivalPace } from '../../../../inference-worker/batching/arrival-pace.ts';
import { Priority } from '../../../../inference-worker/batching/batcher.ts';
import { DEFAULT_BATCHING } from '../../../../inference-worker/batching/batching-options.ts';
import { CostFit } from '../../../../inference-worker/batching/cost-fit.ts';
import { DispatchPolicy } from '../../../../inference-worker/batching/dispatch-policy.ts';
import { BatchingBench, rows } from '../../../support/fake-executor.ts';
import { refusalOf, submit } from '../../../support/predict-tasks.ts';

/** A policy that has learnt `0.1 ms a row + 5 ms a batch`. */
function policyOf(options: Partial<typeof DEFAULT_BATCHING>): DispatchPolicy {
  const policy = new DispatchPolicy({ ...DEFAULT_BATCHING, maxBatchSize: 64, adaptive: true, ...options });
  for (const size of [1, 4, 16, 64]) policy.fit.record(size, 5 + 0.1 * size);
  return policy;
}

t.test('the fitted line finds what a row and what a batch costs, and follows a change', async (t) => {
  const fit = new CostFit();
  for (let i = 0; i < 100; i++) fit.record(1 + (i % 32), 2 + 0.5 * (1 + (i % 32)));
  t.ok(Math.abs(fit.msPerRow - 0.5) < 1e-6 && Math.abs(fit.msPerBatch - 2) < 1e-5, `${fit.msPerRow} ${fit.msPerBatch}`);
  for (let i = 0; i < 600; i++) fit.record(1 + (i % 32), 1 + 0.25 * (1 + (i % 32)));
  t.ok(
    Math.abs(fit.msPerRow - 0.25) < 0.01 && Math.abs(fit.msPerBatch - 1) < 0.05,
    `${fit.msPerRow} ${fit.msPerBatch}`,
  );
});

t.test('one pause of the machine hardly moves the line', async (t) => {
  const fit = new CostFit();
  for (let i = 0; i < 100; i++) fit.record(1 + (i % 8), 1 + 0.1 * (1 + (i % 8)));
  fit.record(4, 1000);
  t.ok(fit.estimateMs(4) < 2, `${fit.estimateMs(4)}`);
});

t.test('while only one size runs the slope stays and the line is moved', async (t) => {
  const fit = new CostFit();
  for (const size of [1, 8, 32]) fit.record(size, 3 + 0.2 * size);
  for (let i = 0; i < 1000; i++) fit.record(32, 8);
  t.ok(Math.abs(fit.estimateMs(32) - 8) < 0.01);
  t.ok(fit.msPerRow > 0.05 && fit.msPerRow <= 0.25, `${fit.msPerRow}`);
});

t.test('a batch waits while arrivals are quick beside what a batch costs, and no longer', async (t) => {
  const policy = policyOf({ batchTimeoutMicros: 20_000 });
  const due = (count: number, gapMs: number) => policy.dueMs({ count, rows: count, openedAtMs: 100 }, 5, gapMs, 101);
  t.ok(due(1, 0.5) > 103, 'one task waits for others');
  t.equal(due(8, 0.5), 100, 'eight have no more to gain');
  t.equal(due(1, 4), 100, 'nor has one where others are rare');
  t.equal(due(1, Number.POSITIVE_INFINITY), 100);
});

t.test("TensorFlow Serving's timeout bounds the wait, and is the wait when nothing adapts", async (t) => {
  const tasks = { count: 1, rows: 1, openedAtMs: 100 };
  t.equal(policyOf({ batchTimeoutMicros: 1_000 }).dueMs(tasks, 5, 0.1, 100), 101);
  t.equal(policyOf({ batchTimeoutMicros: 0 }).dueMs(tasks, 5, 0.1, 100), 100);
  t.equal(policyOf({ batchTimeoutMicros: 7_000, adaptive: false }).dueMs(tasks, 5, 50, 100), 107);
});

t.test('a goal bounds waits and batches, and tightens while more than one in a hundred is late', async (t) => {
  const policy = policyOf({ batchTimeoutMicros: 50_000, latencyObjectiveMs: 20 });
  t.ok(Math.abs(policy.rowsLimit - 40) <= 1, '5 + 0.1 * 40 is half of nine tenths of the goal');
  t.equal(policy.dueMs({ count: 1, rows: 1, openedAtMs: 100 }, 16, 0.1, 101), 102);
  for (let i = 0; i < 50; i++) policy.recordLatency(30);
  t.ok(policy.rowsLimit < 30, `${policy.rowsLimit}`);
  for (let i = 0; i < 10_000; i++) policy.recordLatency(10);
  t.ok(policy.rowsLimit >= 39, `${policy.rowsLimit}`);
});

t.test('where a batch itself costs most of the goal, batches may take more than half of it', async (t) => {
  const policy = policyOf({ latencyObjectiveMs: 10 });
  // Of 9 ms: 2 * 5 * 9 / (5 + 9) = 6.4, which leaves 1.4 ms for rows of 0.1.
  t.ok(Math.abs(policy.rowsLimit - 14) <= 1, `${policy.rowsLimit}`);
});

t.test('allowed sizes hold under a goal', async (t) => {
  const options = { latencyObjectiveMs: 20, allowedBatchSizes: [8, 32, 64] };
  t.equal(policyOf(options).rowsLimit, 32);
  t.equal(policyOf({ ...options, latencyObjectiveMs: 6 }).rowsLimit, 8, 'the least one, if even that is late');
});

t.test('what would certainly come too late is refused as by a full queue', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 4, maxEnqueuedBatches: 100, latencyObjectiveMs: 10, adaptive: true });
  for (const size of [1, 2, 4]) bench.servable.scheduler.learn(size, 1 + size);
  let accepted = 0;
  const refusal = refusalOf(() => {
    for (;;) {
      submit(bench.servable, rows(1));
      accepted++;
    }
  });
  t.equal(refusal.reason, 'batch_queue_full');
  t.ok(accepted >= 4 && accepted <= 8, `${accepted} accepted`);
  submit(bench.servable, rows(1), (call) => {
    call.priority = Priority.urgent;
  });
  t.pass('an urgent task is not behind them');
  await drain(bench);
});

t.test('an adaptive batch gathers quick arrivals, then runs without waiting for its timeout', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 64, batchTimeoutMicros: 100_000, adaptive: true });
  for (const size of [1, 4, 16, 64]) bench.servable.scheduler.learn(size, 8 + 0.1 * size);
  const send = (): void => {
    submit(bench.servable, rows(1));
    bench.pacer.endTurn();
  };
  for (let i = 0; i < 20; i++) {
    bench.advance(1);
    send();
    while (bench.executor.running.length > 0) bench.finish(0, 8);
  }
  t.ok(bench.executor.started.length < 10, `${bench.executor.started.length} batches for 20 tasks`);
  const before = bench.executor.started.length;
  for (let i = 0; i < 10; i++) bench.advance(1);
  t.ok(
    bench.executor.started.length > before || bench.servable.stats.queuedTasks === 0,
    'the last ones do not wait long',
  );
  await drain(bench);
});

t.test('the pace of arrivals follows the last ones, and a silence as it lasts', async (t) => {
  const pace = new ArrivalPace();
  t.equal(pace.gapMs(5), Number.POSITIVE_INFINITY);
  for (let i = 0; i < 100; i++) pace.record(i * 2);
  t.equal(pace.gapMs(199), 2);
  t.equal(pace.gapMs(218), 20);
});

async function drain(bench: BatchingBench): Promise<void> {
  const closed = bench.servable.close();
  bench.pacer.endTurn();
  while (bench.executor.running.length > 0) bench.finish();
  await closed;
}
