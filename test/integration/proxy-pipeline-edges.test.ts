/**
 * What goes wrong in a pipeline, and what bounds it: failing steps, default outputs, deadlines, callers that leave, too many
 * requests, too many bytes; and what it answers when it is only asked about.
 */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { Client, request } from 'undici';
import { type Answer, answerOf, GrpcCaller } from '../support/grpc-caller.ts';
import { InferStream } from '../support/infer-stream.ts';
import { decodeMessage, encodeMessage, type Message } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { framed, hangs, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';

const CANCEL = 8;
const INFER = { ':path': '/inference.GRPCInferenceService/ModelInfer' };

/** Answers `y = x + 1` for any shape. */
const adds: Script = async (call) => {
  await call.body;
  if (!call.ended) return;
  const { inputs } = await call.request();
  const x = Object.values(inputs)[0] as Message;
  const y = { ...x, float_val: valuesOf(x).map((value) => value + 1), tensor_content: Buffer.alloc(0) };
  call.answer(encodeMessage('tensorflow.serving.PredictResponse', { outputs: { y } }));
};

function valuesOf({ float_val: list, tensor_content: content }: Message): number[] {
  if (content.length === 0) return list;
  return Array.from({ length: content.length / 4 }, (_, i) => content.readFloatLE(4 * i));
}

const first = await ScriptedUpstream.start(t, 'first', { script: adds });
const second = await ScriptedUpstream.start(t, 'second', { script: adds });
const model = (name: string, via: ScriptedUpstream) => ({
  name,
  split: [{ model: `${name}@1 via ${via.address}` }],
  breaker: { enabled: false },
});
const tensor = (name: string) => ({ name, dtype: 'FP32', shape: [-1, 2] });
const chain = (name: string, more: object = {}, stepMore: object = {}) => ({
  name,
  inputs: [tensor('x')],
  steps: [
    { name: 'one', model: 'first', inputs: { x: 'request.x' }, outputs: ['y'] },
    { name: 'two', model: 'second', inputs: { x: 'one.y' }, outputs: ['y'], ...stepMore },
  ],
  outputs: [
    { from: 'two.y', ...tensor('y') },
    { from: 'one.y', ...tensor('half') },
  ],
  ...more,
});
/** A rule that doubles the first column, and a fallback whose answers have another shape. */
const column = { score: { bias: 0, terms: [{ input: 'x', column: 0, weight: 2 }] } };
const RULE = { name: 'y', dtype: 'FP32', shape: [-1, 1], ...column };
const MAPPED = { name: 'y', dtype: 'FP32', shape: [-1, 1] };
const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: { UNDERSTUDY_CONCURRENCY: '1', UNDERSTUDY_OUTBOUND_MAX_HELD_SIZE: '2MiB' },
  document: {
    models: [
      model('first', first),
      model('second', second),
      { ...model('ruled', second), fallback: [{ rule: { outputs: [RULE] } }] },
      {
        ...model('mapped', second),
        fallback: [{ model: `lite@1 via ${first.address}`, adapt: { outputs: [MAPPED] } }],
      },
    ],
    pipelines: [
      chain('ruled-chain', {}, { model: 'ruled' }),
      chain('mapped-chain', {}, { model: 'mapped' }),
      chain('chain'),
      chain('infer-chain', {}, { protocol: 'open-inference' }),
      chain('padded', {}, { default: [{ name: 'y', dtype: 'FP32', shape: [-1, 2], values: [7, 8] }] }),
      chain('patient', { timeout: '150ms' }),
      chain('single', { concurrentRequests: 1 }),
      chain('small', { maxSize: '4KiB' }),
      {
        ...chain('wide'),
        steps: [
          { name: 'one', model: 'first', inputs: { x: 'request.x' }, outputs: ['y'] },
          { name: 'two', model: 'second', inputs: { x: 'request.x' }, outputs: ['y'] },
        ],
      },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);
const client = new TfsClient(proxy.address);
t.teardown(() => client.close());

t.beforeEach(() => {
  first.script = adds;
  second.script = adds;
  first.calls.length = 0;
  second.calls.length = 0;
});

function predictBody(name: string, values: readonly number[] = [1, 2], more: object = {}): Buffer {
  const message = { model_spec: modelSpec(name), inputs: { x: floats([values.length / 2, 2], values) }, ...more };
  return framed(encodeMessage('tensorflow.serving.PredictRequest', message));
}

const ask = (name: string, headers = {}, values?: readonly number[]) => caller.call(predictBody(name, values), headers);

function outputsOf(answer: Answer): Record<string, number[]> {
  if (answer.status !== 0) throw new Error(`${answer.status} ${answer.message}`);
  const { outputs } = decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5));
  return Object.fromEntries(Object.entries(outputs).map(([name, y]) => [name, valuesOf(y)]));
}

