/** TensorFlow Serving's REST API as clients meet it: curl and undici against a front with real models. */
import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { request } from 'undici';
import type { HttpApi } from '../../inference-worker/api/rest/http-call.ts';
import { RestApi } from '../../inference-worker/api/rest/rest-api.ts';
import { scaleModel, sumModel } from '../support/model-folder.ts';
import { OnnxModel } from '../support/onnx-writer.ts';
import { anyLength, identity, lookup } from '../support/test-models.ts';
import { TfsClient } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

const twoOutputs = new OnnxModel('two')
  .input('x', 'float32', ['batch', 2])
  .output('same', 'float32', ['batch', 2])
  .output('doubled', 'float32', ['batch', 2])
  .node('Identity', ['x'], ['same'])
  .node('Add', ['x', 'x'], ['doubled'])
  .build();

const { url, address } = await openTestFront(t, {
  scale: scaleModel(2),
  sum: sumModel(),
  two: twoOutputs,
  texts: identity('string'),
  lookup: lookup(),
  any: anyLength(),
});

interface Reply {
  readonly status: number;
  readonly type: string | undefined;
  readonly text: string;
  readonly headers: Record<string, string | string[] | undefined>;
}

async function call(
  method: string,
  path: string,
  body: string | Buffer = '',
  headers: Record<string, string> = {},
): Promise<Reply> {
  const reply = await request(url + path, { method, body: body.length > 0 ? body : null, headers });
  const text = await reply.body.text();
  return { status: reply.statusCode, type: reply.headers['content-type'] as string, text, headers: reply.headers };
}

const predict = (model: string, body: string): Promise<Reply> => call('POST', `/v1/models/${model}:predict`, body);

async function refused(
  t: Test,
  method: string,
  path: string,
  body: string,
  status: number,
  error: string,
): Promise<void> {
  const reply = await call(method, path, body);
  t.same([reply.status, JSON.parse(reply.text), reply.type], [status, { error }, 'application/json'], path);
}

t.test('curl sees the answer laid out as TensorFlow Serving lays it out', async (t) => {
  const run = promisify(execFile);
  const curl = async (...args: string[]): Promise<string> => (await run('curl', ['-sS', ...args])).stdout;
  const body = '{"instances": [[1.0, 2.0], [3e-5, 4500000]]}';
  t.equal(
    await curl('-d', body, `${url}/v1/models/scale:predict`),
    '{\n    "predictions": [[2.0, 4.0], [6e-05, 9e+06]\n    ]\n}',
  );
  t.equal(await curl('-o', '/dev/null', '-w', '%{http_code}', `${url}/v1/models/nope`), '404');
  t.equal(
    await curl('-X', 'POST', '-d', body, '-H', 'Expect: 100-continue', `${url}/v1/models/SCALE:predict`).then(
      (text) => JSON.parse(text).error,
    ),
    'Servable not found for request: Latest(SCALE)',
  );
});

t.test('rows and columns, named and not, at a version, a label, in any case of the path', async (t) => {
  t.same(JSON.parse((await predict('scale', '{"inputs":[[1,2]]}')).text), { outputs: [[2, 4]] });
  t.same(JSON.parse((await predict('sum', '{"instances":[{"a":[1,2],"b":[3,4]}]}')).text), { predictions: [[4, 6]] });
  t.same(JSON.parse((await predict('sum', '{"inputs":{"a":[[1,2]],"b":[[3,4]]}}')).text), { outputs: [[4, 6]] });
  t.same(JSON.parse((await predict('two', '{"instances":[[1,2],[3,4]]}')).text), {
    predictions: [
      { same: [1, 2], doubled: [2, 4] },
      { same: [3, 4], doubled: [6, 8] },
    ],
  });
  t.same(JSON.parse((await predict('two', '{"inputs":[[1,2]]}')).text), {
    outputs: { same: [[1, 2]], doubled: [[2, 4]] },
  });
  for (const path of [
    '/v1/models/scale/versions/1:predict',
    '/v1/models/scale/labels/stable:predict',
    '/V1/Models/scale:PREDICT',
  ]) {
    t.equal((await call('POST', path, '{"instances":[[1,2]]}')).status, 200, path);
  }
  t.same(JSON.parse((await predict('texts', '{"instances":[["a",{"b64":"YsO2"}]]}')).text), {
    predictions: [['a', 'bö']],
  });
});

