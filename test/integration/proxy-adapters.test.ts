/**
 * A fallback of another schema answers like the primary, in every protocol; constants and rules answer when nobody is left.
 *
 * The primary `risk` answers `scores` [rows, 2] of floats and `label` [rows]; the fallback `lite` has `probabilities`
 * [rows, 2] of doubles, no label, and a `debug` that is nobody's business.
 */
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { type Answer, GrpcCaller } from '../support/grpc-caller.ts';
import { InferStream, STREAM_INFER, streams } from '../support/infer-stream.ts';
import { decodeMessage, encodeMessage, type Message } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { RestUpstream } from '../support/rest-upstream.ts';
import { framed, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';

const MODEL_INFER = '/inference.GRPCInferenceService/ModelInfer';
const ROWS = 2;
const PROBABILITIES = [0.1, 0.9, 0.75, 0.25];
const SCORES = PROBABILITIES.map(Math.fround);

/** What `lite` says to whichever gRPC call it is. */
const lite: Script = async (call) => {
  const path = String(call.headers[':path']);
  if (path === STREAM_INFER) {
    streams('lite', (message) => {
      const { id } = message.request;
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      call.stream.write(framed(encodeMessage('inference.ModelStreamInferResponse', { infer_response: liteInfer(id) })));
    })(call);
    return;
  }
  await call.body;
  if (path === MODEL_INFER) call.answer(encodeMessage('inference.ModelInferResponse', liteInfer('q')));
  else call.answer(encodeMessage('tensorflow.serving.PredictResponse', LITE_PREDICT));
};

const dims = (...sizes: number[]) => ({ tensor_shape: { dim: sizes.map((size) => ({ size })) } });
const LITE_PREDICT = {
  model_spec: { name: 'lite', version: { value: 7 }, signature_name: 'serving_default' },
  outputs: {
    probabilities: { dtype: 2, ...dims(ROWS, 2), double_val: PROBABILITIES },
    debug: { dtype: 7, ...dims(1), string_val: [Buffer.from('secret')] },
  },
};

function liteInfer(id: string): object {
  return {
    model_name: 'lite',
    model_version: '7',
    id,
    outputs: [{ name: 'probabilities', datatype: 'FP64', shape: [ROWS, 2] }],
    raw_output_contents: [Buffer.from(Float64Array.from(PROBABILITIES).buffer)],
  };
}

/** The same over REST; Predict compressed, infer with binary tensors. */
function liteRest(
  call: { readonly path: string; readonly body: Buffer },
  response: import('node:http').ServerResponse,
): void {
  if (call.path.startsWith('/v2/')) {
    const raw = Buffer.from(Float64Array.from(PROBABILITIES).buffer);
    const outputs = [
      { name: 'probabilities', datatype: 'FP64', shape: [ROWS, 2], parameters: { binary_data_size: raw.length } },
    ];
    const json = Buffer.from(JSON.stringify({ model_name: 'lite', model_version: '7', outputs }));
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': json.length,
    });
    response.end(Buffer.concat([json, raw]));
    return;
  }
  const isRow = call.body.includes('instances');
  const rows = [PROBABILITIES.slice(0, 2), PROBABILITIES.slice(2)];
  const json = isRow
    ? { predictions: rows.map((row) => ({ probabilities: row, debug: 'secret' })) }
    : { outputs: { probabilities: rows, debug: ['secret', 'secret'] } };
  response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
  response.end(gzipSync(JSON.stringify(json)));
}

const fallback = await ScriptedUpstream.start(t, 'lite', { script: lite });
const restFallback = await RestUpstream.start(t, liteRest);
const primary = await ScriptedUpstream.start(t, 'primary');
const restPrimary = await RestUpstream.start(t, (_call, response) => response.end('{"predictions":[[0.5],[0.25]]}'));

