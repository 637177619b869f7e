/** Models of every kind that people serve, asked over gRPC and REST; the answers are worked out beside the model. */
import t, { type Test } from 'tap';
import { request } from 'undici';
import { convolution, convolve, mixed, PICTURE, runSequence, scalars, sequence } from '../support/model-kinds.ts';
import { wave } from '../support/test-models.ts';
import { floats, type Message, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

const { url, address, servables } = await openTestFront(
  t,
  { convolution: convolution(), sequence: sequence(), scalars: scalars(), mixed: mixed() },
  {},
  { padVariableLengthInputs: true, batchTimeoutMicros: 5_000, adaptive: false, place: 'thread' },
);
const client = new TfsClient(address);
t.teardown(() => client.close());

const int64s = (dims: readonly number[], values: readonly number[]): object => ({
  dtype: 9,
  tensor_shape: { dim: dims.map((size) => ({ size })) },
  int64_val: values,
});
const shapeOf = ({ tensor_shape }: Message): number[] => tensor_shape.dim.map(({ size }: { size: string }) => +size);

async function ask(model: string, inputs: object): Promise<Message> {
  return (await client.predict({ model_spec: modelSpec(model), inputs })).outputs;
}

async function post(path: string, body: object | string): Promise<Message> {
  const reply = await request(url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return reply.body.json();
}

function near(t: Test, actual: readonly number[], expected: readonly number[], what: string): void {
  const apart = Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!) / Math.max(1, Math.abs(value))));
  t.ok(actual.length === expected.length && apart < 1e-4, `${what}: ${apart} apart`);
}

t.test('a convolution over pictures of 224 x 224 in three colours', async (t) => {
  const size = PICTURE[0] * PICTURE[1] * PICTURE[2];
  const pictures = [0.013, 0.029].map((step) => wave(size, step));
  const expected = pictures.flatMap((picture) => convolve(picture));
  const both = new Float32Array(2 * size);
  for (const [i, picture] of pictures.entries()) both.set(picture, i * size);
  const x = { ...floats([2, ...PICTURE], []), tensor_content: Buffer.from(both.buffer) };
  near(t, (await ask('convolution', { picture: x })).features.float_val, expected, 'tensor_content');
  const [single, other] = await Promise.all(
    pictures.map((picture) => ask('convolution', { picture: floats([1, ...PICTURE], [...picture]) })),
  );
  near(t, [...single.features.float_val, ...other.features.float_val], expected, 'two calls at once');
  const body = Buffer.from(both.buffer, 0, size * 4);
  const reply = await request(`${url}/v2/models/convolution/infer`, {
    method: 'POST',
    body,
    headers: { 'inference-header-content-length': '0' },
  });
  const bytes = Buffer.from(await reply.body.arrayBuffer());
  const answer = bytes.subarray(Number(reply.headers['inference-header-content-length']));
  const features = Array.from({ length: 4 }, (_, i) => answer.readFloatLE(i * 4));
  near(t, features, expected.slice(0, 4), 'raw bytes over HTTP');
});

t.test('a sequence model: rows of different lengths are padded into one batch, and nobody sees padding', async (t) => {
  const rows = [[1, 2, 3], [4, 5], [7, 8, 9, 10, 11], [15]];
  const before = servables.get('sequence')!.stats.executedBatches;
  const answers = await Promise.all(rows.map((row) => ask('sequence', { tokens: int64s([1, row.length], row) })));
  for (const [i, { states }] of answers.entries()) {
    t.same(shapeOf(states), [1, rows[i]!.length, 4]);
    near(t, states.float_val, runSequence(rows[i]!), `${rows[i]!.length} tokens`);
  }
  t.equal(servables.get('sequence')!.stats.executedBatches - before, 1);
  const { predictions } = await post('/v1/models/sequence:predict', { instances: [rows[0]] });
  near(t, predictions.flat(2), runSequence(rows[0]!), 'REST');
});

t.test('scalars in and out of a model without a batch axis', async (t) => {
  const { y, total } = await ask('scalars', { x: floats([2], [1, 2]), factor: { dtype: 1, float_val: [3] } });
  t.same([shapeOf(y), y.float_val, shapeOf(total), total.float_val], [[2], [3, 6], [], [9]]);
  const { outputs } = await post('/v1/models/scalars:predict', '{"inputs":{"x":[1,2],"factor":3}}');
  t.same(outputs, { y: [3, 6], total: 9 });
  const oip = await post('/v2/models/scalars/infer', {
    inputs: [
      { name: 'x', datatype: 'FP32', shape: [2], data: [1, 2] },
      { name: 'factor', datatype: 'FP32', shape: [], data: [3] },
    ],
  });
  t.match(oip.outputs, [
    { name: 'y', shape: [2], data: [3, 6] },
    { name: 'total', shape: [], data: [9] },
  ]);
  const calls = [1, 2, 3].map((factor) =>
    ask('scalars', { x: floats([2], [1, 2]), factor: { dtype: 1, float_val: [factor] } }),
  );
  t.same(
    (await Promise.all(calls)).map((answer) => answer.total.float_val[0]),
    [3, 6, 9],
    'calls at once are kept apart',
  );
});

t.test('several inputs and outputs, of 64-bit integers and strings', async (t) => {
  const id = int64s([2], [1, -3]);
  const text = {
    dtype: 7,
    tensor_shape: { dim: [{ size: 2 }, { size: 2 }] },
    string_val: ['a', 'ö', '', 'd'].map((s) => Buffer.from(s)),
  };
  const { twice, same } = await ask('mixed', { id, text });
  t.same(twice.int64_val, ['2', '-6']);
  t.same(same.string_val.map(String), ['a', 'ö', '', 'd']);
  const instances = '{"instances":[{"id":9007199254740993,"text":["x","y"]}]}';
  const reply = await request(`${url}/v1/models/mixed:predict`, { method: 'POST', body: instances });
  t.match(await reply.body.text(), /"twice": 18014398509481986/, 'to the last digit');
});