async function post(path: string, body: object | string, headers = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const answer = await request(`http://${proxy.address}${path}`, { method: 'POST', body: text, headers });
  return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
}

async function get(path: string) {
  const answer = await request(`http://${proxy.address}${path}`);
  return { status: answer.statusCode, text: await answer.body.text() };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await delay(5);
  if (!condition()) throw new Error(`never: ${what}`);
}

t.test(
  'a step that fails with no one to replace it fails the request, and is named, in every protocol',
  async (test) => {
    second.script = (call) => call.failInHead(14, 'gone %C3%BCber', { 'x-understudy-reason': 'batch_queue_full' });
    const answer = await ask('chain');
    test.match(answer, { status: 14, served: { step: 'two', reason: 'batch_queue_full', steps: 'one=first@1' } });
    test.equal(decodeURIComponent(answer.message), 'step two: gone über');
    const rest = await post('/v1/models/chain:predict', { instances: [[1, 2]] });
    test.match(rest, { status: 503, headers: { 'x-understudy-step': 'two' } });
    test.same(JSON.parse(rest.text), { error: 'step two: gone über' });
    const image = { name: 'x', datatype: 'FP32', shape: [1, 2] };
    const infer = await post('/v2/models/chain/infer', { inputs: [{ ...image, data: [1, 2] }] });
    test.match(infer, {
      status: 503,
      headers: { 'x-understudy-step': 'two' },
      text: '{"error":"step two: gone über"}',
    });
    const typed = { model_name: 'chain', inputs: [{ ...image, contents: { fp32_contents: [1, 2] } }] };
    const oip = await caller.call(framed(encodeMessage('inference.ModelInferRequest', typed)), INFER);
    test.match(oip, { status: 14, served: { step: 'two' } });
  },
);

t.test(
  "what says that a model is not there says nothing about the pipeline; a caller's mistake stays one",
  async (test) => {
    for (const [status, told] of [
      [5, 14],
      [12, 13],
      [3, 3],
      [8, 8],
    ] as const) {
      second.script = (call) => call.failInTrailers(status, 'x');
      test.match(await ask('chain'), { status: told, served: { step: 'two', reason: 'upstream_status' } });
    }
  },
);

t.test('default outputs follow the batch, for faults of the server only', async (test) => {
  second.script = (call) => call.failInHead(14);
  const answer = await ask('padded', {}, [1, 2, 3, 4, 5, 6]);
  test.same(outputsOf(answer), { y: [7, 8, 7, 8, 7, 8], half: [2, 3, 4, 5, 6, 7] });
  test.match(answer.served, { degraded: 'two', steps: 'one=first@1, two=default;upstream_status' });
  second.script = (call) => call.failInHead(3, 'bad');
  test.match(await ask('padded'), { status: 3, served: { step: 'two' } });
  const rows = await post('/v1/models/padded:predict', { instances: [[1, 2]] });
  test.match(rows, { status: 400 });
});

