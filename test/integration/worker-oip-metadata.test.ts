/** What an Open Inference server says of itself and its models: health, metadata, configuration, statistics. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { request } from 'undici';
import { scaleModel } from '../support/model-folder.ts';
import { fp32, jsonInput, openOipFront, SERVICE, two } from '../support/oip-front.ts';
import { type Message, TfsClient } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

const { grpc, rest, state } = await openOipFront(t);

t.test('health, server metadata and readiness', async (t) => {
  t.same(await grpc('ServerLive', {}), { live: true });
  t.same(await grpc('ServerReady', {}), { ready: true });
  t.same(await grpc('ModelReady', { name: 'scale' }), { ready: true });
  t.same(await grpc('ModelReady', { name: 'scale', version: '7' }), { ready: false });
  t.same(await grpc('ModelReady', { name: 'nope' }), { ready: false });
  const server = await grpc('ServerMetadata', {});
  t.same(server, (await rest('GET', '/v2')).json());
  t.same(server.extensions, [
    'classification',
    'schedule_policy',
    'model_configuration',
    'binary_tensor_data',
    'parameters',
    'statistics',
  ]);
  for (const path of [
    '/v2/health/live',
    '/v2/health/ready',
    '/v2/models/scale/ready',
    '/v2/models/scale/versions/1/ready',
  ]) {
    const { status: code, bytes } = await rest('GET', path);
    t.same([code, bytes.length], [200, 0], path);
  }
  const unready = await rest('GET', '/v2/models/nope/ready');
  t.same([unready.status, unready.json()], [400, { error: 'Model version not ready' }]);
  t.equal((await rest('POST', '/v2/health/live')).status, 405);
  t.equal((await rest('GET', '/v2/unknown')).status, 404);
});

t.test('a server that is not ready says so with an empty 400, and is still live', async (t) => {
  state.set(false);
  const ready = await rest('GET', '/v2/health/ready');
  t.same([ready.status, ready.bytes.length], [400, 0]);
  t.equal((await rest('GET', '/v2/health/live')).status, 200);
  t.same(await grpc('ServerReady', {}), { ready: false });
  state.set(true);
});

t.test('model metadata and configuration are the same in both encodings', async (t) => {
  const metadata = (await rest('GET', '/v2/models/sum')).json();
  t.same(metadata, {
    name: 'sum',
    versions: ['1'],
    platform: 'onnxruntime_onnx',
    inputs: ['a', 'b'].map((name) => ({ name, datatype: 'FP32', shape: [-1, 2] })),
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
  });
  const message = await grpc('ModelMetadata', { name: 'sum' });
  t.match(message, { name: 'sum', versions: ['1'], platform: 'onnxruntime_onnx' });
  t.same(message.inputs[1], { name: 'b', datatype: 'FP32', shape: ['-1', '2'] });
  const config = (await rest('GET', '/v2/models/sum/versions/1/config')).json();
  t.match(config, { name: 'sum', backend: 'onnxruntime', max_batch_size: 8 });
  t.same(config.input[0], { name: 'a', data_type: 'TYPE_FP32', dims: [2] });
  t.same(config.instance_group, [{ name: 'sum', kind: 'KIND_CPU', count: 1 }]);
  t.same(config.parameters, { execution_provider: { string_value: 'cpu' } });
  const { config: same } = await grpc('ModelConfig', { name: 'sum' });
  t.match(same, { name: 'sum', backend: 'onnxruntime', max_batch_size: 8, default_model_filename: 'model.onnx' });
  t.match(same.output[0], { name: 'y', data_type: 11, dims: ['2'] });
  t.match(same.instance_group, [{ name: 'sum', kind: 2, count: 1 }]);
  t.match(same.parameters, { execution_provider: { string_value: 'cpu' } });
});

t.test('repository calls are not there where models cannot be managed', async (t) => {
  await t.rejects(grpc('RepositoryIndex', {}), { code: status.UNIMPLEMENTED });
  t.equal((await rest('POST', '/v2/repository/index', {})).status, 404);
});

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
