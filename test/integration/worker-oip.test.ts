/** The Open Inference Protocol as its clients meet it: grpc-js and undici against a front with real models. */
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { scaleModel, sumModel } from '../support/model-folder.ts';
import { OnnxModel } from '../support/onnx-writer.ts';
import { heavy, identity, mlp } from '../support/test-models.ts';
import { type Message, TfsClient } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

const typed = new OnnxModel('typed')
  .input('a', 'int32', ['batch', 2])
  .output('y', 'int32', ['batch', 2])
  .node('Identity', ['a'], ['y'])
  .build();

const { url, address, state } = await openTestFront(t, {
  scale: scaleModel(2),
  sum: sumModel(),
  typed,
  half: identity('float16'),
  texts: identity('string'),
  mlp: mlp(),
});
const client = new TfsClient(address);
t.teardown(() => client.close());

const SERVICE = 'inference.GRPCInferenceService';
const grpc = (method: string, message: object): Promise<Message> => client.unary(SERVICE, method, message);

async function rest(
  method: string,
  path: string,
  body?: object | string | Buffer,
  headers: Record<string, string> = {},
) {
  const payload = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const reply = await request(url + path, { method, body: payload ?? null, headers });
  const bytes = Buffer.from(await reply.body.arrayBuffer());
  return { status: reply.statusCode, bytes, headers: reply.headers, json: () => JSON.parse(bytes.toString()) };
}

const fp32 = (name: string, shape: number[], values: number[]) => ({
  name,
  datatype: 'FP32',
  shape,
  contents: { fp32_contents: values },
});
const jsonInput = (name: string, shape: number[], data: unknown, datatype = 'FP32') => ({
  name,
  datatype,
  shape,
  data,
});
const two = [1, 2];

/** Both transports refuse in the same words. */
async function refused(
  t: Test,
  model: string,
  inputs: { grpc: object; json: object },
  code: number,
  httpStatus: number,
  text: string,
  more: object = {},
): Promise<void> {
  await t.rejects(grpc('ModelInfer', { model_name: model, ...inputs.grpc, ...more }), { code, details: text }, text);
  const reply = await rest('POST', `/v2/models/${model}/infer`, { ...inputs.json, ...more });
  t.same([reply.status, reply.json()], [httpStatus, { error: text }]);
}

t.test('health, server metadata and readiness', async (t) => {
  t.same(await grpc('ServerLive', {}), { live: true });
  t.same(await grpc('ServerReady', {}), { ready: true });
  t.same(await grpc('ModelReady', { name: 'scale' }), { ready: true });
  t.same(await grpc('ModelReady', { name: 'scale', version: '7' }), { ready: false });
  t.same(await grpc('ModelReady', { name: 'nope' }), { ready: false });
  const server = await grpc('ServerMetadata', {});
  t.same(server, (await rest('GET', '/v2')).json());
  t.same(server.extensions, [
    'classification',
    'schedule_policy',
    'model_configuration',
    'binary_tensor_data',
    'parameters',
    'statistics',
  ]);
  for (const path of [
    '/v2/health/live',
    '/v2/health/ready',
    '/v2/models/scale/ready',
    '/v2/models/scale/versions/1/ready',
  ]) {
    const { status: code, bytes } = await rest('GET', path);
    t.same([code, bytes.length], [200, 0], path);
  }
  const unready = await rest('GET', '/v2/models/nope/ready');
  t.same([unready.status, unready.json()], [400, { error: 'Model version not ready' }]);
  t.equal((await rest('POST', '/v2/health/live')).status, 405);
  t.equal((await rest('GET', '/v2/unknown')).status, 404);
});

t.test('a server that is not ready says so with an empty 400, and is still live', async (t) => {
  state.set(false);
  const ready = await rest('GET', '/v2/health/ready');
  t.same([ready.status, ready.bytes.length], [400, 0]);
  t.equal((await rest('GET', '/v2/health/live')).status, 200);
  t.same(await grpc('ServerReady', {}), { ready: false });
  state.set(true);
});

