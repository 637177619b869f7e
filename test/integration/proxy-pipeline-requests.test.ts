/**
 * What may be asked of a pipeline: some of its outputs, in pieces, compressed, in streams, wrongly; and what it says of
 * itself.
 */
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { InferStream } from '../support/infer-stream.ts';
import { until } from '../support/patience.ts';
import { adds, CANCEL, INFER, openPipelineLab, outputsOf, predictBody } from '../support/pipeline-lab.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';
import { framed, hangs } from '../support/scripted-upstream.ts';
import { modelSpec, TfsClient } from '../support/tfs-client.ts';

const { proxy, caller, first, second, ask, post } = await openPipelineLab(t);

const client = new TfsClient(proxy.address);

t.teardown(() => client.close());

async function get(path: string) {
  const answer = await request(`http://${proxy.address}${path}`);
  return { status: answer.statusCode, text: await answer.body.text() };
}

t.test('only the steps that an asked output needs run', async (test) => {
  const filtered = await caller.call(predictBody('chain', [1, 2], { output_filter: ['half'] }));
  test.same(outputsOf(filtered), { half: [2, 3] });
  test.equal(second.calls.length, 0);
  const unknown = await caller.call(predictBody('chain', [1, 2], { output_filter: ['z'] }));
  test.match(unknown, { status: 3, message: /output tensor alias not found in signature: z/ });
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