t.test('a step may be answered by a rule, or by a model whose answers are made to fit', async (test) => {
  second.script = (call) => call.failInHead(14);
  const ruled = await ask('ruled-chain', {}, [1, 2, 3, 4]);
  test.match(ruled.served, { degraded: 'two', steps: /^one=first@1, two=@rule\/ruled;status$/ });
  test.same(outputsOf(ruled), { y: [4, 8], half: [2, 3, 4, 5] });
  const mapped = await ask('mapped-chain', {}, [1, 2]);
  test.match(mapped.served, { degraded: 'two', steps: 'one=first@1, two=lite@1;status' });
  test.same(outputsOf(mapped), { y: [3, 4], half: [2, 3] });
});

t.test('only the steps that an asked output needs run', async (test) => {
  const filtered = await caller.call(predictBody('chain', [1, 2], { output_filter: ['half'] }));
  test.same(outputsOf(filtered), { half: [2, 3] });
  test.equal(second.calls.length, 0);
  const unknown = await caller.call(predictBody('chain', [1, 2], { output_filter: ['z'] }));
  test.match(unknown, { status: 3, message: /output tensor alias not found in signature: z/ });
});

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

t.test('requests may come compressed, in pieces, and with headers for the steps', async (test) => {
  const compressed = framed(gzipSync(predictBody('chain').subarray(5)), true);
  test.same(outputsOf(await caller.call(compressed, { 'grpc-encoding': 'gzip' })), { y: [3, 4], half: [2, 3] });
  const body = predictBody('chain');
  const pieces = [0, 3, 9, 30].map((at, i, all) => body.subarray(at, all[i + 1]));
  const headers = { 'x-customer': 'c7', 'x-understudy-served-by': 'me', 'x-request-id': 'r1' };
  test.same(outputsOf(await caller.call(pieces, headers)), { y: [3, 4], half: [2, 3] });
  for (const at of [first, second]) {
    test.match(at.calls[1]!.headers, { 'x-customer': 'c7', 'x-request-id': 'r1', te: 'trailers' });
    test.notHas(at.calls[1]!.headers, { 'x-understudy-served-by': 'me' });
    test.equal(at.calls[0]!.headers['grpc-encoding'], undefined);
  }
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

t.test("malformed requests are the caller's mistake", async (test) => {
  test.match(await caller.call(Buffer.concat([predictBody('chain'), predictBody('chain')])), { status: 3 });
  const wrongType = { x: { dtype: 3, tensor_shape: { dim: [{ size: 1 }, { size: 2 }] }, int_val: [1, 2] } };
  const typed = await caller.call(predictBody('chain', [1, 2], { inputs: wrongType }));
  test.match(typed, { status: 3, message: /Expects arg\[0\] to be float but int32 is provided/ });
  const none = await caller.call(predictBody('chain', [1, 2], { inputs: {} }));
  test.match(none, { status: 3, message: /input size does not match signature: 0!=1/ });
  test.match(await post('/v1/models/chain:predict', '{'), { status: 400 });
  test.match(await post('/v1/models/chain/versions/9:predict', { instances: [[1, 2]] }), { status: 404 });
  test.match(await post('/v1/models/chain/labels/blue:predict', { instances: [[1, 2]] }), {
    status: 400,
    text: /Unrecognized servable version label: blue/,
  });
  test.match(await post('/v1/models/chain:classify', {}), { status: 501 });
  test.match(await post('/v2/models/chain/versions/9/infer', { inputs: [] }), { status: 404 });
  test.match(await post('/v2/models/chain/infer', { inputs: [] }), {
    status: 400,
    text: /expected 1 inputs but got 0/,
  });
  const gzipped = { 'content-encoding': 'gzip' };
  test.match(await post('/v1/models/chain:predict', { instances: [[1, 2]] }, gzipped), { status: 415 });
  test.equal(first.calls.length, 0);
});

t.test('a step may be called by ModelInfer, with what can be written out', async (test) => {
  second.script = async (call) => {
    const { model_name: name, inputs, raw_input_contents: raw } = await call.request('inference.ModelInferRequest');
    const outputs = [{ ...inputs[0], name: 'y' }];
    call.answer(encodeMessage('inference.ModelInferResponse', { model_name: name, outputs, raw_output_contents: raw }));
  };
  test.same(outputsOf(await ask('infer-chain')), { y: [2, 3], half: [2, 3] });
  test.match(second.calls[0]!.headers, INFER);
  first.script = async (call) => {
    await call.body;
    const y = { dtype: 1, tensor_shape: { dim: [{ size: 1 }, { size: 2 }] }, tensor_content: Buffer.alloc(7) };
    call.answer(encodeMessage('tensorflow.serving.PredictResponse', { outputs: { y } }));
  };
  test.match(await ask('infer-chain'), { status: 13, message: /^step two: .*tensor_content has 7 bytes/ });
  test.equal(second.calls.length, 1);
});

t.test('a pipeline answers status and metadata calls as a model would', async (test) => {
  test.match(await client.status({ model_spec: modelSpec('chain') }), {
    model_version_status: [{ version: '1', state: 30, status: { error_code: 0 } }],
  });
  await test.rejects(client.status({ model_spec: modelSpec('chain', 2) }), {
    code: 5,
    details: 'Could not find version 2 of model chain',
  });
  const metadata = await client.metadata({ model_spec: modelSpec('chain'), metadata_field: ['signature_def'] });
  test.match(metadata.model_spec, { name: 'chain', version: { value: '1' } });
  const { signature_def: map } = decodeMessage(
    'tensorflow.serving.SignatureDefMap',
    metadata.metadata.signature_def.value,
  );
  const shape = { dim: [{ size: '-1' }, { size: '2' }] };
  test.match(map.serving_default, {
    method_name: 'tensorflow/serving/predict',
    inputs: { x: { dtype: 1, tensor_shape: shape } },
    outputs: { y: { dtype: 1 }, half: { dtype: 1 } },
  });
  const oip = (method: string, message: object) => client.unary('inference.GRPCInferenceService', method, message);
  test.match(await oip('ModelReady', { name: 'chain' }), { ready: true });
  test.match(await oip('ModelReady', { name: 'chain', version: '2' }), { ready: false });
  test.match(await oip('ModelMetadata', { name: 'chain' }), {
    name: 'chain',
    versions: ['1'],
    inputs: [{ name: 'x', datatype: 'FP32', shape: ['-1', '2'] }],
  });
  test.match(JSON.parse((await get('/v1/models/chain')).text), {
    model_version_status: [{ version: '1', state: 'AVAILABLE' }],
  });
  test.match(await get('/v1/models/chain/versions/2'), { status: 404 });
  const document = JSON.parse((await get('/v1/models/chain/versions/1/metadata')).text);
  test.match(document.metadata.signature_def.signature_def.serving_default.inputs, { x: { dtype: 'DT_FLOAT' } });
  test.match(await get('/v2/models/chain/ready'), { status: 200, text: '' });
  test.match(await get('/v2/models/chain/versions/7/ready'), { status: 400 });
  test.match(JSON.parse((await get('/v2/models/chain')).text), { name: 'chain', platform: 'understudy_pipeline' });
  test.match(await get('/v2/models/chain/config'), { status: 501 });
});

const streamed = (id: string, values: readonly number[]) => ({
  model_name: 'padded',
  id,
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], contents: { fp32_contents: values } }],
});