const DECLARED = [
  { name: 'scores', dtype: 'FP32', shape: [-1, 2] },
  { name: 'label', dtype: 'BYTES', shape: [-1] },
];
const ADAPT = {
  outputs: [
    { name: 'scores', from: 'probabilities', dtype: 'FP32' },
    { name: 'label', dtype: 'BYTES', shape: [-1], fill: ['unknown'] },
  ],
};
const RULE = {
  rule: {
    outputs: [
      {
        name: 'score',
        dtype: 'FP64',
        shape: [-1],
        score: { bias: 0.5, terms: [{ input: 'x', column: 1, weight: 2 }], max: 9 },
      },
      { name: 'label', dtype: 'BYTES', shape: [-1], values: ['low'] },
    ],
    cases: [{ when: [{ score: 'score', op: '>', value: '5' }], set: [{ output: 'label', values: ['high'] }] }],
  },
};
const STATIC = { static: { outputs: [{ name: 'label', dtype: 'BYTES', shape: [-1], values: ['manual'] }] } };
const off = { breaker: { enabled: false } };
const dead = '127.0.0.1:1';
const logFile = join(tmpdir(), `understudy-adapters-${process.pid}.log`);

const clusters = [
  { name: 'lite@7', model: 'lite', version: '7', endpoints: [fallback.address], ...off },
  { name: 'lite-rest@7', model: 'lite', version: '7', endpoints: [restFallback.address], ...off },
];
const models = [
  { name: 'risk', fallback: [{ cluster: 'lite@7', adapt: ADAPT }], outputs: DECLARED },
  { name: 'riskrest', fallback: [{ cluster: 'lite-rest@7', adapt: ADAPT }], outputs: DECLARED },
  {
    name: 'misfit',
    fallback: [{ cluster: 'lite@7', adapt: { outputs: [{ name: 'scores', from: 'nothing' }] } }, STATIC],
  },
  {
    name: 'alone',
    fallback: [{ cluster: 'lite@7', adapt: { outputs: [{ name: 'scores', from: 'nothing' }] } }],
  },
  {
    name: 'renamed',
    fallback: [{ cluster: 'lite@7', adapt: { ...ADAPT, inputs: [{ name: 'features', from: 'x' }] } }],
  },
  {
    name: 'renamedrest',
    fallback: [{ cluster: 'lite-rest@7', adapt: { ...ADAPT, inputs: [{ name: 'features', from: 'x' }] } }],
  },
  { name: 'plain', fallback: [{ cluster: 'lite@7' }] },
  { name: 'ruled', fallback: [RULE], modelVersionOutput: 'answered_by' },
  { name: 'chain', fallback: [RULE, STATIC] },
  { name: 'gone', split: [{ model: `gone@1 via ${primary.address}` }], fallback: [STATIC] },
  { name: 'told', split: [{ model: `told@3 via ${primary.address}` }], modelVersionOutput: 'model_version' },
  {
    name: 'toldrest',
    split: [{ model: `toldrest@3 via ${restPrimary.address}` }],
    modelVersionOutput: 'model_version',
  },
];

const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: { UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: dead, UNDERSTUDY_ACCESS_LOG: 'json', UNDERSTUDY_ACCESS_LOG_FILE: logFile },
  document: {
    clusters,
    models: models.map((model) => ({ split: [{ model: `${model.name}@1 via ${dead}` }], ...off, ...model })),
  },
});
const caller = GrpcCaller.to(t, proxy.address);

const INPUT = { dtype: 1, ...dims(ROWS, 2), float_val: [1, 2, 3, 4] };
const OIP_INPUT = { name: 'x', datatype: 'FP32', shape: [ROWS, 2], contents: { fp32_contents: [1, 2, 3, 4] } };

async function predict(model: string, more: object = {}): Promise<Answer & { readonly response: Message }> {
  const spec = { name: model, version: null };
  const message = encodeMessage('tensorflow.serving.PredictRequest', {
    model_spec: spec,
    inputs: { x: INPUT },
    ...more,
  });
  const answer = await caller.call(framed(message));
  return {
    ...answer,
    response: answer.status === 0 ? decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5)) : null,
  };
}

