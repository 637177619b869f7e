/** What bounds a request to a pipeline: deadlines, callers that leave, too many requests, too many bytes. */
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { Client } from 'undici';
import { answerOf } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { adds, CANCEL, openPipelineLab, outputsOf, predictBody } from '../support/pipeline-lab.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { framed, hangs, type ScriptedUpstream } from '../support/scripted-upstream.ts';

const { proxy, caller, first, second, ask, post } = await openPipelineLab(t);

t.test('steps are told the time that is left, and a deadline that passes reaches them', async (test) => {
  second.script = hangs;
  const answer = await ask('chain', { 'grpc-timeout': '300m' });
  test.match(answer, { status: 4, served: { step: 'two', reason: 'deadline_exceeded' } });
  test.ok(answer.tookMs >= 295, `${answer.tookMs} ms`);
  const told = (at: ScriptedUpstream) => String(at.calls[0]!.headers['grpc-timeout']);
  for (const at of [first, second]) test.match(told(at), /^\d+u$/, told(at));
  const micros = (at: ScriptedUpstream) => Number(told(at).slice(0, -1));
  test.ok(micros(second) < micros(first) && micros(first) <= 300_000, `${told(first)} ${told(second)}`);
  await until(() => second.calls[0]!.resetCode === CANCEL, 'the step is cancelled');
  const patient = await post('/v1/models/patient:predict', { instances: [[1, 2]] });
  test.match(patient, { status: 504, headers: { 'x-understudy-step': 'two' } });
});

t.test('a caller that leaves takes every running step along', async (test) => {
  first.script = hangs;
  second.script = hangs;
  const stream = caller.open();
  const answer = answerOf(stream);
  stream.end(predictBody('wide'));
  await until(() => first.calls.length === 1 && second.calls.length === 1, 'both steps run');
  stream.close(CANCEL);
  await answer;
  await until(
    () => first.calls[0]!.resetCode === CANCEL && second.calls[0]!.resetCode === CANCEL,
    'both are cancelled',
  );
  const http1 = new Client(`http://${proxy.address}`);
  const gone = http1.request({ method: 'POST', path: '/v1/models/wide:predict', body: '{"instances":[[1,2]]}' });
  await until(() => first.calls.length === 2 && second.calls.length === 2, 'both steps run again');
  await Promise.all([http1.destroy(), gone.catch(() => undefined)]);
  await until(() => first.calls[1]!.resetCode === CANCEL && second.calls[1]!.resetCode === CANCEL, 'both again');
  const metrics = await proxy.metricsOnce(
    (m) => m.sum('understudy_pipeline_requests_total', { pipeline: 'wide', outcome: 'cancelled' }) === 2,
  );
  test.equal(metrics.sum('understudy_pipeline_step_runs_total', { pipeline: 'wide', outcome: 'cancelled' }), 4);
  test.equal(metrics.sum('understudy_pipeline_in_flight_requests'), 0);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
});

t.test('requests above the bound on those under way are refused at once', async (test) => {
  second.script = hangs;
  const held = caller.open();
  const end = answerOf(held);
  held.end(predictBody('single'));
  await until(() => second.calls.length === 1, 'one is under way');
  test.match(await ask('single'), { status: 14, served: { reason: 'admission_overflow' } });
  test.match(await post('/v1/models/single:predict', { instances: [[1, 2]] }), { status: 503 });
  held.close(CANCEL);
  await end;
  second.script = adds;
  test.match(outputsOf(await ask('single')), { y: [3, 4] });
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_pipeline_refusals_total', { pipeline: 'single', reason: 'concurrency' }), 2);
});

t.test('requests and answers above the bound of bytes are refused, whichever way they come', async (test) => {
  const large = Array.from({ length: 2000 }, (_, i) => i);
  test.match(await ask('small', {}, large), { status: 8, served: { reason: 'pipeline_too_large' } });
  const rows = Array.from({ length: 1000 }, () => [1, 2]);
  test.match(await post('/v1/models/small:predict', { instances: rows }), { status: 413 });
  test.equal(first.calls.length, 0);
  first.script = async (call) => {
    await call.body;
    const y = { dtype: 1, tensor_shape: { dim: [{ size: 1000 }, { size: 2 }] }, tensor_content: Buffer.alloc(8000) };
    call.answer(encodeMessage('tensorflow.serving.PredictResponse', { outputs: { y } }));
  };
  test.match(await ask('small'), { status: 8, served: { reason: 'pipeline_too_large' } });
  first.script = adds;
  const compressed = framed(gzipSync(predictBody('small', large).subarray(5)), true);
  test.match(await caller.call(compressed, { 'grpc-encoding': 'gzip' }), { status: 8 });
  const metrics = await proxy.metricsOnce((m) => m.sum('understudy_pipeline_held_bytes') === 0);
  test.equal(metrics.sum('understudy_pipeline_refusals_total', { pipeline: 'small', reason: 'size' }), 4);
  test.equal(metrics.sum('understudy_pipeline_held_bytes'), 0);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
  test.match(outputsOf(await ask('small')), { y: [3, 4] });
});

t.test("at the bound of the thread's memory the heaviest request gives way", async (test) => {
  second.script = hangs;
  const sizes = [300_000, 100_000, 20_000];
  const held = sizes.map((size) => {
    const stream = caller.open();
    stream.end(predictBody('chain', new Array<number>(size / 4).fill(1)));
    return { stream, answer: answerOf(stream) };
  });
  const end = held[0]!.answer;
  await until(() => second.calls.length === 3, 'all are under way');
  const heavy = caller.open();
  const heaviest = answerOf(heavy);
  heavy.end(predictBody('chain', new Array<number>(200_000).fill(1)));
  const [answer] = await Promise.all([heaviest]);
  test.match(answer, { status: 8, served: { reason: 'memory_overflow' } });
  const metrics = await proxy.metrics();
  test.ok(metrics.sum('understudy_pipeline_refusals_total', { pipeline: 'chain', reason: 'memory' }) >= 1);
  for (const { stream } of held) stream.close(CANCEL);
  await end;
  second.script = adds;
  test.match(outputsOf(await ask('chain')), { y: [3, 4] });
});

t.test('a request that never comes whole ends with its caller, or with its deadline', async (test) => {
  // So much of it that its model is known before its end.
  const most = predictBody('chain', new Array<number>(30_000).fill(1)).subarray(0, 100_000);
  const half = caller.open();
  const answer = answerOf(half);
  half.write(most);
  await proxy.metricsOnce((m) => m.sum('understudy_pipeline_in_flight_requests', { pipeline: 'chain' }) === 1);
  half.close(CANCEL);
  await answer;
  const late = caller.open({ 'grpc-timeout': '100m' });
  const told = answerOf(late);
  late.write(most);
  test.match(await told, { status: 4, message: /before%20the%20request%20had%20arrived/ });
  const pieces = ['{"insta', 'nces": [[1', ', 2]]}'];
  const chunked = new ReadableStream({
    async pull(controller) {
      await delay(5);
      const piece = pieces.shift();
      if (piece === undefined) controller.close();
      else controller.enqueue(new TextEncoder().encode(piece));
    },
  });
  const url = `http://${proxy.address}/v1/models/chain:predict`;
  const slow = await fetch(url, { method: 'POST', body: chunked, duplex: 'half' } as RequestInit);
  test.same(await slow.json(), { predictions: [{ y: [3, 4], half: [2, 3] }] });
  const metrics = await proxy.metricsOnce((m) => m.sum('understudy_pipeline_in_flight_requests') === 0);
  test.equal(metrics.sum('understudy_pipeline_in_flight_requests'), 0);
});
