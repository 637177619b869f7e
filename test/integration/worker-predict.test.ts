/** The worker as a program, called by grpc-js: answers, refusals, versions that come and files that are broken. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { ModelFolder, scaleModel, sumModel } from '../support/model-folder.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const x = floats([2, 2], [1, 2, 3, 4]);
const folder = new ModelFolder();
folder.put('scale', '00000001', scaleModel(2));
folder.put('sum', 1, sumModel());
folder.put('broken', 1, Buffer.from('this is no model'));

const worker = await WorkerProgram.ready(
  [`--model_repository=${folder.path}`, '--port=0', '--host=127.0.0.1', '--max_batch_size=8'],
  { UNDERSTUDY_WORKER_FILE_SYSTEM_POLL_WAIT_SECONDS: '1' },
);
const client = new TfsClient(worker.address('default'));
t.teardown(async () => {
  client.close();
  await worker.stop();
  folder.remove();
});

const predict = (spec: object, inputs: object) => client.predict({ model_spec: spec, inputs });

t.test('rows are answered, alone and many at once', async (t) => {
  const reply = await predict(modelSpec('scale'), { x });
  t.same(reply.outputs.y.float_val, [2, 4, 6, 8]);
  t.match(reply.model_spec, { name: 'scale', version: { value: '1' }, signature_name: 'serving_default' });
  const many = await Promise.all(
    Array.from({ length: 50 }, (_, i) => predict(modelSpec('scale', 1), { x: floats([1, 2], [i, -i]) })),
  );
  t.same(
    many.map((answer) => answer.outputs.y.float_val),
    Array.from({ length: 50 }, (_, i) => [2 * i, -2 * i]),
  );
});

t.test('a corrupt file ends its version with the reason and harms nothing else', async (t) => {
  const { model_version_status: versions } = await client.status({ model_spec: modelSpec('broken') });
  t.match(versions, [{ version: '1', state: 50, status: { error_code: 3, error_message: /model\.onnx/ } }]);
  await t.rejects(predict(modelSpec('broken'), { x }), {
    code: status.NOT_FOUND,
    details: 'Servable not found for request: Latest(broken)',
  });
  t.equal((await client.check('')).status, 1);
});

t.test('mistakes in the inputs have the texts of TensorFlow Serving', async (t) => {
  const code = status.INVALID_ARGUMENT;
  await t.rejects(predict(modelSpec('sum'), { a: x }), {
    code,
    details:
      'input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.',
  });
  await t.rejects(predict(modelSpec('sum'), { a: x, c: x }), {
    code,
    details:
      'Signature input alias: b(feed name: b:0) not found in request and no default value provided. ' +
      'Inputs expected to be in the request {a,c}, or default input alias set: ',
  });
  await t.rejects(
    predict(modelSpec('scale'), {
      x: { dtype: 9, tensor_shape: { dim: [{ size: 1 }, { size: 2 }] }, int64_val: [1, 2] },
    }),
    {
      code,
      details: /int64|float/,
    },
  );
  await t.rejects(predict(modelSpec('scale'), { x: floats([1, 3], [1, 2, 3]) }), { code, details: /shape/ });
  await t.rejects(
    predict(modelSpec('scale'), {
      x: { dtype: 1, tensor_shape: { dim: [{ size: 1 }, { size: 2 }] }, tensor_content: Buffer.alloc(3) },
    }),
    {
      code,
      details: 'tensor parsing error: x',
    },
  );
  await t.rejects(predict(modelSpec('scale'), { x: floats([9, 2], [1]) }), {
    code,
    details: 'Task size 9 is larger than maximum input batch size 8',
  });
});

t.test(
  'a new version is served within the poll, the old one after it is gone, and a broken one changes nothing',
  async (t) => {
    folder.put('scale', 2, scaleModel(10));
    await worker.version('scale', '1', 'END');
    t.same((await predict(modelSpec('scale'), { x })).outputs.y.float_val, [10, 20, 30, 40]);
    await t.rejects(predict(modelSpec('scale', 1), { x }), {
      code: status.NOT_FOUND,
      details: 'Servable not found for request: Specific(scale, 1)',
    });
    folder.put('scale', 3, Buffer.alloc(1000));
    await worker.version('scale', '3', 'END');
    t.equal((await predict(modelSpec('scale'), { x })).model_spec.version.value, '2');
    const { model_version_status: versions } = await client.status({ model_spec: modelSpec('scale') });
    t.same(
      versions.map(({ version, state }: { version: string; state: number }) => `${version} ${state}`),
      ['3 50', '2 30', '1 50'],
    );
    folder.replace('scale', 3, scaleModel(100));
    await worker.version('scale', '3', 'AVAILABLE');
    t.same((await predict(modelSpec('scale'), { x })).outputs.y.float_val, [100, 200, 300, 400]);
  },
);

t.test('metadata tells what the graph takes', async (t) => {
  const reply = await client.metadata({ model_spec: modelSpec('sum'), metadata_field: ['signature_def'] });
  t.equal(reply.metadata.signature_def.type_url, 'type.googleapis.com/tensorflow.serving.SignatureDefMap');
});

/**
 * Scenario: a terminal sends Ctrl-C to every process of its foreground group, and the launcher passes its own on.
 * Mechanism: the supervisor took the second signal for impatience and killed what was still draining.
 * Consequence: every accepted call of a worker that somebody ended by hand was lost.
 */
t.test('SIGTERM, told twice as launchers do, finishes what was accepted and ends with code 0', async (t) => {
  const last = Promise.all(Array.from({ length: 20 }, () => predict(modelSpec('sum'), { a: x, b: x })));
  await predict(modelSpec('sum'), { a: x, b: x });
  worker.child.kill('SIGTERM');
  const exit = worker.stop();
  for (const reply of await last) t.same(reply.outputs.y.float_val, [2, 4, 6, 8]);
  t.equal(await exit, 0);
  t.match(worker.events.at(-2), { event: 'group_state', to: 'STOPPED', reason: 'exit code 0' });
  t.match(worker.events.at(-1), { event: 'worker_stopped' });
});