async function infer(model: string): Promise<Answer & { readonly response: Message }> {
  const message = encodeMessage('inference.ModelInferRequest', { model_name: model, id: 'q', inputs: [OIP_INPUT] });
  const answer = await caller.call(framed(message), { ':path': MODEL_INFER });
  return { ...answer, response: decodeMessage('inference.ModelInferResponse', answer.body.subarray(5)) };
}

async function post(
  path: string,
  body: object,
): Promise<{ status: number; headers: Record<string, unknown>; bytes: Buffer; json: Message }> {
  const answer = await request(`http://${proxy.address}${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  const jsonBytes = Number(answer.headers['inference-header-content-length'] ?? bytes.length);
  return {
    status: answer.statusCode,
    headers: answer.headers,
    bytes,
    json: JSON.parse(bytes.toString('utf8', 0, jsonBytes)),
  };
}

function floats(raw: Buffer): number[] {
  return Array.from(new Float32Array(new Uint8Array(raw).buffer));
}

const served = { 'served-by': 'lite@7', 'model-version': '7', reason: 'connect_failed' };

t.test('a Predict gets the outputs of its primary, and is told who gave them', async (test) => {
  const { response, served: told } = await predict('risk');
  test.strictSame(Object.keys(response.outputs), ['scores', 'label']);
  test.strictSame(response.outputs.scores.float_val, SCORES);
  test.strictSame(response.outputs.label.string_val.map(String), ['unknown', 'unknown']);
  test.equal(response.model_spec.name, 'risk');
  test.notOk(response.model_spec.version, 'a version of another model would be a lie');
  test.strictSame(told, served);
});

t.test('so do ModelInfer and each message of a stream', async (test) => {
  const { response, served: told } = await infer('risk');
  test.match(response, { model_name: 'risk', model_version: '', id: 'q' });
  test.strictSame(
    response.outputs.map(({ name, datatype }: Message) => `${name} ${datatype}`),
    ['scores FP32', 'label BYTES'],
  );
  test.strictSame(floats(response.raw_output_contents[0]), SCORES);
  test.strictSame(told, served);
  const stream = new InferStream(test, proxy.address);
  stream.call.write({ model_name: 'risk', id: 's1', inputs: [OIP_INPUT] });
  const { answers } = await stream.finish();
  const message = answers[0]!.infer_response;
  test.match(message, { model_name: 'risk', model_version: '', id: 's1' });
  test.strictSame(floats(message.raw_output_contents[0]), SCORES);
  test.equal(message.parameters['x-understudy-served-by'].string_param, 'lite@7');
});

t.test('so do REST rows and columns, out of compressed answers', async (test) => {
  const rows = await post('/v1/models/riskrest:predict', { instances: [{ x: [1, 2] }, { x: [3, 4] }] });
  test.strictSame(rows.json, {
    predictions: [
      { scores: [0.1, 0.9], label: 'unknown' },
      { scores: [0.75, 0.25], label: 'unknown' },
    ],
  });
  test.match(rows.headers, { 'x-understudy-served-by': 'lite-rest@7', 'content-length': String(rows.bytes.length) });
  test.equal(rows.headers['content-encoding'], undefined);
  const columns = await post('/v1/models/riskrest:predict', {
    inputs: {
      x: [
        [1, 2],
        [3, 4],
      ],
    },
  });
  test.strictSame(columns.json, {
    outputs: {
      scores: [
        [0.1, 0.9],
        [0.75, 0.25],
      ],
      label: ['unknown', 'unknown'],
    },
  });
});

t.test('so does REST infer, its binary tensors cast in place', async (test) => {
  const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [ROWS, 2], data: [1, 2, 3, 4] }] };
  const { json, bytes, headers } = await post('/v2/models/riskrest/infer', body);
  test.equal(json.model_name, 'riskrest');
  test.equal(json.model_version, undefined);
  const at = Number(headers['inference-header-content-length']);
  test.strictSame(floats(bytes.subarray(at, at + 16)), SCORES);
  test.strictSame(
    json.outputs.map(({ name, datatype }: Message) => `${name} ${datatype}`),
    ['scores FP32', 'label BYTES'],
  );
});

t.test('a fallback gets the inputs by its own names, and no list of outputs that are not its', async (test) => {
  const { status, response } = await predict('renamed', { output_filter: ['scores'] });
  test.equal(status, 0);
  test.strictSame(response.outputs.scores.float_val, SCORES);
  const asked = await fallback.calls.at(-1)!.request();
  test.strictSame(Object.keys(asked.inputs), ['features']);
  test.strictSame(asked.inputs.features.float_val, [1, 2, 3, 4]);
  test.strictSame(asked.output_filter, []);
  test.match(asked.model_spec, { name: 'lite', version: { value: '7' } });
  const message = { model_name: 'renamed', id: 'q', inputs: [OIP_INPUT], outputs: [{ name: 'scores' }] };
  const answer = await caller.call(framed(encodeMessage('inference.ModelInferRequest', message)), {
    ':path': MODEL_INFER,
  });
  test.equal(answer.status, 0);
  const infers = await fallback.calls.at(-1)!.request('inference.ModelInferRequest');
  test.match(infers, { model_name: 'lite', model_version: '7', id: 'q', outputs: [] });
  test.strictSame(
    infers.inputs.map(({ name }: Message) => name),
    ['features'],
  );
  test.strictSame(infers.inputs[0].contents.fp32_contents, [1, 2, 3, 4]);
  const stream = new InferStream(test, proxy.address);
  stream.call.write({ ...message, id: 's' });
  test.equal((await stream.finish()).answers[0]!.infer_response.id, 's');
  await fallback.calls.at(-1)!.body.then((body) => {
    const streamed = decodeMessage('inference.ModelInferRequest', body.subarray(5));
    test.match(streamed, { model_name: 'lite', outputs: [], inputs: [{ name: 'features' }] });
  });
});

t.test('so it does over REST, also while its request is still on its way', async (test) => {
  const rows = await post('/v1/models/renamedrest:predict', { instances: [{ x: [1, 2] }, { x: [3, 4] }] });
  test.equal(rows.json.predictions.length, 2);
  test.strictSame(JSON.parse(restFallback.calls.at(-1)!.body.toString()), {
    instances: [{ features: [1, 2] }, { features: [3, 4] }],
  });
  const input = { name: 'x', datatype: 'FP32', shape: [ROWS, 2], data: [1, 2, 3, 4] };
  const infers = await post('/v2/models/renamedrest/infer', {
    id: 'z',
    inputs: [input],
    outputs: [{ name: 'scores' }],
  });
  test.equal(infers.status, 200);
  test.strictSame(JSON.parse(restFallback.calls.at(-1)!.body.toString()), {
    id: 'z',
    inputs: [{ ...input, name: 'features' }],
  });
  async function* slowly(): AsyncGenerator<Buffer> {
    yield Buffer.from('{"inputs": {"x": [[1, 2], ');
    await new Promise((resolve) => setTimeout(resolve, 200));
    yield Buffer.from('[3, 4]]}}');
  }
  const answer = await request(`http://${proxy.address}/v1/models/renamedrest:predict`, {
    method: 'POST',
    body: Readable.from(slowly()),
  });
  test.equal(answer.statusCode, 200);
  test.strictSame(Object.keys(((await answer.body.json()) as Message).outputs), ['scores', 'label']);
  const seen = restFallback.calls.at(-1)!;
  test.strictSame(JSON.parse(seen.body.toString()), {
    inputs: {
      features: [
        [1, 2],
        [3, 4],
      ],
    },
  });
  test.equal(seen.headers['content-length'], String(seen.body.length));
});

