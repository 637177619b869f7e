/** Statistics of the Open Inference Protocol: what they count, and whose time. */
import t from 'tap';
import { request } from 'undici';
import { scaleModel } from '../support/model-folder.ts';
import { fp32, jsonInput, openOipFront, SERVICE, two } from '../support/oip-front.ts';
import { type Message, TfsClient } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

const { grpc, rest } = await openOipFront(t);

t.test('statistics count what was executed and refused', async (t) => {
  const before = (await rest('GET', '/v2/models/typed/stats')).json().model_stats[0];
  const input = jsonInput('a', [3, 2], [1, 2, 3, 4, 5, 6], 'INT32');
  await rest('POST', '/v2/models/typed/infer', { inputs: [input] });
  const after = (await rest('GET', '/v2/models/typed/versions/1/stats')).json().model_stats[0];
  t.equal(after.inference_count - before.inference_count, 3);
  t.equal(after.execution_count - before.execution_count, 1);
  const { model_stats: all } = await grpc('ModelStatistics', {});
  t.equal(all.length, 6);
  const [one] = (await grpc('ModelStatistics', { name: 'typed', version: '1' })).model_stats;
  t.equal(Number(one.inference_stats.success.count), after.inference_stats.success.count);
  t.equal((await rest('GET', '/v2/models/stats')).json().model_stats.length, 6);
});

/**
 * Scenario: a load generator divides the sum of compute time by the count of answers. Mechanism: a batch's time was counted
 * once for all its requests. Consequence: requests that shared batches of n looked n times as fast as they were.
 */
t.test("statistics count a batch's time for each request in it, tell batch sizes and when it was", async (t) => {
  const batching = { maxBatchSize: 4, batchTimeoutMicros: 2_000_000, place: 'thread' as const };
  const { url: own, address: at } = await openTestFront(t, { scale: scaleModel(2) }, {}, batching);
  const other = new TfsClient(at);
  t.teardown(() => other.close());
  const call = { model_name: 'scale', inputs: [fp32('x', [1, 2], two)] };
  const beganMs = Date.now();
  await Promise.all([1, 2, 3, 4].map(() => other.unary(SERVICE, 'ModelInfer', call)));
  const body = await (await request(`${own}/v2/models/scale/stats`)).body.json();
  const [told] = (body as Message).model_stats;
  t.match(told, {
    inference_count: 4,
    execution_count: 1,
    batch_stats: [{ batch_size: 4, compute_infer: { count: 1 } }],
  });
  const { success, queue, compute_infer: compute } = told.inference_stats;
  t.same([success.count, queue.count, compute.count], [4, 4, 4]);
  const [batch] = told.batch_stats;
  t.ok(Math.abs(compute.ns - 4 * batch.compute_infer.ns) <= 8, `${compute.ns} ns, a batch ${batch.compute_infer.ns}`);
  t.equal(success.ns, queue.ns + compute.ns);
  t.ok(told.last_inference >= beganMs && told.last_inference <= Date.now());
  const [same] = (await other.unary(SERVICE, 'ModelStatistics', { name: 'scale' })).model_stats;
  t.equal(Number(same.last_inference), told.last_inference);
  t.same(
    same.batch_stats.map((one: Message) => [Number(one.batch_size), Number(one.compute_infer.ns)]),
    [[4, batch.compute_infer.ns]],
  );
});