t.test('model metadata and configuration are the same in both encodings', async (t) => {
  const metadata = (await rest('GET', '/v2/models/sum')).json();
  t.same(metadata, {
    name: 'sum',
    versions: ['1'],
    platform: 'onnxruntime_onnx',
    inputs: ['a', 'b'].map((name) => ({ name, datatype: 'FP32', shape: [-1, 2] })),
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
  });
  const message = await grpc('ModelMetadata', { name: 'sum' });
  t.match(message, { name: 'sum', versions: ['1'], platform: 'onnxruntime_onnx' });
  t.same(message.inputs[1], { name: 'b', datatype: 'FP32', shape: ['-1', '2'] });
  const config = (await rest('GET', '/v2/models/sum/versions/1/config')).json();
  t.match(config, { name: 'sum', backend: 'onnxruntime', max_batch_size: 8 });
  t.same(config.input[0], { name: 'a', data_type: 'TYPE_FP32', dims: [2] });
  t.same(config.instance_group, [{ name: 'sum', kind: 'KIND_CPU', count: 1 }]);
  t.same(config.parameters, { execution_provider: { string_value: 'cpu' } });
  const { config: same } = await grpc('ModelConfig', { name: 'sum' });
  t.match(same, { name: 'sum', backend: 'onnxruntime', max_batch_size: 8, default_model_filename: 'model.onnx' });
  t.match(same.output[0], { name: 'y', data_type: 11, dims: ['2'] });
  t.match(same.instance_group, [{ name: 'sum', kind: 2, count: 1 }]);
  t.match(same.parameters, { execution_provider: { string_value: 'cpu' } });
});

t.test('infer with contents, raw bytes, JSON and binary parts', async (t) => {
  const a = fp32('a', [1, 2], two);
  const answer = await grpc('ModelInfer', { model_name: 'sum', id: 'q1', inputs: [a, fp32('b', [1, 2], [3, 4])] });
  t.match(answer, { model_name: 'sum', model_version: '1', id: 'q1', raw_output_contents: [] });
  t.same(answer.outputs[0].contents.fp32_contents, [4, 6]);
  const raw = Buffer.from(Float32Array.from([5, 6]).buffer);
  const meta = (name: string) => ({ name, datatype: 'FP32', shape: [1, 2] });
  const rawAnswer = await grpc('ModelInfer', {
    model_name: 'sum',
    model_version: '1',
    inputs: [meta('b'), meta('a')],
    raw_input_contents: [raw, raw],
  });
  t.same(new Float32Array(new Uint8Array(rawAnswer.raw_output_contents[0]).buffer), [10, 12]);
  t.equal(rawAnswer.outputs[0].contents, null);
  const json = await rest('POST', '/v2/models/sum/versions/1/infer', {
    id: 'q2',
    inputs: [
      jsonInput('a', [2, 2], [1, 2, 3, 4]),
      jsonInput(
        'b',
        [2, 2],
        [
          [1, 1],
          [1, 1],
        ],
      ),
    ],
    outputs: [{ name: 'y' }],
  });
  t.same(json.json(), {
    id: 'q2',
    model_name: 'sum',
    model_version: '1',
    outputs: [{ name: 'y', datatype: 'FP32', shape: [2, 2], data: [2, 3, 4, 5] }],
  });
  // One input binary, one in JSON, the name with an escape; the answer binary by the request's parameter.
  const head = `{"parameters":{"binary_data_output":true},"inputs":[{"name":"\\u0061","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}},${JSON.stringify(jsonInput('b', [1, 2], [1, 1]))}]}`;
  const mixed = await rest('POST', '/v2/models/sum/infer', Buffer.concat([Buffer.from(head), raw]), {
    'inference-header-content-length': String(head.length),
  });
  const at = Number(mixed.headers['inference-header-content-length']);
  t.same(new Float32Array(new Uint8Array(mixed.bytes.subarray(at)).buffer), [6, 7]);
  t.equal(mixed.headers['content-type'], 'application/octet-stream');
});

t.test('a body of nothing but bytes is the one input', async (t) => {
  const raw = Buffer.from(Float32Array.from([5, 6]).buffer);
  const reply = await rest('POST', '/v2/models/scale/infer', raw, { 'inference-header-content-length': '0' });
  const at = Number(reply.headers['inference-header-content-length']);
  t.same(JSON.parse(reply.bytes.toString('utf8', 0, at)).outputs[0].shape, [1, 2]);
  t.same(new Float32Array(new Uint8Array(reply.bytes.subarray(at)).buffer), [10, 12]);
  const many = await rest('POST', '/v2/models/sum/infer', raw, { 'inference-header-content-length': '0' });
  t.equal(many.json().error, 'Raw request must only have 1 input (found 2) to be deduced');
});

