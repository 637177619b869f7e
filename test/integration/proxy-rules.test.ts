/** Rules and constants answer when nobody is left, in every protocol; and answers that say whose they are. */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { INPUT, OIP_INPUT, openAdapterLab } from '../support/adapter-lab.ts';
import { InferStream } from '../support/infer-stream.ts';
import { dims, ROWS } from '../support/lite-upstream.ts';
import { decodeMessage, encodeMessage, type Message } from '../support/proto-codecs.ts';
import { RestUpstream } from '../support/rest-upstream.ts';
import { framed, ScriptedUpstream } from '../support/scripted-upstream.ts';

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

const primary = await ScriptedUpstream.start(t, 'primary');
const restPrimary = await RestUpstream.start(t, (_call, response) => response.end('{"predictions":[[0.5],[0.25]]}'));

const models = [
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

const logFile = join(mkdtempSync(join(tmpdir(), 'understudy-rules-')), 'access.log');
t.teardown(() => rmSync(dirname(logFile), { recursive: true, force: true }));
const env = { UNDERSTUDY_ACCESS_LOG: 'json', UNDERSTUDY_ACCESS_LOG_FILE: logFile };
const { proxy, caller, predict, infer, post } = await openAdapterLab(t, models, env);

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
