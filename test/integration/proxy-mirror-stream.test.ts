/**
 * The mirror of what is not one small message: requests that are too large to be kept, shown to shadows as they come, and
 * streams of messages, each shown by itself. Whatever a shadow does, the primary gets all of it and its caller an answer.
 */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { answerOf, GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { InferStream, inferResponse, streamServedBy, streams } from '../support/infer-stream.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';
import { type MetricsReading, ProxyProgram } from '../support/proxy-program.ts';
import { RestUpstream, restAnswers } from '../support/rest-upstream.ts';
import { answers, hangs, type Script, ScriptedUpstream, type UpstreamCall } from '../support/scripted-upstream.ts';
import { fieldsOf } from '../support/wire-fields.ts';

const KiB = 1024;
/** Larger than what is kept, and than the windows of a stream. */
const LARGE = Array.from({ length: 400_000 }, (_, i) => i % 1000);

const primary = await ScriptedUpstream.start(t, 'primary');
const shadow = await ScriptedUpstream.start(t, 'shadow');
const restPrimary = await RestUpstream.start(t, restAnswers('primary'));
const restShadow = await RestUpstream.start(t, restAnswers('shadow'));

const model = (name: string, more: object = {}, shadowFields: object = {}) => ({
  name,
  split: [{ model: `${name}@1 via ${primary.address}` }],
  shadows: [{ model: `${name}@2 via ${shadow.address}`, ...shadowFields }],
  breaker: { enabled: false },
  maxReplaySize: '64KiB',
  ...more,
});

const document = {
  clusters: [
    { name: 'rest', model: 'rest', endpoints: [restPrimary.address] },
    { name: 'rest-shadow', model: 'rest', version: 2, endpoints: [restShadow.address] },
  ],
  models: [
    model('large'),
    model('stuck', {}, { maxSize: '256KiB' }),
    model('left'),
    model('early'),
    model('undecided', { maxReplaySize: '8KiB' }, { percent: '50%' }),
    model('stream', { maxReplaySize: '1MiB', comparison: { labelOutput: 'scores' } }),
    model('hung', { maxReplaySize: '1MiB' }, { maxConcurrent: 3 }),
    { name: 'rest', split: [{ cluster: 'rest' }], shadows: [{ cluster: 'rest-shadow' }], maxReplaySize: '64KiB' },
    {
      name: 'rest-share',
      split: [{ cluster: 'rest' }],
      shadows: [{ cluster: 'rest-shadow', percent: '50%' }],
      maxReplaySize: '8KiB',
    },
  ],
};
const proxy = await ProxyProgram.start(t, { document, ready: false });
const caller = GrpcCaller.to(t, proxy.address);

const metric = (metrics: MetricsReading, name: string, model: string, labels: object = {}): number =>
  metrics.sum(`understudy_${name}`, { model, ...labels });

/** Once nothing is in flight or held: what became of a model's copies. */
async function settled(test: Test, name: string, selected: number): Promise<MetricsReading> {
  const isIdle = (metrics: MetricsReading) =>
    metric(metrics, 'mirror_in_flight_requests', name) === 0 &&
    metric(metrics, 'mirror_held_bytes', name) === 0 &&
    metric(metrics, 'mirror_requests_total', name) + dropped(metrics, name) >= selected;
  const metrics = await proxy.metricsOnce(isIdle, 10_000);
  test.equal(metric(metrics, 'mirror_held_bytes', name), 0, 'nothing is held');
  const shown = metric(metrics, 'mirror_requests_total', name);
  test.equal(shown + dropped(metrics, name), selected, 'shown or dropped');
  test.equal(metric(metrics, 'comparison_results_total', name), shown, 'each that was shown has one result');
  return metrics;
}

function dropped(metrics: MetricsReading, name: string): number {
  return metric(metrics, 'mirror_drops_total', name) - metric(metrics, 'mirror_cut_requests_total', name);
}

function pieces(body: Buffer, bytes = 100_000): Buffer[] {
  return Array.from({ length: Math.ceil(body.length / bytes) }, (_, i) => body.subarray(i * bytes, (i + 1) * bytes));
}

function tensors(body: Buffer): Buffer {
  return Buffer.concat(
    fieldsOf(body.subarray(5))
      .filter(({ number }) => number !== 1)
      .map(({ bytes }) => bytes),
  );
}

/** Waits until a script that `taken` counts for has had so many bytes. */
function counting(count: number, script: Script): { readonly script: Script; readonly reached: Promise<UpstreamCall> } {
  let reach: (call: UpstreamCall) => void;
  const reached = new Promise<UpstreamCall>((resolve) => {
    reach = resolve;
  });
  return {
    reached,
    script: (call) => {
      let bytes = 0;
      call.stream.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes >= count) reach(call);
      });
      return script(call);
    },
  };
}