t.test('16-bit floats travel raw and binary, and JSON refuses them by name', async (t) => {
  const bits = Buffer.from(Float16Array.from([0.5, -2]).buffer);
  const meta = { name: 'x', datatype: 'FP16', shape: [1, 2] };
  const answer = await grpc('ModelInfer', { model_name: 'half', inputs: [meta], raw_input_contents: [bits] });
  t.same(answer.raw_output_contents[0], bits);
  const refusal = await rest('POST', '/v2/models/half/infer', { inputs: [jsonInput('x', [1, 2], [0.5, -2], 'FP16')] });
  t.equal(
    refusal.json().error,
    'receiving FP16 data via JSON is not supported. Please use the binary data format for input x',
  );
});

t.test('classification answers with the largest values and their places', async (t) => {
  const x = Array.from({ length: 16 }, (_, i) => i / 8);
  const plain = await grpc('ModelInfer', { model_name: 'mlp', inputs: [fp32('x', [2, 8], x)] });
  const values: number[] = plain.outputs[0].contents.fp32_contents;
  const top = (row: number, count: number): string[] =>
    values
      .slice(row * 3, row * 3 + 3)
      .map((value, index) => [value, index] as const)
      .sort(([a], [b]) => b - a)
      .slice(0, count)
      .map(([value, index]) => `${value.toFixed(6)}:${index}`);
  const outputs = [{ name: 'y', parameters: { classification: { int64_param: 2 } } }];
  const answer = await grpc('ModelInfer', { model_name: 'mlp', inputs: [fp32('x', [2, 8], x)], outputs });
  t.match(answer.outputs[0], { datatype: 'BYTES', shape: ['2', '2'] });
  t.same(answer.outputs[0].contents.bytes_contents.map(String), [...top(0, 2), ...top(1, 2)]);
  const json = await rest('POST', '/v2/models/mlp/infer', {
    inputs: [jsonInput('x', [1, 8], x.slice(0, 8))],
    outputs: [{ name: 'y', parameters: { classification: 99 } }],
  });
  t.match(json.json().outputs[0], { datatype: 'BYTES', shape: [1, 3], data: top(0, 3) });
  const texts = await rest('POST', '/v2/models/texts/infer', {
    inputs: [jsonInput('x', [1, 2], ['a', 'b'], 'BYTES')],
    outputs: [{ name: 'y', parameters: { classification: 1 } }],
  });
  t.same(
    [texts.status, texts.json().error],
    [400, "class result not available for output 'y' due to unsupported type"],
  );
});

