/**
 * One policy, every API: what holds for Predict over gRPC holds for REST in both protocols, over HTTP/1.1 and HTTP/2, and
 * for Open Inference calls over gRPC. Routing, replacement, output checks and the mirror.
 */
import { connect } from 'node:http2';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { inferRequest, inferResponse } from '../support/infer-stream.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';
import { type MetricsReading, ProxyProgram } from '../support/proxy-program.ts';
import { RestUpstream, restAnswers, restFails } from '../support/rest-upstream.ts';
import { framed, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';

const INFER = '/inference.GRPCInferenceService/ModelInfer';
const infers =
  (name: string, scores: readonly number[] = [0.25, 0.75]): Script =>
  async (call) => {
    const asked = decodeMessage('inference.ModelInferRequest', (await call.body).subarray(5));
    call.answer(encodeMessage('inference.ModelInferResponse', inferResponse(name, asked, scores)));
  };
const rest = await RestUpstream.start(t, restAnswers('primary'));
const restLite = await RestUpstream.start(t, restAnswers('lite'));
const restShadow = await RestUpstream.start(t, restAnswers('shadow'));
const grpc = await ScriptedUpstream.start(t, 'primary', { script: infers('primary') });
const grpcLite = await ScriptedUpstream.start(t, 'lite', { script: infers('lite') });
const grpcShadow = await ScriptedUpstream.start(t, 'shadow', { script: infers('shadow') });

const model = (name: string, primary: string, shadow: string, lite: string) => ({
  name,
  split: [{ model: `${name}@7 via ${primary}` }],
  shadows: [{ model: `${name}@8 via ${shadow}` }],
  fallback: [{ cluster: lite }],
  checkOutputs: true,
  breaker: { enabled: false },
});
const proxy = await ProxyProgram.start(t, {
  ready: false,
  document: {
    clusters: [
      { name: 'rest-lite', model: 'lite', version: '2', endpoints: [restLite.address] },
      { name: 'grpc-lite', model: 'lite', version: '2', endpoints: [grpcLite.address] },
    ],
    models: [
      model('rest', rest.address, restShadow.address, 'rest-lite'),
      model('grpc', grpc.address, grpcShadow.address, 'grpc-lite'),
      {
        name: 'alone',
        split: [{ model: `alone@1 via ${rest.address}` }],
        checkOutputs: true,
        breaker: { enabled: false },
      },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);
const http2 = connect(`http://${proxy.address}`);
http2.on('error', () => undefined);
t.teardown(() => http2.destroy());

interface RestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
}

async function overHttp1(path: string, body = '{"instances":[[1]]}', headers = {}): Promise<RestAnswer> {
  const answer = await request(`http://${proxy.address}${path}`, { method: 'POST', body, headers });
  return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
}

function overHttp2(path: string, body = '{"instances":[[1]]}', headers = {}): Promise<RestAnswer> {
  const stream = http2.request({ ':method': 'POST', ':path': path, ...headers });
  return new Promise((resolve, reject) => {
    let head: Record<string, unknown> = {};
    const chunks: Buffer[] = [];
    stream.on('response', (got) => {
      head = got;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('close', () =>
      resolve({ status: Number(head[':status']), headers: head, text: Buffer.concat(chunks).toString() }),
    );
    stream.end(body);
  });
}

const infer = (name: string, more: object = {}) =>
  caller.call(framed(encodeMessage('inference.ModelInferRequest', inferRequest(name, 'id-1', [1, 2], more))), {
    ':path': INFER,
  });

async function compared(cluster: string, count: number): Promise<number> {
  const labels = { cluster, result: 'compared' };
  const metrics = await proxy.metricsOnce((m) => m.sum('understudy_comparison_results_total', labels) >= count);
  return metrics.sum('understudy_comparison_results_total', labels);
}

function reset(): void {
  rest.script = restAnswers('primary');
  restLite.script = restAnswers('lite');
  restShadow.script = restAnswers('shadow');
  grpc.script = infers('primary');
  for (const server of [rest, restLite, restShadow]) server.calls.length = 0;
}
t.beforeEach(reset);

const PATHS = [
  ['/v1/models/rest:predict', '/v1/models/rest/versions/7:predict', '/v1/models/lite/versions/2:predict'],
  ['/v2/models/rest/infer', '/v2/models/rest/versions/7/infer', '/v2/models/lite/versions/2/infer'],
] as const;

t.test(
  'REST calls are shown to the shadow under its own version, marked, and the answers are compared',
  async (test) => {
    let pairs = 0;
    for (const [path, primaryPath] of PATHS) {
      const answer = await overHttp1(path, '{"instances":[[5]]}', {
        'content-type': 'application/json',
        'x-kept': 'k',
      });
      test.match(answer, { status: 200, headers: { 'x-server': 'primary', 'x-understudy-served-by': 'rest@7' } });
      test.equal(rest.calls.at(-1)!.path, primaryPath);
      test.equal(rest.calls.at(-1)!.headers['x-understudy-shadow'], undefined);
      test.equal(await compared('rest@8', ++pairs), pairs);
      const seen = restShadow.calls.at(-1)!;
      test.equal(seen.path, primaryPath.replace('7', '8'));
      test.match(seen.headers, { 'x-understudy-shadow': '1', 'x-kept': 'k', 'content-type': 'application/json' });
      test.equal(String(seen.body), '{"instances":[[5]]}');
    }
    const analysed = (m: MetricsReading) => m.sum('understudy_comparison_pairs_total', { model: 'rest' });
    test.equal(analysed(await proxy.metricsOnce((m) => analysed(m) === 2)), 2);
    const { models } = await proxy.json('/models');
    const [shadow] = models.find(({ name }: { name: string }) => name === 'rest').shadows;
    test.match(shadow, { agreement: 1 }, JSON.stringify(shadow).slice(0, 400));
  },
);

t.test('a chunked body reaches primary, fallback and shadow whole', async (test) => {
  rest.script = restFails(503, 'down');
  const parts = async function* () {
    for (let i = 0; i < 5; i++) yield Buffer.from(`part ${i};`.repeat(1000));
  };
  const answer = await request(`http://${proxy.address}/v1/models/rest:predict`, {
    method: 'POST',
    body: Readable.from(parts()),
  });
  test.equal(answer.statusCode, 200);
  await answer.body.dump();
  const expected = Array.from({ length: 5 }, (_, i) => `part ${i};`.repeat(1000)).join('');
  test.equal(String(rest.calls.at(-1)!.body), expected);
  test.equal(String(restLite.calls.at(-1)!.body), expected);
});

const failures: Record<string, [typeof rest.script, string]> = {
  'a status of 500': [restFails(500, 'no'), 'status'],
  'a status of 503': [restFails(503, 'no'), 'status'],
  'a status of 504': [restFails(504, 'no'), 'status'],
  'a reset': [(call) => call.socket.destroy(), 'reset'],
  'half an answer': [
    (call, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('{"predictions":[');
      setTimeout(() => call.socket.destroy(), 20);
    },
    'reset',
  ],
  NaN: [restAnswers('primary', [0.5, 'NaN']), 'bad_output'],
  Infinity: [restAnswers('primary', ['-Infinity']), 'bad_output'],
  'null for a number': [restAnswers('primary', [0.5, 'null']), 'bad_output'],
  'a number too large to be one': [restAnswers('primary', ['1e999']), 'bad_output'],
  'JSON that breaks off': [(_call, response) => void response.end('{"predictions":[[0.5'), 'bad_output'],
};

for (const [name, [script, reason]] of Object.entries(failures)) {
  t.test(`${name} over REST is answered by the fallback, under its own name`, async (test) => {
    for (const [path, , fallbackPath] of PATHS) {
      rest.script = script;
      const answer = await overHttp1(path);
      test.match(answer, {
        status: 200,
        headers: { 'x-server': 'lite', 'x-understudy-served-by': 'rest-lite', 'x-understudy-reason': reason },
      });
      test.equal(restLite.calls.at(-1)!.path, fallbackPath);
    }
  });
}

t.test('good answers with nulls outside lists, strings of any kind and NaN in names are left alone', async (test) => {
  for (const body of [
    '{"parameters":null,"outputs":[{"name":"NaN","datatype":"BYTES","shape":[2],"data":["Infinity","n\\"ull]"]}]}',
    '{"predictions":[1e5,2E-3,-1.5e+2]}',
  ]) {
    rest.script = (_call, response) => void response.end(body);
    const answer = await overHttp1('/v2/models/rest/infer');
    test.match(answer, { status: 200, text: body, headers: { 'x-understudy-served-by': 'rest@7' } });
  }
});

t.test('tensors behind the JSON are looked at by their types', async (test) => {
  const bytes = Buffer.alloc(12, 0xff);
  bytes.writeFloatLE(1.5, 4);
  bytes.writeFloatLE(2.5, 8);
  for (const [value, server] of [
    [2.5, 'rest@7'],
    [Number.NaN, 'rest-lite'],
  ] as const) {
    bytes.writeFloatLE(value, 8);
    const json = JSON.stringify({
      outputs: [
        { name: 'a', datatype: 'INT32', shape: [1], parameters: { binary_data_size: 4 } },
        { name: 'b', datatype: 'FP32', shape: [2], parameters: { binary_data_size: 8 } },
      ],
    });
    rest.script = (_call, response) => {
      response.setHeader('inference-header-content-length', String(json.length));
      response.end(Buffer.concat([Buffer.from(json), bytes]));
    };
    const answer = await overHttp1('/v2/models/rest/infer');
    test.match(answer, { status: 200, headers: { 'x-understudy-served-by': server } });
  }
});

t.test('without a fallback a REST caller gets an error of its own kind', async (test) => {
  rest.script = restAnswers('primary', ['NaN']);
  const bad = await overHttp1('/v1/models/alone:predict');
  test.match(bad, {
    status: 502,
    headers: { 'content-type': 'application/json', 'x-understudy-reason': 'bad_output' },
  });
  test.strictSame(JSON.parse(bad.text), { error: 'the upstream answered with invalid outputs' });
  rest.script = restFails(429, 'the device is out of memory', { 'x-understudy-reason': 'device_out_of_memory' });
  const full = await overHttp1('/v2/models/alone/infer');
  test.match(full, { status: 429, text: '{"error":"the device is out of memory"}' });
});

t.test('REST over HTTP/2 is routed, replaced and shown to shadows alike', async (test) => {
  const json =
    (name: string, text: string, status = 200): Script =>
    async (call) => {
      await call.body;
      call.stream.respond({ ':status': status, 'content-type': 'application/json', 'x-server': name });
      call.stream.end(text);
    };
  grpc.script = json('primary', '{"predictions":[1]}');
  grpcLite.script = json('lite', '{"predictions":[2]}');
  grpcShadow.script = json('shadow', '{"predictions":[3]}');
  const answer = await overHttp2('/v1/models/grpc:predict');
  test.match(answer, { status: 200, text: '{"predictions":[1]}', headers: { 'x-understudy-served-by': 'grpc@7' } });
  test.equal(grpc.calls.at(-1)!.headers[':path'], '/v1/models/grpc/versions/7:predict');
  await compared('grpc@8', 1);
  test.match(grpcShadow.calls.at(-1)!.headers, {
    ':path': '/v1/models/grpc/versions/8:predict',
    'x-understudy-shadow': '1',
  });
  for (const [script, reason] of [
    [json('primary', '{"error":"down"}', 503), 'status'],
    [json('primary', '{"predictions":[NaN]}'), 'bad_output'],
    [(call: { reset(): void }) => call.reset(), 'reset'],
  ] as const) {
    grpc.script = script as Script;
    const replaced = await overHttp2('/v1/models/grpc:predict');
    test.match(replaced, { status: 200, text: '{"predictions":[2]}', headers: { 'x-understudy-reason': reason } });
    test.equal(grpcLite.calls.at(-1)!.headers[':path'], '/v1/models/lite/versions/2:predict');
  }
  grpc.script = json('primary', '{"error":"down"}', 503);
  grpcLite.script = json('lite', '{"error":"too"}', 500);
  test.match(await overHttp2('/v1/models/grpc:predict'), { status: 503, text: '{"error":"down"}' });
  await proxy.metricsOnce((metrics) => metrics.sum('understudy_mirror_in_flight_requests') === 0);
  grpcLite.script = infers('lite');
  grpcShadow.script = infers('shadow');
});

async function checkInfer(test: Test, script: Script, reason: string): Promise<void> {
  grpc.script = script;
  const answer = await infer('grpc');
  test.match(answer, { status: 0, served: { 'served-by': 'grpc-lite', reason } });
  const asked = decodeMessage('inference.ModelInferRequest', (await grpcLite.calls.at(-1)!.body).subarray(5));
  test.match(asked, { model_name: 'lite', model_version: '2', id: 'id-1' });
}

t.test('Open Inference calls over gRPC ask for the chosen version, are compared, and are replaced', async (test) => {
  const before = await compared('grpc@8', 0);
  const answer = await infer('grpc');
  test.match(answer, { status: 0, served: { 'served-by': 'grpc@7', 'model-version': '7' } });
  test.match(decodeMessage('inference.ModelInferRequest', (await grpc.calls.at(-1)!.body).subarray(5)), {
    model_name: 'grpc',
    model_version: '7',
    id: 'id-1',
  });
  test.equal(await compared('grpc@8', before + 1), before + 1);
  const shadowed = grpcShadow.calls.at(-1)!;
  test.equal(shadowed.headers['x-understudy-shadow'], '1');
  test.match(decodeMessage('inference.ModelInferRequest', (await shadowed.body).subarray(5)), { model_version: '8' });
  await checkInfer(test, infers('primary', [Number.NaN]), 'bad_output');
  await checkInfer(
    test,
    (call) => {
      const raw = Buffer.alloc(8);
      raw.writeDoubleLE(Number.NaN);
      const outputs = [{ name: 'y', datatype: 'FP64', shape: [1] }];
      call.answer(encodeMessage('inference.ModelInferResponse', { outputs, raw_output_contents: [raw] }));
    },
    'bad_output',
  );
  await checkInfer(test, (call) => call.failInTrailers(13, 'bug'), 'status');
  await checkInfer(test, (call) => call.reset(), 'reset');
});

t.test('scores of Classify that are no numbers are replaced', async (test) => {
  const classify = (score: number): Buffer =>
    encodeMessage('tensorflow.serving.ClassificationResponse', {
      result: {
        classifications: [
          {
            classes: [
              { label: 'a', score: 1 },
              { label: 'b', score },
            ],
          },
        ],
      },
    });
  const body = framed(encodeMessage('tensorflow.serving.ClassificationRequest', { model_spec: { name: 'grpc' } }));
  grpcLite.script = async (call) => {
    await call.body;
    call.answer(classify(0.5));
  };
  for (const [score, server] of [
    [0.25, 'grpc@7'],
    [Number.NaN, 'grpc-lite'],
  ] as const) {
    grpc.script = async (call) => {
      await call.body;
      call.answer(classify(score));
    };
    const answer = await caller.call(body, { ':path': '/tensorflow.serving.PredictionService/Classify' });
    test.match(answer, { status: 0, served: { 'served-by': server } });
  }
});
