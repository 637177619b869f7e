/** The worker started as tensorflow_model_server is: its flags, its files, its ports. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { credentials, status } from '@grpc/grpc-js';
import t from 'tap';
import { request } from 'undici';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
folder.put('scale', 1, scaleModel(2));
folder.put('other', 1, scaleModel(5));
t.teardown(() => folder.remove());

const x = floats([1, 2], [1, 10]);
const answer = async (client: TfsClient, spec: object) =>
  (await client.predict({ model_spec: spec, inputs: { x } })).outputs.y;

/** Ports that were free a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) =>
          server.once('listening', () => resolve((server.address() as { port: number }).port)),
        ),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function file(name: string, text: string): string {
  writeFileSync(folder.at(name), text);
  return folder.at(name);
}

t.test('its command line serves gRPC and REST, with its files and flags in force', async (t) => {
  const [port, restPort] = await freePorts(2);
  mkdirSync(folder.at('scale', '1', 'assets.extra'), { recursive: true });
  const worker = await WorkerProgram.ready([
    ...[`--port=${port}`, `--rest_api_port=${restPort}`, '--model_name=scale'],
    ...[`--model_base_path=${folder.at('scale')}`, '--enable_batching=true'],
    `--batching_parameters_file=${file('batching.pbtxt', 'max_batch_size { value: 2 } num_batch_threads { value: 1 }')}`,
    ...['--enable_serialization_as_tensor_content', '--rest_api_enable_cors_support', '--rest_api_timeout_in_ms=5000'],
    ...['--tensorflow_intra_op_parallelism=2', '--file_system_poll_wait_seconds=0'],
    '--enable_grpc_healthcheck_service=false',
  ]);
  const client = new TfsClient(`127.0.0.1:${port}`);
  t.teardown(() => {
    client.close();
    return worker.stop();
  });
  const y = await answer(client, modelSpec('scale'));
  t.same(y.tensor_content, Buffer.from(Float32Array.of(2, 20).buffer));
  const three = floats([3, 2], [1, 2, 3, 4, 5, 6]);
  await t.rejects(client.predict({ model_spec: modelSpec('scale'), inputs: { x: three } }), {
    code: status.INVALID_ARGUMENT,
    details: 'Task size 3 is larger than maximum input batch size 2',
  });
  await t.rejects(client.check(''), { code: status.UNIMPLEMENTED });
  const body = JSON.stringify({ instances: [[1, 10]] });
  const reply = await request(`http://127.0.0.1:${restPort}/v1/models/scale:predict`, { method: 'POST', body });
  t.equal(reply.statusCode, 200);
  t.same(await reply.body.json(), { predictions: [[2, 20]] });
  const shared = await request(`http://127.0.0.1:${port}/v1/models/scale`);
  t.match(await shared.body.json(), { model_version_status: [{ version: '1', state: 'AVAILABLE' }] });
  t.ok(worker.logs.some(({ note }) => note === '--tensorflow_intra_op_parallelism has no effect here'));
});

t.test('a configuration file that changes is followed, one with mistakes is refused and named', async (t) => {
  const config = (...names: string[]) =>
    `model_config_list { ${names.map((name) => `config { name: "${name}" base_path: "${folder.at(name)}" }`).join(' ')} }`;
  const path = file('models.config', config('scale'));
  const worker = await WorkerProgram.ready([
    `--model_config_file=${path}`,
    ...['--model_config_file_poll_wait_seconds=1', '--port=0', `--grpc_socket_path=${folder.at('poll.sock')}`],
  ]);
  const client = new TfsClient(`unix:${folder.at('poll.sock')}`);
  t.teardown(() => {
    client.close();
    return worker.stop();
  });
  const applied = (count: number) => () =>
    worker.logs.filter(({ event }) => event === 'model_config_file_applied').length >= count;
  await worker.until(applied(1), 'first look');
  writeFileSync(path, `${config('other')} oops`);
  await worker.until(() => worker.logs.some(({ event }) => event === 'model_config_file_refused'), 'refusal');
  t.same((await answer(client, modelSpec('scale'))).float_val, [2, 20]);
  writeFileSync(path, config('other'));
  await worker.until(applied(2), 'second look');
  t.same((await answer(client, modelSpec('other'))).float_val, [5, 50]);
  await t.rejects(answer(client, modelSpec('scale')), { code: status.NOT_FOUND });
});

t.test('an SSL file puts TLS on the gRPC port and asks clients for their certificate', async (t) => {
  const [key, cert] = [folder.at('key.pem'), folder.at('cert.pem')];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'],
      ...['-keyout', key, '-out', cert, '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
    ],
    { stdio: 'ignore' },
  );
  const quoted = (path: string) => JSON.stringify(readFileSync(path, 'utf8'));
  const ssl = `server_key: ${quoted(key)} server_cert: ${quoted(cert)} custom_ca: "${cert}" client_verify: true`;
  const [port] = await freePorts(1);
  const worker = await WorkerProgram.ready([
    ...[`--port=${port}`, '--rest_api_port=0', `--model=scale:${folder.at('scale')}`],
    `--ssl_config_file=${file('ssl.pbtxt', ssl)}`,
  ]);
  const pem = readFileSync(cert);
  const known = new TfsClient(`localhost:${port}`, {}, credentials.createSsl(pem, readFileSync(key), pem));
  const stranger = new TfsClient(`localhost:${port}`, {}, credentials.createSsl(pem));
  const plain = new TfsClient(`localhost:${port}`);
  t.teardown(() => {
    for (const client of [known, stranger, plain]) client.close();
    return worker.stop();
  });
  t.same((await answer(known, modelSpec('scale'))).float_val, [2, 20]);
  for (const client of [stranger, plain]) {
    const call = client.predict({ model_spec: modelSpec('scale'), inputs: { x } }, { deadlineMs: 2_000 });
    await t.rejects(call, { code: status.UNAVAILABLE });
  }
  const large = floats([500, 2], new Array(1000).fill(1));
  await t.rejects(known.predict({ model_spec: modelSpec('scale'), inputs: { x: large } }), {
    code: status.INVALID_ARGUMENT,
  });
  t.same((await answer(known, modelSpec('scale'))).float_val, [2, 20]);
});

t.test('unknown and contradictory flags end the program with code 1, all mistakes told', async (t) => {
  const worker = new WorkerProgram([
    ...['--port=70000', '--colour=red', `--model_base_path=${folder.at('scale')}`, '--enable_batching=false'],
    `--batching_parameters_file=${file('broken.pbtxt', 'max_batch_size { value: none }')}`,
  ]);
  t.equal(await worker.exit, 1);
  await worker.closed;
  const told = worker.logs.map(({ text }) => String(text));
  t.equal(told.length, 4, told.join('\n'));
  t.match(told.join('\n'), /--colour: unknown flag/);
});
