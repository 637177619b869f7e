/** Models loaded and unloaded by call, on the worker as a program, and how it ends with REST calls and streams open. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { request } from 'undici';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { type Message, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
folder.put('scale', 1, scaleModel(2));
folder.put('other', 3, scaleModel(5));
folder.put('broken', 1, Buffer.from('this is no model'));
const worker = await WorkerProgram.ready([
  `--model_repository=${folder.path}`,
  '--port=0',
  '--rest_api_port=0',
  '--host=127.0.0.1',
  '--max_num_load_retries=0',
]);
const address = worker.address('default');
const client = new TfsClient(address);
t.teardown(async () => {
  client.close();
  await worker.stop();
  folder.remove();
});

async function post(path: string, body: object = {}): Promise<{ status: number; json: Message }> {
  const reply = await request(`http://${address}${path}`, { method: 'POST', body: JSON.stringify(body) });
  const text = await reply.body.text();
  return { status: reply.statusCode, json: text === '' ? null : JSON.parse(text) };
}

const infer = () =>
  post('/v2/models/scale/infer', { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] }] });
const grpc = (method: string, message: object): Promise<Message> =>
  client.unary('inference.GRPCInferenceService', method, message);

t.test('the index tells every model with its state, or only those that serve', async (t) => {
  const { json: all } = await post('/v2/repository/index');
  t.match(
    all.sort((a: Message, b: Message) => (a.name < b.name ? -1 : 1)),
    [
      { name: 'broken', version: '1', state: 'UNAVAILABLE', reason: /model\.onnx/ },
      { name: 'other', version: '3', state: 'READY' },
      { name: 'scale', version: '1', state: 'READY' },
    ],
  );
  t.same((await post('/v2/repository/index', { ready: true })).json.map(({ name }: Message) => name).sort(), [
    'other',
    'scale',
  ]);
  const { models } = await grpc('RepositoryIndex', { ready: true });
  t.same(models.map(({ name, state }: Message) => `${name} ${state}`).sort(), ['other READY', 'scale READY']);
  t.ok((await grpc('ServerMetadata', {})).extensions.includes('model_repository'));
});

t.test('a model unloaded by call serves no more until it is loaded by call', async (t) => {
  t.equal((await infer()).status, 200);
  t.equal((await post('/v2/repository/models/scale/unload')).status, 200);
  const gone = await infer();
  t.same([gone.status, gone.json.error], [404, "Request for unknown model: 'scale' has no available versions"]);
  await grpc('RepositoryModelLoad', { model_name: 'scale' });
  t.same((await infer()).json.outputs[0].data, [2, 4]);
  await grpc('RepositoryModelUnload', { model_name: 'scale' });
  t.equal((await post('/v2/repository/models/scale/load')).status, 200);
  t.equal((await infer()).status, 200);
});

t.test('what a load is asked for and cannot be done is refused, not ignored', async (t) => {
  const config = { config: '{"max_batch_size": 2}' };
  const load = await post('/v2/repository/models/scale/load', { parameters: config });
  t.same([load.status, load.json.error], [501, "load parameter 'config' is not supported"]);
  const parameters = { 'file:1/model.onnx': { bytes_param: Buffer.from('x') } };
  const refusal = { code: status.UNIMPLEMENTED, details: "load parameter 'file:1/model.onnx' is not supported" };
  await t.rejects(grpc('RepositoryModelLoad', { model_name: 'scale', parameters }), refusal);
  const elsewhere = { code: status.UNIMPLEMENTED, details: "'repository_name' specification is not supported" };
  await t.rejects(grpc('RepositoryIndex', { repository_name: 'other' }), elsewhere);
  t.equal((await post('/v2/repository/other/models/scale/unload')).status, 501);
  t.equal((await infer()).status, 200);
  await grpc('RepositoryModelUnload', { model_name: 'scale', parameters: { unload_dependents: { bool_param: true } } });
  t.equal((await infer()).status, 404);
  t.equal((await post('/v2/repository/models/scale/load', { parameters: null })).status, 200);
});

t.test('what cannot be loaded is told with its reason', async (t) => {
  const unknown = await post('/v2/repository/models/nope/load');
  t.same([unknown.status, unknown.json.error], [400, "Request for unknown model: 'nope' is not found"]);
  const broken = await post('/v2/repository/models/broken/load');
  t.ok(broken.status >= 400, String(broken.status));
  t.match(broken.json.error, /broken/);
});

t.test('SIGTERM answers what was asked, ends streams and lets keep-alive connections go', async (t) => {
  const stream = client.bidirectional('inference.GRPCInferenceService', 'ModelStreamInfer');
  const ended = new Promise<string>((resolve) =>
    stream.on('error', (error) => resolve(error.message)).on('end', () => resolve('end')),
  );
  const first = new Promise<Message>((resolve) => stream.once('data', resolve));
  stream.write({
    model_name: 'scale',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], contents: { fp32_contents: [1, 2] } }],
  });
  t.same((await first).infer_response.outputs[0].contents.fp32_contents, [2, 4]);
  const last = Promise.all(Array.from({ length: 20 }, infer));
  await infer();
  const exit = worker.stop();
  for (const { status } of await last) t.equal(status, 200);
  t.match(await ended, /shutting down/);
  t.equal(await exit, 0);
});
