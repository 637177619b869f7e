/**
 * A fallback of another schema answers like the primary, in every protocol, and is asked by its own names.
 *
 * The primary `risk` answers `scores` [rows, 2] of floats and `label` [rows]; the fallback `lite` has `probabilities`
 * [rows, 2] of doubles, no label, and a `debug` that is nobody's business.
 */
import { Readable } from 'node:stream';
import t from 'tap';
import { request } from 'undici';
import { OIP_INPUT, openAdapterLab } from '../support/adapter-lab.ts';
import { InferStream } from '../support/infer-stream.ts';
import { MODEL_INFER, ROWS, SCORES } from '../support/lite-upstream.ts';
import { decodeMessage, encodeMessage, type Message } from '../support/proto-codecs.ts';
import { framed } from '../support/scripted-upstream.ts';

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
const STATIC = { static: { outputs: [{ name: 'label', dtype: 'BYTES', shape: [-1], values: ['manual'] }] } };

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
];

const { proxy, caller, fallback, restFallback, predict, infer, post } = await openAdapterLab(t, models);

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
