/** What a server of the Open Inference Protocol says about itself and its models: health, metadata and configuration. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { openOipFront } from '../support/oip-front.ts';

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