function streamOpen(test: Test): InferStream {
  return new InferStream(test, proxy.address, { deadlineMs: 10_000 });
}

t.test("a stream's messages run side by side and are answered in their order", async (test) => {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  first.script = async (call) => {
    if (first.calls.indexOf(call) === 0) await released;
    await adds(call);
  };
  const stream = streamOpen(test);
  for (let i = 0; i < 5; i++) stream.call.write(streamed(String(i), [i, i]));
  await until(() => second.calls.length === 4, 'four are through');
  test.equal(stream.answers.length, 0, 'nothing overtakes the first');
  release();
  await stream.until(5);
  second.script = (call) => call.failInHead(14);
  stream.call.write(streamed('5', [5, 5]));
  await stream.until(6);
  second.script = (call) => call.failInHead(3, 'bad');
  stream.call.write(streamed('6', [6, 6]));
  stream.call.write({ model_name: 'padded', id: '7', inputs: [] });
  stream.call.write({ ...streamed('8', [8, 8]), model_name: 'chain' });
  await stream.until(9);
  test.match(await stream.finish(), { status: 0 });
  test.match(stream.metadata, { 'x-understudy-served-by': 'padded' });
  const text = (value: string) => ({ string_param: value });
  for (let i = 0; i < 5; i++) {
    const { infer_response: response } = stream.answers[i]!;
    test.match(response, { id: String(i), model_name: 'padded', model_version: '1' });
    test.same(response.outputs[0].contents.fp32_contents, [i + 2, i + 2]);
    test.match(response.parameters, { 'x-understudy-steps': text('one=first@1, two=second@1') });
  }
  const degraded = stream.answers[5]!.infer_response;
  test.same(degraded.outputs[0].contents.fp32_contents, [7, 8]);
  test.match(degraded.parameters, { 'x-understudy-degraded': text('two') });
  test.match(stream.answers[6], {
    error_message: 'step two: bad',
    infer_response: { id: '6', parameters: { grpc_status: text('3'), 'x-understudy-step': text('two') } },
  });
  test.match(stream.answers[7], { error_message: /expected 1 inputs but got 0/ });
  test.match(stream.answers[8], { error_message: "this call is for model 'padded', not for 'chain'" });
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_pipeline_in_flight_requests'), 0);
});