t.test('NaN and infinities come in and go out as tokens', async (t) => {
  const { text } = await predict('scale', '{"instances":[[NaN,-Infinity]]}');
  t.match(text, /\[\[NaN, -Infinity\]/);
});

t.test('refusals have the texts and statuses of TensorFlow Serving', async (t) => {
  const good = '{"instances":[[1,2]]}';
  await refused(t, 'POST', '/v1/models/nope:predict', good, 404, 'Servable not found for request: Latest(nope)');
  await refused(
    t,
    'POST',
    '/v1/models/scale/versions/7:predict',
    good,
    404,
    'Servable not found for request: Specific(scale, 7)',
  );
  await refused(
    t,
    'POST',
    '/v1/models/scale/labels/canary:predict',
    good,
    400,
    'Unrecognized servable version label: canary',
  );
  await refused(t, 'POST', '/v1/models/scale:run', good, 400, 'Malformed request: POST /v1/models/scale:run');
  await refused(t, 'DELETE', '/v1/models/scale', '', 400, 'Malformed request: DELETE /v1/models/scale');
  await refused(t, 'GET', '/v1/models', '', 400, 'Missing model name in request.');
  await refused(t, 'GET', '/v1/models/nope', '', 404, 'Could not find any versions of model nope');
  await refused(t, 'GET', '/v1/models/scale/versions/9', '', 404, 'Could not find version 9 of model scale');
  const huge = '9'.repeat(20);
  await refused(
    t,
    'GET',
    `/v1/models/scale/versions/${huge}`,
    '',
    400,
    `Failed to convert version: ${huge} to numeric.`,
  );
  await refused(t, 'POST', '/v1/models/scale:predict', '', 400, 'JSON Parse error: The document is empty');
  await refused(t, 'POST', '/v1/models/scale:predict', '{}', 400, "Missing 'inputs' or 'instances' key");
  await refused(
    t,
    'POST',
    '/v1/models/scale:predict',
    '{"signature_name":"s","instances":[1]}',
    400,
    'Serving signature name: "s" not found in signature def',
  );
  await refused(
    t,
    'POST',
    '/v1/models/scale:predict',
    '{"instances":[[1,2]',
    400,
    'JSON Parse error: Missing a comma or ] after an array element. at offset: 19',
  );
  await refused(
    t,
    'POST',
    '/v1/models/sum:predict',
    '{"inputs":{"a":[[1,2]]}}',
    400,
    "Missing named input: b in 'inputs' object.",
  );
  await refused(
    t,
    'POST',
    '/v1/models/scale:predict',
    `{"instances":[${Array(9).fill('[1,2]')}]}`,
    400,
    'Task size 9 is larger than maximum input batch size 8',
  );
  await refused(t, 'GET', '/nothing/here', '', 404, 'Not Found');
});

t.test('a model that fails for an input answers 500 and goes on', async (t) => {
  const bad = await predict('lookup', '{"instances":[99]}');
  t.equal(bad.status, 500);
  t.match(JSON.parse(bad.text).error, /Execution failed/);
  t.equal(bad.headers['x-understudy-reason'], 'execution_failed');
  t.same(JSON.parse((await predict('lookup', '{"instances":[3]}')).text), { predictions: [13] });
});

t.test('classify without a signature file is not implemented', async (t) => {
  const reply = await call('POST', '/v1/models/scale:classify', '{"examples":[{"x":[1.0,2.0]}]}');
  t.equal(reply.status, 501);
  const malformed = await call('POST', '/v1/models/scale:regress', '{"examples":[]}');
  t.match(JSON.parse(malformed.text).error, /'examples' value is an empty array$/);
});

t.test('status and metadata are the documents of TensorFlow Serving', async (t) => {
  const status = await call('GET', '/v1/models/scale');
  t.same(JSON.parse(status.text), {
    model_version_status: [{ version: '1', state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } }],
  });
  const tensor = (name: string) => ({
    dtype: 'DT_FLOAT',
    tensor_shape: {
      dim: [
        { size: '-1', name: '' },
        { size: '2', name: '' },
      ],
      unknown_rank: false,
    },
    name: `${name}:0`,
  });
  for (const path of ['/v1/models/scale/metadata', '/v1/models/scale/versions/1/metadata']) {
    t.same(JSON.parse((await call('GET', path)).text), {
      model_spec: { name: 'scale', signature_name: '', version: '1' },
      metadata: {
        signature_def: {
          signature_def: {
            serving_default: {
              inputs: { x: tensor('x') },
              outputs: { y: tensor('y') },
              method_name: 'tensorflow/serving/predict',
              defaults: {},
            },
          },
        },
      },
    });
  }
});

t.test('gzip bodies are inflated within bounds', async (t) => {
  const path = '/v1/models/scale:predict';
  const gzip = { 'content-encoding': 'gzip' };
  const reply = await call('POST', path, gzipSync('{"instances":[[1,2]]}'), gzip);
  t.same(JSON.parse(reply.text), { predictions: [[2, 4]] });
  const long = gzipSync(`{"instances":[[1,2]]${' '.repeat(200_000)}}`);
  t.equal((await call('POST', path, long, gzip)).status, 200);
  t.equal((await call('POST', path, gzipSync(Buffer.alloc(5_000_000)), gzip)).status, 413);
  t.equal((await call('POST', path, Buffer.from('no gzip'), gzip)).status, 400);
  t.equal((await call('POST', path, 'x', { 'content-encoding': 'br' })).status, 415);
});