t.test('a fallback without a mapping keeps its outputs, but not its name', async (test) => {
  const { response } = await predict('plain');
  test.equal(response.model_spec.name, 'plain');
  test.notOk(response.model_spec.version);
  test.strictSame(Object.keys(response.outputs).sort(), ['debug', 'probabilities']);
});

t.test(
  "an answer that does not fit its mapping is a bad one: the next step, or the primary's own failure",
  async (test) => {
    const { response, served: told } = await predict('misfit');
    test.strictSame(response.outputs.label.string_val.map(String), ['manual', 'manual']);
    test.strictSame(told, { 'served-by': '@static/misfit/1', 'model-version': 'static', reason: 'connect_failed' });
    const alone = await predict('alone');
    test.match(alone, { status: 14, served: { reason: 'connect_failed' } });
    const metrics = await proxy.metricsOnce(
      (now) => now.sum('understudy_answer_adaptations_total', { result: 'misfit' }) === 2,
    );
    test.equal(metrics.sum('understudy_answer_adaptations_total', { cluster: 'lite@7', result: 'misfit' }), 2);
    test.equal(metrics.sum('understudy_cluster_requests_total', { cluster: 'lite@7', outcome: 'bad_output' }), 2);
  },
);

const RULED = { score: [4.5, 8.5], label: ['low', 'high'], answered_by: ['@rule/ruled', '@rule/ruled'] };