t.test('a stream that is cut takes the steps of all its messages along', async (test) => {
  second.script = hangs;
  const stream = streamOpen(test);
  for (let i = 0; i < 3; i++) stream.call.write(streamed(String(i), [i, i]));
  await until(() => second.calls.length === 3, 'all are under way');
  stream.call.cancel();
  await stream.end;
  await until(() => second.calls.every((call) => call.resetCode === CANCEL), 'all are cancelled');
  const metrics = await proxy.metricsOnce((m) => m.sum('understudy_pipeline_in_flight_requests') === 0);
  test.equal(metrics.sum('understudy_pipeline_held_bytes'), 0);
});

t.test('a request keeps the pipeline it began with when the configuration changes', async (test) => {
  const path = join(mkdtempSync(join(tmpdir(), 'understudy-pipeline-')), 'mesh.json');
  test.teardown(() => rmSync(dirname(path), { recursive: true }));
  const models = [model('first', first), model('second', second)];
  const write = (pipelines: readonly object[]) => {
    writeFileSync(`${path}.new`, JSON.stringify({ models, pipelines }));
    renameSync(`${path}.new`, path);
  };
  write([chain('c')]);
  const own = await ProxyProgram.start(test, { ready: false, env: { UNDERSTUDY_CONFIG_FILE: path } });
  const calling = GrpcCaller.to(test, own.address);
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  first.script = async (call) => {
    if (first.calls.length === 1) await released;
    await adds(call);
  };
  const early = calling.call(predictBody('c'));
  await until(() => first.calls.length === 1, 'the request is under way');
  const single = { name: 'one', model: 'first', inputs: { x: 'request.x' }, outputs: ['y'] };
  write([{ ...chain('c'), version: '2', steps: [single], outputs: [{ from: 'one.y', ...tensor('y') }] }]);
  await own.until(() => own.logs.filter(({ event }) => event === 'config_applied').length > 0, 'the new configuration');
  let late = await calling.call(predictBody('c'));
  for (let i = 0; i < 200 && late.served['model-version'] !== '2'; i++) late = await calling.call(predictBody('c'));
  test.same(outputsOf(late), { y: [2, 3] });
  release();
  const answer = await early;
  test.same(outputsOf(answer), { y: [3, 4], half: [2, 3] });
  test.equal(answer.served['model-version'], '1');
});