t.test('a body over the bound is refused, declared or chunked', async (t) => {
  const path = '/v1/models/scale:predict';
  const declared = await call('POST', path, Buffer.alloc(5_000_000, 0x20)).catch((error) => error.code);
  t.ok(
    declared.status === 413 || /^UND_ERR_SOCKET|EPIPE|ECONNRESET$/.test(declared),
    String(declared.status ?? declared),
  );
  const { statusCode, body } = await request(`${url}${path}`, {
    method: 'POST',
    body: Readable.from(Array.from({ length: 50 }, () => Buffer.alloc(100_000, 0x20))),
  }).catch((error) => ({ statusCode: error.code, body: null }));
  await body?.dump();
  t.ok([413, 'UND_ERR_SOCKET', 'EPIPE', 'ECONNRESET'].includes(statusCode), String(statusCode));
  t.equal((await predict('scale', '{"instances":[[1,2]]}')).status, 200);
});

t.test('a large body in many pieces is answered, beside gRPC on the same port', async (t) => {
  const rows = Array.from({ length: 8 }, (_, i) => Array.from({ length: 20_000 }, (_column, j) => i + j / 8));
  const [reply, grpc] = await Promise.all([predict('any', JSON.stringify({ instances: rows })), overGrpc()]);
  t.same(
    JSON.parse(reply.text).predictions,
    rows.map((row) => row.map((value) => 2 * value)),
  );
  t.same(grpc.outputs.y.float_val, [2, 4]);
});

async function overGrpc() {
  const client = new TfsClient(address);
  const x = { dtype: 1, tensor_shape: { dim: [{ size: 1 }, { size: 2 }] }, float_val: [1, 2] };
  try {
    return await client.predict({ model_spec: { name: 'scale' }, inputs: { x } });
  } finally {
    client.close();
  }
}

t.test('requests on one connection are answered in order, and a byte at a time is enough', async (t) => {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  const seen: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => seen.push(chunk));
  const body = '{"instances":[[1,2]]}';
  const head = `POST /v1/models/scale:predict HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n`;
  for (const byte of `${head}\r\n${body}`) socket.write(byte);
  socket.write(`GET /v1/models/scale HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
  await new Promise((resolve) => socket.on('end', resolve));
  socket.destroy();
  t.match(
    Buffer.concat(seen).toString(),
    /^HTTP\/1\.1 200 [\s\S]*predictions[\s\S]*HTTP\/1\.1 200 [\s\S]*model_version_status/,
  );
});

t.test('CORS fields come with every answer where that is on, and answer a preflight', async (t) => {
  const cors = await openTestFront(t, { scale: scaleModel(2) }, { cors: true });
  for (const [method, path] of [
    ['OPTIONS', '/v1/models/scale:predict'],
    ['GET', '/v1/models/scale'],
    ['GET', '/v1/models/nope'],
  ] as const) {
    const { headers, body } = await request(cors.url + path, { method });
    await body.dump();
    t.match(headers, {
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'POST, GET',
      'access-control-allow-headers': 'Content-Type',
    });
  }
  t.notOk('access-control-allow-origin' in (await call('GET', '/v1/models/scale')).headers);
});

t.test('a request that takes longer than allowed is answered 504 and its work is cancelled', async (t) => {
  let cancelled = 0;
  const silent: HttpApi = {
    handle(call) {
      call.cancellable = { cancel: () => cancelled++ };
      return call.request.path === '/silent';
    },
    expire: (call) => new RestApi(null as never, null as never).expire(call),
  };
  const slow = await openTestFront(t, {}, { restTimeoutMs: 50, apis: [silent] });
  const { statusCode, body } = await request(`${slow.url}/silent`);
  t.same([statusCode, await body.json()], [504, { error: 'Timed out waiting for the answer' }]);
  t.equal(cancelled, 1);
});

t.test('a caller that goes away takes its work with it', async (t) => {
  let gone = (): void => {};
  const left = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const silent: HttpApi = {
    handle(call) {
      call.cancellable = { cancel: gone };
      return true;
    },
    expire: () => {},
  };
  const front = await openTestFront(t, {}, { apis: [silent] });
  const abort = new AbortController();
  const asked = request(`${front.url}/silent`, { signal: abort.signal }).catch(() => 'aborted');
  setTimeout(() => abort.abort(), 30);
  t.equal(await asked, 'aborted');
  await left;
});