function outputsOf({ outputs }: Message): unknown {
  return Object.fromEntries(
    outputs.map(({ name, contents }: Message) => [
      name,
      name === 'score' ? contents.fp64_contents : contents.bytes_contents.map(String),
    ]),
  );
}

t.test('a rule answers in every protocol when the primary is gone', async (test) => {
  const { response, served: told } = await predict('ruled');
  test.strictSame(response.outputs.score.double_val, RULED.score);
  test.strictSame(response.outputs.label.string_val.map(String), RULED.label);
  test.strictSame(response.outputs.answered_by.string_val.map(String), RULED.answered_by);
  test.match(response.model_spec, { name: 'ruled', version: null });
  test.strictSame(told, { 'served-by': '@rule/ruled', 'model-version': 'rule', reason: 'connect_failed' });
  test.strictSame(outputsOf((await infer('ruled')).response), RULED);
  const stream = new InferStream(test, proxy.address);
  stream.call.write({ model_name: 'ruled', id: 'a', inputs: [OIP_INPUT] });
  stream.call.write({ model_name: 'ruled', id: 'b', inputs: [OIP_INPUT] });
  const { answers, status } = await stream.finish();
  test.equal(status, 0);
  test.strictSame(
    answers.map(({ infer_response }) => infer_response.id),
    ['a', 'b'],
  );
  test.strictSame(outputsOf(answers[1]!.infer_response), RULED);
  test.equal(answers[1]!.infer_response.parameters['x-understudy-served-by'].string_param, '@rule/ruled');
  const rows = await post('/v1/models/ruled:predict', { instances: [{ x: [1, 2] }, { x: [3, 4] }] });
  test.strictSame(
    rows.json.predictions,
    [0, 1].map((i) => ({ score: RULED.score[i], label: RULED.label[i], answered_by: '@rule/ruled' })),
  );
  test.equal(rows.headers['x-understudy-model-version'], 'rule');
  const unnamed = await post('/v1/models/ruled:predict', {
    inputs: [
      [1, 2],
      [3, 4],
    ],
  });
  test.strictSame(unnamed.json.outputs, RULED);
  const open = await post('/v2/models/ruled/infer', {
    id: 'z',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [ROWS, 2], data: [1, 2, 3, 4] }],
  });
  test.equal(open.json.id, 'z');
  test.strictSame(Object.fromEntries(open.json.outputs.map(({ name, data }: Message) => [name, data])), RULED);
});

