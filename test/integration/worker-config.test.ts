/** Ways to say what is served: a configuration file with policies and labels, versions divided over processes, drain. */

import { writeFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { connect as connectTo } from 'node:net';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
for (const version of [1, 2, 3]) folder.put('scale', version, scaleModel(version));
t.teardown(() => folder.remove());

const x = floats([1, 2], [1, 10]);
const answer = async (client: TfsClient, spec: object) =>
  (await client.predict({ model_spec: spec, inputs: { x } })).outputs.y.float_val;

t.test('a model_config_file with a policy and labels is served as written', async (t) => {
  const file = folder.at('models.config');
  writeFileSync(
    file,
    `model_config_list { config {
       name: "scale" base_path: "${folder.at('scale')}" model_platform: "onnx"
       model_version_policy { specific { versions: [1, 3] } }
       version_labels { key: "stable" value: 1 } version_labels { key: "gone" value: 2 }
     } }`,
  );
  const worker = await WorkerProgram.ready([
    `--model_config_file=${file}`,
    '--port=0',
    `--grpc_socket_path=${folder.at('c.sock')}`,
  ]);
  const client = new TfsClient(`unix:${folder.at('c.sock')}`);
  t.teardown(() => {
    client.close();
    return worker.stop();
  });
  t.same(await answer(client, modelSpec('scale')), [3, 30]);
  t.same(await answer(client, { name: 'scale', version_label: 'stable' }), [1, 10]);
  const code = status.NOT_FOUND;
  await t.rejects(answer(client, modelSpec('scale', 2)), {
    code,
    details: 'Servable not found for request: Specific(scale, 2)',
  });
  await t.rejects(answer(client, { name: 'scale', version_label: 'gone' }), {
    code: status.INVALID_ARGUMENT,
    details: 'Unrecognized servable version label: gone',
  });
});

t.test('two versions of one model serve from two processes', async (t) => {
  const sockets = [folder.at('one.sock'), folder.at('two.sock')];
  const worker = await WorkerProgram.ready([
    `--model=scale:${folder.at('scale')}`,
    `--group=one:${sockets[0]}:scale@1`,
    `--group=two:${sockets[1]}:scale@2+3`,
  ]);
  const clients = sockets.map((path) => new TfsClient(`unix:${path}`));
  t.teardown(() => {
    for (const client of clients) client.close();
    return worker.stop();
  });
  t.same(await answer(clients[0]!, modelSpec('scale')), [1, 10]);
  t.same(await answer(clients[1]!, modelSpec('scale')), [3, 30]);
  t.not(worker.pid('one'), worker.pid('two'));
});

t.test('a call that never ends does not outlast the drain deadline', async (t) => {
  const path = folder.at('d.sock');
  const worker = await WorkerProgram.ready([
    ...[`--model=scale:${folder.at('scale')}`, '--port=0', `--grpc_socket_path=${path}`, '--drain_deadline_ms=200'],
  ]);
  const session = connect('http://worker', { createConnection: () => connectTo(path) });
  session.on('error', () => {});
  t.teardown(() => session.destroy());
  const request = session.request({
    ':method': 'POST',
    ':path': '/tensorflow.serving.PredictionService/Predict',
    'content-type': 'application/grpc',
  });
  request.on('error', () => {});
  await new Promise<void>((resolve) => request.write(Buffer.of(0, 0, 0, 0, 9, 1), () => resolve()));
  const beganMs = performance.now();
  t.equal(await worker.stop(), 0);
  t.ok(performance.now() - beganMs < 5_000);
});