t.test('refusals have the words and codes of the protocol over both transports', async (t) => {
  const invalid = status.INVALID_ARGUMENT;
  const both = (inputs: [string, number[], number[]][]) => ({
    grpc: { inputs: inputs.map(([name, shape, values]) => fp32(name, shape, values)) },
    json: { inputs: inputs.map(([name, shape, values]) => jsonInput(name, shape, values)) },
  });
  const good = both([['x', [1, 2], two]]);
  await refused(t, 'nope', good, invalid, 400, "Request for unknown model: 'nope' is not found");
  await refused(
    t,
    'sum',
    both([['a', [1, 2], two]]),
    invalid,
    400,
    "[request id: <id_unknown>] expected 2 inputs but got 1 inputs for model 'sum'. Got input(s) ['a'], " +
      "but missing required input(s) ['b']. Please provide all required input(s).",
  );
  await refused(
    t,
    'sum',
    both([['a', [1, 2], two]]),
    invalid,
    400,
    "[request id: X] expected 2 inputs but got 1 inputs for model 'sum'. Got input(s) ['a'], " +
      "but missing required input(s) ['b']. Please provide all required input(s).",
    { id: 'X' },
  );
  await refused(
    t,
    'typed',
    both([['a', [1, 2], two]]),
    invalid,
    400,
    "inference input 'a' data-type is 'FP32', but model 'typed' expects 'INT32'",
  );
  await refused(
    t,
    'scale',
    both([['x', [1, 3], [1, 2, 3]]]),
    invalid,
    400,
    "unexpected shape for input 'x' for model 'scale'. Expected [-1,2], got [1,3]. ",
  );
  await refused(
    t,
    'scale',
    both([['x', [9, 2], Array(18).fill(1)]]),
    invalid,
    400,
    "inference request batch-size must be <= 8 for 'scale'",
  );
  await refused(
    t,
    'scale',
    both([['z', [1, 2], two]]),
    invalid,
    400,
    "unexpected inference input 'z' for model 'scale'",
  );
  await refused(t, 'scale', good, invalid, 400, "unexpected inference output 'q' for model 'scale'", {
    outputs: [{ name: 'q' }],
  });
  const missing = "Request for unknown model: 'scale' version 7 is not found";
  await t.rejects(grpc('ModelInfer', { model_name: 'scale', model_version: '7', ...good.grpc }), {
    code: status.NOT_FOUND,
    details: missing,
  });
  const reply = await rest('POST', '/v2/models/scale/versions/7/infer', good.json);
  t.same([reply.status, reply.json()], [404, { error: missing }]);
  await t.rejects(
    grpc('ModelInfer', {
      model_name: 'scale',
      inputs: [fp32('x', [1, 2], two)],
      raw_input_contents: [Buffer.alloc(8)],
    }),
    {
      code: invalid,
      details: /^contents field must not be specified when using raw_input_contents for 'x'/,
    },
  );
  await t.rejects(
    grpc('ModelInfer', {
      model_name: 'scale',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2] }],
      raw_input_contents: [Buffer.alloc(7)],
    }),
    {
      code: invalid,
      details: "input byte size mismatch for input 'x' for model 'scale'. Expected 8, got 7",
    },
  );
});

t.test('malformed JSON, data that does not fill its shape and wrong sizes are told', async (t) => {
  const error = async (body: object | string, headers = {}): Promise<string> => {
    const reply = await rest('POST', '/v2/models/scale/infer', body, headers);
    t.equal(reply.status, 400);
    return reply.json().error;
  };
  t.equal(await error('{"inputs":['), 'failed to parse the request JSON buffer: Invalid value. at 11');
  t.match(await error('{}'), /^Unable to parse 'inputs'/);
  t.equal(
    await error({ inputs: [jsonInput('x', [1, 2], [1, 2, 3])] }),
    "Unable to parse 'data': Shape does not match true shape of 'data' field",
  );
  t.match(await error({ inputs: [jsonInput('x', [1, 2], ['a', 2])] }), /^Unable to parse 'data'/);
  t.match(await error({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2] }] }), /But no field is set$/);
  t.match(
    await error({ inputs: [{ ...jsonInput('x', [1, 2], two), parameters: { binary_data_size: 8 } }] }),
    /But set 'data' 'binary_data_size'$/,
  );
  t.equal(await error({ inputs: [jsonInput('x', [1, -2], two)] }), "input 'x' has a negative dimension");
  t.match(
    await error({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }] }),
    /^must specify valid 'Infer-Header-Content-Length'/,
  );
  t.match(await error('{}', { 'inference-header-content-length': '9' }), /got '9' for a body of 2 bytes$/);
});

t.test('a full queue is told as such, with the reason beside it, and is no failure of the model', async (t) => {
  const full = await openTestFront(
    t,
    { heavy: heavy(400) },
    {},
    { place: 'thread', threads: 1, maxBatchSize: 1, maxEnqueuedBatches: 1 },
  );
  const body = JSON.stringify({ inputs: [jsonInput('x', [1, 256], Array(256).fill(0.5))] });
  const replies = await Promise.all(
    Array.from({ length: 16 }, async () => {
      const reply = await request(`${full.url}/v2/models/heavy/infer`, { method: 'POST', body });
      const { error } = (await reply.body.json()) as { error?: string };
      return { code: reply.statusCode, error, reason: reply.headers['x-understudy-reason'] };
    }),
  );
  const refused = replies.filter(({ code }) => code !== 200);
  t.ok(refused.length > 0 && refused.length < replies.length, `${refused.length} of ${replies.length} refused`);
  for (const one of refused) {
    t.same(one, { code: 503, error: 'Exceeds maximum queue size', reason: 'batch_queue_full' });
  }
  const caller = new TfsClient(full.address);
  t.teardown(() => caller.close());
  const calls = Array.from({ length: 16 }, () =>
    caller
      .unary(SERVICE, 'ModelInfer', { model_name: 'heavy', inputs: [fp32('x', [1, 256], Array(256).fill(0.5))] })
      .catch((error) => error),
  );
  const errors = (await Promise.all(calls)).filter(({ code }) => code !== undefined);
  t.ok(errors.length > 0);
  for (const { code, details, metadata } of errors) {
    t.same([code, details], [status.UNAVAILABLE, 'Exceeds maximum queue size']);
    t.same(metadata.get('x-understudy-reason'), ['batch_queue_full']);
  }
});

