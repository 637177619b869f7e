import { status } from '@grpc/grpc-js';
import t from 'tap';
import { Priority } from '../../../../inference-worker/batching/batcher.ts';
import { batchQueueFull, WorkerError } from '../../../../inference-worker/worker-error.ts';
import { floats, modelSpec } from '../../../support/tfs-client.ts';
import { openFront } from './support.ts';

const x = floats([1, 2], [5, 6]);

t.test('the answer holds the rows of the call and the version that answered', async (t) => {
  const { client, servables } = await openFront(t);
  const reply = await client.predict({ model_spec: modelSpec('m'), inputs: { x } });
  t.same(reply.outputs.y.float_val, [1, 2]);
  t.same(reply.outputs.z.float_val, [3, 4]);
  t.same(
    reply.outputs.y.tensor_shape.dim.map((dim: { size: string }) => dim.size),
    ['1', '2'],
  );
  t.match(reply.model_spec, {
    name: 'm',
    version: { value: '9223372036854775807' },
    signature_name: 'serving_default',
  });
  t.same(servables[1]?.inputs, [['x']]);
});

t.test('versions, labels and signatures choose the servable', async (t) => {
  const { client } = await openFront(t);
  const version = async (spec: object) =>
    (await client.predict({ model_spec: spec, inputs: { x } })).model_spec.version.value;
  t.equal(await version(modelSpec('m', 1)), '1');
  t.equal(await version(modelSpec('m', '9223372036854775807')), '9223372036854775807');
  t.equal(await version(modelSpec('m', 1)), '1', 'and back again');
  t.equal(await version({ name: 'm', version_label: 'stable' }), '1');
  t.equal(await version(modelSpec('m', 1, 'serving_default')), '1');
});

t.test('refusals have the codes and texts of TensorFlow Serving', async (t) => {
  const { client } = await openFront(t);
  const cases: [string, object, number, string][] = [
    ['no spec', { inputs: { x } }, status.INVALID_ARGUMENT, 'Missing ModelSpec'],
    ['no name', { model_spec: {} }, status.INVALID_ARGUMENT, 'ModelSpec has no name specified.'],
    ['unknown model', { model_spec: modelSpec('n') }, status.NOT_FOUND, 'Servable not found for request: Latest(n)'],
    [
      'unknown version',
      { model_spec: modelSpec('m', 7) },
      status.NOT_FOUND,
      'Servable not found for request: Specific(m, 7)',
    ],
    [
      'unknown label',
      { model_spec: { name: 'm', version_label: 'L' } },
      status.INVALID_ARGUMENT,
      'Unrecognized servable version label: L',
    ],
    [
      'unknown signature',
      { model_spec: modelSpec('m', 1, 's') },
      status.FAILED_PRECONDITION,
      'Serving signature key "s" not found.',
    ],
    [
      'unknown output',
      { model_spec: modelSpec('m'), inputs: { x }, output_filter: ['y', 'w'] },
      status.INVALID_ARGUMENT,
      'output tensor alias not found in signature: w Outputs expected to be in the set {y,z}.',
    ],
    [
      'an output twice',
      { model_spec: modelSpec('m'), inputs: { x }, output_filter: ['y', 'y'] },
      status.INVALID_ARGUMENT,
      'duplicate output tensor alias: y',
    ],
  ];
  for (const [name, request, code, details] of cases) await t.rejects(client.predict(request), { code, details }, name);
});

t.test('output_filter picks outputs', async (t) => {
  const { client } = await openFront(t);
  const reply = await client.predict({ model_spec: modelSpec('m'), inputs: { x }, output_filter: ['z'] });
  t.same(Object.keys(reply.outputs), ['z']);
  t.same(reply.outputs.z.float_val, [3, 4]);
});

t.test('a full queue is UNAVAILABLE and says why in a trailer', async (t) => {
  const { client, servables } = await openFront(t);
  servables[1]!.refusal = batchQueueFull();
  const error = await client.predict({ model_spec: modelSpec('m'), inputs: { x } }).catch((cause) => cause);
  t.equal(error.code, status.UNAVAILABLE);
  t.equal(error.details, 'The batch scheduling queue to which this task was submitted is full');
  t.same(error.metadata.get('x-understudy-reason'), ['batch_queue_full']);
});

t.test('a failure after acceptance reaches the caller, not only ASCII', async (t) => {
  const { client, servables } = await openFront(t);
  servables[1]!.held = true;
  const pending = client.predict({ model_spec: modelSpec('m'), inputs: { x } }).catch((cause) => cause);
  while (servables[1]!.calls.length === 0) await new Promise(setImmediate);
  servables[1]!.calls[0]!.onFailure(new WorkerError(13, 'schlecht: größer als 5 % \n'));
  t.match(await pending, { code: status.INTERNAL, details: 'schlecht: größer als 5 % \n' });
});

t.test("the caller's deadline and priority reach the batch queue", async (t) => {
  const { client, servables } = await openFront(t);
  await client.predict({ model_spec: modelSpec('m'), inputs: { x } }, { deadlineMs: 5_000 });
  const [call] = servables[1]!.calls;
  const leftMs = call!.deadlineMs - (performance.timeOrigin + performance.now());
  t.ok(leftMs > 0 && leftMs <= 5_000, `${leftMs} ms left`);
  t.equal(call!.priority, 0);
  await client.predict({ model_spec: modelSpec('m'), inputs: { x } }, { metadata: { 'x-understudy-shadow': '1' } });
  t.equal(servables[1]!.calls[1]!.priority, Priority.shadow);
});

t.test('a caller that cancels marks its task as cancelled', async (t) => {
  const { client, servables } = await openFront(t);
  servables[1]!.held = true;
  const call = client.start('tensorflow.serving.PredictionService', 'Predict', {
    model_spec: modelSpec('m'),
    inputs: { x },
  });
  while (servables[1]!.calls.length === 0) await new Promise(setImmediate);
  call.cancel();
  await t.rejects(call.reply, { code: status.CANCELLED });
  while (!servables[1]!.calls[0]!.cancelled) await new Promise(setImmediate);
  servables[1]!.answer(servables[1]!.calls[0]!);
  t.pass('and a late answer is dropped');
});
