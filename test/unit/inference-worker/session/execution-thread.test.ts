/** What a servable survives of its execution threads, and what breaks it. */
import t from 'tap';
import type { Servable } from '../../../../inference-worker/batching/batcher.ts';
import type { WorkerError } from '../../../../inference-worker/worker-error.ts';
import { float32, type RecordingCall, submit } from '../../../support/predict-tasks.ts';
import { anyLength, TestModels } from '../../../support/test-models.ts';

const models = new TestModels();
t.teardown(() => models.close());
const MISBEHAVING = new URL('../../../support/misbehaving-thread.ts', import.meta.url);
const THROW = -1;
const HANG = -2;

function load(batching = {}, onBroken: (servable: Servable, error: WorkerError) => void = () => {}) {
  return models.load(
    anyLength(),
    { place: 'thread', maxBatchSize: 4, ...batching },
    { threadEntry: MISBEHAVING, onBroken },
  );
}

function ask(servable: Servable, value: number, rows = 1): RecordingCall {
  return submit(servable, { x: float32([rows, 1], new Float32Array(rows).fill(value)) });
}

t.test('a JavaScript error in the thread fails its batch, and a new thread takes its place', async (t) => {
  const servable = await load();
  const poisoned = [ask(servable, THROW), ask(servable, 3)];
  await Promise.all(poisoned.map((call) => call.settled));
  for (const call of poisoned) {
    t.match(call.error, { code: 14, reason: 'execution_thread_lost', message: /fault in the execution thread/ });
  }
  t.equal(servable.broken, null);
  const next = ask(servable, 4);
  await next.settled;
  t.same(next.values(), [8]);
  t.equal(servable.stats.replacedThreads, 1);
});

t.test('a batch the lost thread had not begun is run by its replacement', async (t) => {
  const servable = await load();
  const calls = [ask(servable, THROW, 4), ask(servable, 5, 4), ask(servable, 6, 4)];
  await Promise.all(calls.map((call) => call.settled));
  t.equal(calls[0].error?.reason, 'execution_thread_lost');
  t.same(calls[1].values(), [10, 10, 10, 10]);
  t.same(calls[2].values(), [12, 12, 12, 12]);
});

t.test('closing right after a thread was lost still answers everything', async (t) => {
  const servable = await load();
  const calls = [ask(servable, THROW, 4), ask(servable, 5, 4), ask(servable, 6, 4)];
  await calls[0].settled;
  await servable.close();
  t.same(
    calls.map((call) => call.replies),
    [1, 1, 1],
  );
});

t.test('a thread stuck in native code breaks the servable and fails what waits for it', async (t) => {
  const reported: WorkerError[] = [];
  const servable = await load({ executionTimeoutMs: 60 }, (_servable, error) => reported.push(error));
  const stuck = ask(servable, HANG, 4);
  const behind = ask(servable, 5, 4);
  const waiting = ask(servable, 6);
  const beganMs = performance.now();
  await Promise.all([stuck.settled, behind.settled, waiting.settled]);
  const tookMs = performance.now() - beganMs;
  t.ok(tookMs >= 55 && tookMs < 1000, `failed after ${tookMs} ms`);
  t.match(stuck.error, { code: 14, reason: 'execution_timeout' });
  t.equal(behind.error?.code, 14);
  t.match(waiting.error, { code: 14, reason: 'servable_broken' });
  t.match(reported, [{ reason: 'execution_timeout' }]);
  t.equal(servable.broken?.reason, 'servable_broken');
  t.throws(() => ask(servable, 1), { code: 14, reason: 'servable_broken' });
  await servable.close();
  t.pass('closing does not wait for the stuck thread');
});

t.test('one stuck thread of two does not keep the other from finishing its batch', async (t) => {
  const servable = await load({ executionTimeoutMs: 60, threads: 2 });
  const stuck = ask(servable, HANG, 4);
  const fine = ask(servable, 5, 4);
  await Promise.all([stuck.settled, fine.settled]);
  t.equal(stuck.error?.reason, 'execution_timeout');
  t.same(fine.values(), [10, 10, 10, 10]);
});

t.test('a slow batch within the execution timeout is no fault', async (t) => {
  const servable = await load({ executionTimeoutMs: 40 });
  for (let i = 0; i < 30; i++) {
    const call = ask(servable, i);
    await call.settled;
    t.same(call.values(), [i * 2]);
    if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 45));
  }
  t.equal(servable.broken, null);
});