t.test('what waits is run by its priority parameter, copies for a shadow last of all', async (t) => {
  const busy = await openTestFront(
    t,
    { heavy: heavy(1500) },
    {},
    { place: 'thread', threads: 1, maxBatchSize: 1, adaptive: false, batchTimeoutMicros: 0 },
  );
  const caller = new TfsClient(busy.address);
  t.teardown(() => caller.close());
  const order: string[] = [];
  const ask = async (name: string, priority: number, metadata = {}): Promise<void> => {
    const inputs = [fp32('x', [1, 256], Array(256).fill(0.5))];
    const parameters = { priority: { int64_param: priority } };
    await caller.unary(SERVICE, 'ModelInfer', { model_name: 'heavy', inputs, parameters }, { metadata });
    order.push(name);
  };
  // The thread holds one batch and takes one more ahead; the rest waits in the queue.
  const first = [ask('running', 0), ask('ahead', 0)];
  const { stats } = busy.servables.get('heavy')!;
  while (stats.runningBatches < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  const shadow = { 'x-understudy-shadow': '1' };
  const rest = [ask('shadow', 1, shadow), ask('low', 2), ask('default', 0), ask('highest', 1)];
  await Promise.all([...first, ...rest]);
  t.same(order, ['running', 'ahead', 'highest', 'default', 'low', 'shadow']);
});

t.test('a request that waited longer than its timeout parameter is told so', async (t) => {
  const waiting = await openTestFront(t, { scale: scaleModel(2) }, {}, { place: 'thread', threads: 1 });
  const inputs = [jsonInput('x', [1, 2], two)];
  const reply = await request(`${waiting.url}/v2/models/scale/infer`, {
    method: 'POST',
    body: JSON.stringify({ inputs, parameters: { timeout: 1, priority: 2 } }),
  });
  const body = (await reply.body.json()) as { error?: string };
  // A microsecond is over before the request is in the queue.
  t.same([reply.statusCode, body.error], [503, 'Request timeout expired']);
});

t.test('a tensor in shared memory is refused, and never looked for in the message', async (t) => {
  const region = { shared_memory_region: 'r', shared_memory_byte_size: 8 };
  const details = 'shared memory regions are not supported';
  const answer = await rest('POST', '/v2/models/scale/infer', {
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: region }],
  });
  t.same([answer.status, answer.json().error], [400, details]);
  const parameters = { shared_memory_region: { string_param: 'r' } };
  const x = fp32('x', [1, 2], two);
  const refusal = { code: status.INVALID_ARGUMENT, details };
  const wanted = { model_name: 'scale', inputs: [x], outputs: [{ name: 'y', parameters }] };
  await t.rejects(grpc('ModelInfer', wanted), refusal);
  await t.rejects(grpc('ModelInfer', { model_name: 'scale', inputs: [{ ...x, parameters }] }), refusal);
});

t.test('statistics count what was executed and refused', async (t) => {
  const before = (await rest('GET', '/v2/models/typed/stats')).json().model_stats[0];
  const input = jsonInput('a', [3, 2], [1, 2, 3, 4, 5, 6], 'INT32');
  await rest('POST', '/v2/models/typed/infer', { inputs: [input] });
  const after = (await rest('GET', '/v2/models/typed/versions/1/stats')).json().model_stats[0];
  t.equal(after.inference_count - before.inference_count, 3);
  t.equal(after.execution_count - before.execution_count, 1);
  const { model_stats: all } = await grpc('ModelStatistics', {});
  t.equal(all.length, 6);
  const [one] = (await grpc('ModelStatistics', { name: 'typed', version: '1' })).model_stats;
  t.equal(Number(one.inference_stats.success.count), after.inference_stats.success.count);
  t.equal((await rest('GET', '/v2/models/stats')).json().model_stats.length, 6);
});

