/**
 * A constant stands in for every way in which a primary can fail, like any fallback: for single calls and for messages of
 * streams. While it does, shadows and probes still see the requests.
 */
import t, { type Test } from 'tap';
import { type Answer, GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { InferStream, STREAM_INFER, streams } from '../support/infer-stream.ts';
import { until } from '../support/patience.ts';
import { decodeMessage, encodeMessage, type Message } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import {
  answers,
  framed,
  hangs,
  predictResponse,
  type Script,
  ScriptedUpstream,
} from '../support/scripted-upstream.ts';

const primary = await ScriptedUpstream.start(t, 'primary');
const shadow = await ScriptedUpstream.start(t, 'shadow');
const lite = await ScriptedUpstream.start(t, 'lite', {
  script: async (call) => {
    if (String(call.headers[':path']) === STREAM_INFER) {
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      streams('lite', ({ request: { id } }) => {
        const output = { name: 'y', datatype: 'FP64', shape: ['1'], contents: { fp64_contents: [0.5] } };
        const infer_response = { model_name: 'lite', id, outputs: [output] };
        call.stream.write(framed(encodeMessage('inference.ModelStreamInferResponse', { infer_response })));
      })(call);
      return;
    }
    await call.body;
    const outputs = { y: { dtype: 2, tensor_shape: { dim: [{ size: 1 }] }, double_val: [0.5] } };
    call.answer(encodeMessage('tensorflow.serving.PredictResponse', { model_spec: { name: 'lite' }, outputs }));
  },
});

const CONSTANT = { static: { outputs: [{ name: 'served_by', dtype: 'BYTES', shape: [-1], values: ['constant'] }] } };
const off = { enabled: false };
const model = (name: string, more: object = {}) => ({
  name,
  split: [{ model: `${name}@1 via ${primary.address}` }],
  fallback: [CONSTANT],
  breaker: off,
  ...more,
});
const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: { UNDERSTUDY_CONCURRENCY: '1' },
  document: {
    models: [
      model('any'),
      model('broken', { breaker: { consecutiveFailures: 1, open: '1h', maxOpen: '1h' } }),
      model('narrow', { limits: { concurrentRequests: 1 } }),
      model('checked', { checkOutputs: true }),
      model('slow', {
        degradation: { preset: 'mean', meanOver: '1ms', meanSamples: 1, probeInterval: '20ms', probes: 1000 },
      }),
      model('shown', {
        split: [{ model: 'shown@1 via 127.0.0.1:1' }],
        shadows: [{ model: `shown@2 via ${shadow.address}` }],
      }),
      model('hedged', {
        hedge: { after: '50ms', budget: '100%' },
        fallback: [
          {
            model: `lite@7 via ${lite.address}`,
            adapt: { outputs: [{ name: 'scores', from: 'y', dtype: 'FP32', shape: [1, 1] }] },
          },
          CONSTANT,
        ],
      }),
      model('unhedged', { hedge: { after: '20ms', budget: '100%' } }),
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);

async function during(script: Script, call: () => Promise<Answer>): Promise<Answer> {
  primary.script = script;
  const answer = await call();
  primary.script = answers('primary');
  return answer;
}

function checkStoodIn(test: Test, answer: Answer, name: string, reason: string): void {
  test.equal(answer.status, 0, answer.message);
  test.equal(servedBy(answer), 'constant');
  test.strictSame(answer.served, { 'served-by': `@static/${name}`, 'model-version': 'static', reason });
}

const triggers: Record<string, { script: Script; reason: string; headers?: Record<string, string>; name?: string }> = {
  'a status': { script: (call) => call.failInTrailers(14, 'down'), reason: 'status' },
  'a reset': { script: (call) => call.reset(), reason: 'reset' },
  'a cut answer': { script: (call) => void call.answerHalf(), reason: 'reset' },
  'its share of the deadline': { script: hangs, reason: 'deadline_budget', headers: { 'grpc-timeout': '400m' } },
  'numbers that are none': {
    script: async (call) => call.answer(predictResponse('primary', await call.body, [Number.NaN])),
    reason: 'bad_output',
    name: 'checked',
  },
};
for (const [what, { script, reason, headers, name = 'any' }] of Object.entries(triggers)) {
  t.test(`${what} is answered by the constant`, async (test) => {
    checkStoodIn(test, await during(script, () => caller.predict(name, headers ?? {})), name, reason);
  });
}

t.test('an open breaker is, and so is one call too many', async (test) => {
  await during(
    (call) => call.failInHead(14),
    () => caller.predict('broken'),
  );
  const asked = primary.count;
  checkStoodIn(test, await caller.predict('broken'), 'broken', 'breaker_open');
  test.equal(primary.count, asked, 'without asking the primary');
  primary.script = hangs;
  const waiting = caller.predict('narrow', { 'grpc-timeout': '2S' });
  while (primary.count === asked) await new Promise((resolve) => setTimeout(resolve, 5));
  checkStoodIn(test, await caller.predict('narrow'), 'narrow', 'overflow');
  checkStoodIn(test, await waiting, 'narrow', 'deadline_budget');
  primary.script = answers('primary');
});

t.test('each message of a stream is, in its turn', async (test) => {
  primary.script = (call) => {
    if (String(call.headers[':path']) !== STREAM_INFER) return;
    streams('primary', (message) => (message.index === 1 ? call.reset() : message.answer([1])))(call);
  };
  const stream = new InferStream(test, proxy.address);
  for (const id of ['a', 'b', 'c']) {
    stream.send('any', id);
    await stream.until(stream.answers.length + 1);
  }
  const { answers: all } = await stream.finish();
  primary.script = answers('primary');
  test.strictSame(
    all.map(({ infer_response }) => infer_response.id),
    ['a', 'b', 'c'],
  );
  const saidBy = all.map(({ infer_response }: Message) => String(infer_response.outputs[0].contents.bytes_contents[0]));
  test.strictSame(saidBy, ['primary', 'constant', 'primary']);
  test.match(all[1]!.infer_response.parameters, {
    'x-understudy-served-by': { string_param: '@static/any' },
    'x-understudy-reason': { string_param: 'reset' },
  });
});

t.test('a degraded model is, while its primary is shown probes', async (test) => {
  primary.script = async (call) => {
    const body = await call.body;
    await new Promise((resolve) => setTimeout(resolve, 30));
    call.answer(predictResponse('primary', body));
  };
  let answer = await caller.predict('slow');
  await until(async () => {
    answer = await caller.predict('slow');
    return servedBy(answer) !== 'primary';
  }, 'it is degraded');
  checkStoodIn(test, answer, 'slow', 'degraded');
  const asked = primary.count;
  await until(async () => {
    checkStoodIn(test, await caller.predict('slow'), 'slow', 'degraded');
    return primary.count > asked;
  }, 'a probe came');
  const { inputs } = await primary.calls.at(-1)!.request();
  test.strictSame(inputs.x.float_val, [1, 2, 3], 'with the whole request');
  primary.script = answers('primary');
});

t.test('a shadow sees what nobody but a constant answered', async (test) => {
  const seen = shadow.count;
  checkStoodIn(test, await caller.predict('shown'), 'shown', 'connect_failed');
  await until(() => shadow.count > seen, 'the shadow is asked');
  const { inputs } = await shadow.calls.at(-1)!.request();
  test.strictSame(inputs.x.float_val, [1, 2, 3]);
});

t.test('a hedge is adapted like any fallback, and nobody is hedged with a constant', async (test) => {
  const answer = await during(hangs, () => caller.predict('hedged', { 'grpc-timeout': '20S' }));
  const { outputs, model_spec } = decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5));
  test.strictSame(Object.keys(outputs), ['scores']);
  test.strictSame(outputs.scores.float_val, [0.5]);
  test.equal(model_spec.name, 'hedged');
  test.equal(answer.served['reason'], 'hedge');
  primary.script = hangs;
  const stream = new InferStream(test, proxy.address);
  stream.send('hedged', 'h', [1], { outputs: [{ name: 'scores' }] });
  const { infer_response } = await stream.until(1);
  primary.script = answers('primary');
  test.match(infer_response, { model_name: 'hedged', id: 'h', outputs: [{ name: 'scores', datatype: 'FP32' }] });
  test.equal(infer_response.parameters['x-understudy-reason'].string_param, 'hedge');
  stream.call.cancel();
  const asked = lite.calls.at(-1)!;
  test.strictSame(
    decodeMessage('inference.ModelInferRequest', (await asked.body).subarray(5)).outputs,
    [],
    'in its own terms',
  );
  const late: Script = async (call) => {
    const body = await call.body;
    await new Promise((resolve) => setTimeout(resolve, 150));
    call.answer(predictResponse('primary', body));
  };
  test.equal(servedBy(await during(late, () => caller.call(predictRequest('unhedged')))), 'primary');
});