t.test(
  'a request too large to be kept reaches the shadow while it comes, whole and rewritten, and is compared',
  async (test) => {
    const { script, reached } = counting(500 * KiB, answers('shadow'));
    shadow.script = script;
    const body = predictRequest('large', LARGE);
    const [first, ...rest] = [body.subarray(0, 900 * KiB), body.subarray(900 * KiB)];
    const stream = caller.open();
    const answer = answerOf(stream);
    for (const piece of pieces(first!)) stream.write(piece);
    await reached;
    test.equal(shadow.calls.at(-1)!.ended, false, 'the shadow has half of it, the caller has sent no more');
    for (const piece of rest) stream.write(piece);
    stream.end();
    test.equal(servedBy(await answer), 'primary');
    const metrics = await settled(test, 'large', 1);
    test.equal(metric(metrics, 'comparison_results_total', 'large', { result: 'compared' }), 1);
    const seen = shadow.calls.at(-1)!;
    test.match((await seen.request()).model_spec, { name: 'large', version: { value: '2' } });
    test.ok(tensors(await seen.body).equals(tensors(body)), 'but for the spec, the same bytes');
    test.equal(seen.headers['x-understudy-shadow'], '1');
    shadow.script = answers('shadow');
  },
);

t.test('a shadow that does not read is cut at its bound, and the primary gets everything', async (test) => {
  const stuck: UpstreamCall[] = [];
  shadow.script = (call) => {
    call.stream.pause();
    call.stream.removeAllListeners('data');
    stuck.push(call);
  };
  const body = predictRequest('stuck', LARGE);
  test.equal(servedBy(await caller.call(pieces(body))), 'primary');
  test.ok(tensors(await primary.calls.at(-1)!.body).equals(tensors(body)));
  const metrics = await settled(test, 'stuck', 1);
  test.equal(metric(metrics, 'mirror_drops_total', 'stuck', { reason: 'bytes_full' }), 1);
  test.equal(metric(metrics, 'mirror_cut_requests_total', 'stuck'), 1);
  const call = stuck[0]!;
  call.stream.resume();
  if (!call.stream.closed) await once(call.stream, 'close');
  test.equal(call.ended, false);
  test.equal(call.stream.rstCode, 8, 'it is told by CANCEL that no more comes');
  shadow.script = answers('shadow');
});

t.test('a caller that leaves in the middle takes the copy along', async (test) => {
  const { script, reached } = counting(500 * KiB, answers('shadow'));
  shadow.script = script;
  const stream = caller.open();
  const answer = answerOf(stream);
  for (const piece of pieces(predictRequest('left', LARGE).subarray(0, 900 * KiB))) stream.write(piece);
  const call = await reached;
  stream.close(8);
  await answer;
  const metrics = await settled(test, 'left', 1);
  test.equal(metric(metrics, 'mirror_drops_total', 'left', { reason: 'incomplete' }), 1);
  await call.body;
  test.equal(call.ended, false);
  shadow.script = answers('shadow');
});

t.test('a shadow that answers before it has heard all is compared by what it said', async (test) => {
  shadow.script = (call) => call.failInHead(3, 'no');
  test.equal(servedBy(await caller.call(pieces(predictRequest('early', LARGE)))), 'primary');
  const metrics = await settled(test, 'early', 1);
  test.equal(metric(metrics, 'mirror_drops_total', 'early'), 0);
  test.equal(metric(metrics, 'comparison_results_total', 'early', { result: 'compared' }), 1);
  shadow.script = answers('shadow');
});