/**
 * Scenario: a load generator divides the sum of compute time by the count of answers. Mechanism: a batch's time was counted
 * once for all its requests. Consequence: requests that shared batches of n looked n times as fast as they were.
 */
t.test("statistics count a batch's time for each request in it, tell batch sizes and when it was", async (t) => {
  const batching = { maxBatchSize: 4, batchTimeoutMicros: 2_000_000, place: 'thread' as const };
  const { url: own, address: at } = await openTestFront(t, { scale: scaleModel(2) }, {}, batching);
  const other = new TfsClient(at);
  t.teardown(() => other.close());
  const call = { model_name: 'scale', inputs: [fp32('x', [1, 2], two)] };
  const beganMs = Date.now();
  await Promise.all([1, 2, 3, 4].map(() => other.unary(SERVICE, 'ModelInfer', call)));
  const body = await (await request(`${own}/v2/models/scale/stats`)).body.json();
  const [told] = (body as Message).model_stats;
  t.match(told, {
    inference_count: 4,
    execution_count: 1,
    batch_stats: [{ batch_size: 4, compute_infer: { count: 1 } }],
  });
  const { success, queue, compute_infer: compute } = told.inference_stats;
  t.same([success.count, queue.count, compute.count], [4, 4, 4]);
  const [batch] = told.batch_stats;
  t.ok(Math.abs(compute.ns - 4 * batch.compute_infer.ns) <= 8, `${compute.ns} ns, a batch ${batch.compute_infer.ns}`);
  t.equal(success.ns, queue.ns + compute.ns);
  t.ok(told.last_inference >= beganMs && told.last_inference <= Date.now());
  const [same] = (await other.unary(SERVICE, 'ModelStatistics', { name: 'scale' })).model_stats;
  t.equal(Number(same.last_inference), told.last_inference);
  t.same(
    same.batch_stats.map((one: Message) => [Number(one.batch_size), Number(one.compute_infer.ns)]),
    [[4, batch.compute_infer.ns]],
  );
});

t.test('a stream answers in order, tells failures and goes on', async (t) => {
  const stream = client.bidirectional(SERVICE, 'ModelStreamInfer');
  const answers: Message[] = [];
  stream.on('data', (answer: Message) => answers.push(answer));
  const ended = new Promise<void>((resolve, reject) => stream.on('end', resolve).on('error', reject));
  for (let i = 0; i < 50; i++) {
    const broken = i % 10 === 7;
    stream.write({ model_name: broken ? 'nope' : 'scale', id: String(i), inputs: [fp32('x', [1, 2], [i, i])] });
  }
  stream.end();
  await ended;
  t.same(
    answers.map(({ infer_response }) => infer_response.id),
    Array.from({ length: 50 }, (_, i) => String(i)),
  );
  for (const [i, { error_message, infer_response }] of answers.entries()) {
    if (i % 10 === 7) t.equal(error_message, "Request for unknown model: 'nope' is not found");
    else t.same([error_message, infer_response.outputs[0].contents.fp32_contents], ['', [2 * i, 2 * i]]);
  }
});

t.test('a stream cancelled half way harms nothing', async (t) => {
  const stream = client.bidirectional(SERVICE, 'ModelStreamInfer');
  stream.on('error', () => {});
  for (let i = 0; i < 20; i++) stream.write({ model_name: 'scale', inputs: [fp32('x', [1, 2], two)] });
  stream.cancel();
  t.same(
    (await grpc('ModelInfer', { model_name: 'scale', inputs: [fp32('x', [1, 2], two)] })).outputs[0].contents
      .fp32_contents,
    [2, 4],
  );
});

t.test('repository calls are not there where models cannot be managed', async (t) => {
  await t.rejects(grpc('RepositoryIndex', {}), { code: status.UNIMPLEMENTED });
  t.equal((await rest('POST', '/v2/repository/index', {})).status, 404);
});
