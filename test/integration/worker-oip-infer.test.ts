/** Inference over both transports of the Open Inference Protocol: contents, raw bytes, JSON, binary parts and streams. */
import t from 'tap';
import { fp32, jsonInput, openOipFront, SERVICE, two } from '../support/oip-front.ts';
import type { Message } from '../support/tfs-client.ts';

const { client, grpc, rest } = await openOipFront(t);

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