t.test('a request that comes in pieces is answered when it is whole', async (test) => {
  const message = framed(
    encodeMessage('tensorflow.serving.PredictRequest', { model_spec: { name: 'ruled' }, inputs: { x: INPUT } }),
  );
  const answer = await caller.call([message.subarray(0, 30), message.subarray(30, 50), message.subarray(50)]);
  test.equal(answer.status, 0, answer.message);
  // Larger than a stream's first window: the caller is told to go on.
  const wide = { dtype: 1, ...dims(1, 100_000), float_val: new Array(100_000).fill(1) };
  const large = framed(
    encodeMessage('tensorflow.serving.PredictRequest', { model_spec: { name: 'ruled' }, inputs: { x: wide } }),
  );
  const pieces = Array.from({ length: 10 }, (_, i) => large.subarray(i * 40_100, (i + 1) * 40_100));
  const reply = await caller.call(pieces);
  test.equal(reply.status, 0, reply.message);
  test.strictSame(
    decodeMessage('tensorflow.serving.PredictResponse', reply.body.subarray(5)).outputs.score.double_val,
    [2.5],
  );
});

t.test('what a rule cannot compute with goes to the next step, and is counted', async (test) => {
  const { response, served: told } = await predict('chain', { inputs: { other: INPUT } });
  test.strictSame(response.outputs.label.string_val.map(String), ['manual', 'manual']);
  test.equal(told['served-by'], '@static/chain/1');
  const tall = { dtype: 1, ...dims(65_537, 2), float_val: [1] };
  const refused = await predict('chain', { inputs: { x: tall } });
  test.equal(refused.status, 14, "and where no step is left, the primary's failure is the answer");
  const metrics = await proxy.metricsOnce(
    (now) => now.sum('understudy_local_answers_total', { cluster: '@static/chain/1', result: 'too_large' }) === 1,
  );
  test.equal(metrics.sum('understudy_local_answers_total', { cluster: '@rule/chain', result: 'misfit' }), 1);
  test.equal(metrics.sum('understudy_local_answers_total', { cluster: '@rule/chain', result: 'too_large' }), 1);
  test.equal(
    metrics.sum('understudy_cluster_answers_total', { cluster: '@rule/ruled', reason: 'connect_failed' }) > 0,
    true,
  );
});

t.test('the primary is answered for by a constant from the moment it is killed', async (test) => {
  primary.script = async (call) => {
    const { model_spec } = await call.request();
    call.answer(
      encodeMessage('tensorflow.serving.PredictResponse', {
        model_spec,
        outputs: { label: { dtype: 7, ...dims(2), string_val: [Buffer.from('a'), Buffer.from('b')] } },
      }),
    );
  };
  const before = await predict('gone');
  test.strictSame(before.served, { 'served-by': 'gone@1', 'model-version': '1' });
  test.strictSame(before.response.outputs.label.string_val.map(String), ['a', 'b']);
  const told = await predict('told');
  test.strictSame(
    told.response.outputs.model_version.string_val.map(String),
    ['told@3', 'told@3'],
    'the primary says it too, where that is switched on',
  );
  test.strictSame(told.response.outputs.label.string_val.map(String), ['a', 'b']);
  test.match(told.response.model_spec, { name: 'told', version: { value: '3' } });
  await primary.close();
  const after = await predict('gone');
  test.equal(after.served['served-by'], '@static/gone');
  test.strictSame(after.response.outputs.label.string_val.map(String), ['manual', 'manual']);
});

t.test('a primary over REST says its version in its rows', async (test) => {
  const { json } = await post('/v1/models/toldrest:predict', { instances: [[1], [2]] });
  test.strictSame(
    json,
    { predictions: [[0.5], [0.25]] },
    'an answer that names no output cannot take another one, and goes on as it is',
  );
  restPrimary.script = (_call, response) => response.end('{"predictions":[{"y":0.5},{"y":0.25}]}');
  const named = await post('/v1/models/toldrest:predict', { instances: [[1], [2]] });
  test.strictSame(named.json.predictions, [
    { y: 0.5, model_version: 'toldrest@3' },
    { y: 0.25, model_version: 'toldrest@3' },
  ]);
});

t.test('the access log says who answered', async (test: Test) => {
  await proxy.stop();
  const lines = (await readFile(logFile, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Message);
  const ruled = lines.find(({ cluster }) => cluster === '@rule/ruled');
  test.match(ruled, { model: 'ruled', version: 'rule', flags: 'FB', primary: false, status: 0 });
});