t.test('whether a request is kept or copied as it comes, the same ones are chosen', async (test) => {
  const keeps = await ProxyProgram.start(test, {
    document: { models: [model('undecided', { maxReplaySize: '4MiB' }, { percent: '50%' })] },
    ready: false,
  });
  const other = GrpcCaller.to(test, keeps.address);
  const chosen = async (through: GrpcCaller, program: ProxyProgram): Promise<number[]> => {
    shadow.calls.length = 0;
    for (let i = 0; i < 20; i++) {
      const values = Array.from({ length: 25_000 }, () => i);
      test.equal(servedBy(await through.call(pieces(predictRequest('undecided', values), 30_000))), 'primary');
    }
    await program.metricsOnce(
      (metrics) =>
        metric(metrics, 'comparison_results_total', 'undecided') + dropped(metrics, 'undecided') === 20 &&
        metric(metrics, 'mirror_in_flight_requests', 'undecided') === 0,
    );
    const seen: number[] = [];
    for (const call of shadow.calls) seen.push((await call.request()).inputs.x.float_val[0]);
    return seen.sort((a, b) => a - b);
  };
  const whole = await chosen(other, keeps);
  test.same(await chosen(caller, proxy), whole);
  test.ok(whole.length > 2 && whole.length < 18, `${whole}`);
  await settled(test, 'undecided', 20);
});

t.test('large REST bodies are copied as they come, with and without a length', async (test) => {
  const body = JSON.stringify({ instances: [LARGE] });
  for (const sent of [body, Readable.from(pieces(Buffer.from(body)))]) {
    const answer = await request(`http://${proxy.address}/v1/models/rest:predict`, { method: 'POST', body: sent });
    test.equal(answer.statusCode, 200);
    await answer.body.text();
  }
  const metrics = await settled(test, 'rest', 2);
  test.equal(metric(metrics, 'comparison_results_total', 'rest', { result: 'compared' }), 2);
  test.equal(restShadow.calls.length, 2);
  for (const call of restShadow.calls) {
    test.equal(call.path, '/v1/models/rest/versions/2:predict');
    test.equal(call.headers['x-understudy-shadow'], '1');
    test.equal(String(call.body), body);
  }
});

t.test('a share that nothing but a whole body could decide sees none that is too large', async (test) => {
  const answer = await request(`http://${proxy.address}/v1/models/rest-share:predict`, {
    method: 'POST',
    body: Readable.from(pieces(Buffer.from(JSON.stringify({ instances: [LARGE] })), 10_000)),
  });
  test.equal(answer.statusCode, 200);
  await answer.body.text();
  const metrics = await settled(test, 'rest-share', 1);
  test.equal(metric(metrics, 'mirror_drops_total', 'rest-share', { reason: 'too_large' }), 1);
});

t.test('each message of a stream is shown as a call of its own and held against its own answer', async (test) => {
  primary.script = streams('primary', (message) => message.answer([message.index % 2]));
  const asked: unknown[] = [];
  shadow.script = async (call) => {
    const asks = decodeMessage('inference.ModelInferRequest', (await call.body).subarray(5));
    asked.push({
      path: call.headers[':path'],
      shadow: call.headers['x-understudy-shadow'],
      id: asks.id,
      version: asks.model_version,
    });
    // Wrong about every fourth message.
    const index = Number(asks.id);
    const score = index % 4 === 3 ? 0 : index % 2;
    call.answer(encodeMessage('inference.ModelInferResponse', inferResponse('primary', asks, [score])));
  };
  const stream = new InferStream(test, proxy.address);
  for (let i = 0; i < 8; i++) stream.send('stream', String(i), [i]);
  const end = await stream.finish();
  test.equal(end.status, 0);
  test.same(
    end.answers.map(streamServedBy),
    Array.from({ length: 8 }, () => 'primary'),
  );
  await settled(test, 'stream', 8);
  test.equal(asked.length, 8);
  test.match(asked[0], { path: '/inference.GRPCInferenceService/ModelInfer', shadow: '1', version: '2' });
  const metrics = await proxy.metricsOnce((now) => metric(now, 'comparison_pairs_total', 'stream') === 8);
  test.equal(metric(metrics, 'comparison_pairs_total', 'stream'), 8);
  const { models } = await proxy.json('/models');
  const { cohorts } = models.find(({ name }: { name: string }) => name === 'stream').shadows[0];
  test.match(cohorts.all, { pairs: 8, agreement: 0.75 });
});

t.test('a shadow that hangs holds its bound of messages, and the stream goes on', async (test) => {
  primary.script = streams('primary');
  shadow.script = hangs;
  const stream = new InferStream(test, proxy.address);
  for (let i = 0; i < 20; i++) stream.send('hung', String(i));
  test.equal((await stream.finish()).answers.length, 20);
  const metrics = await proxy.metricsOnce((now) => metric(now, 'mirror_drops_total', 'hung') === 17);
  test.equal(metric(metrics, 'mirror_drops_total', 'hung', { reason: 'queue_full' }), 17);
  test.equal(metric(metrics, 'mirror_in_flight_requests', 'hung'), 3);
});
