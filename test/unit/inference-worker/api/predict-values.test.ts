/** Predict through grpc-js and onnxruntime: what tensors of every type, spelling and shape come back as. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { OnnxModel, type OnnxType } from '../../../support/onnx-writer.ts';
import { serveModels } from '../../../support/serving-front.ts';
import { identity, TestModels } from '../../../support/test-models.ts';
import { type Message, modelSpec } from '../../../support/tfs-client.ts';

const models = new TestModels();
t.teardown(() => models.close());

const shape = (...dims: number[]) => ({ dim: dims.map((size) => ({ size })) });

/** Per type: TensorFlow's number, the list it rides in, values for it, and the bytes of the same values. */
const TYPES: readonly [OnnxType, number, string, (number | string | boolean | Buffer)[], Buffer][] = [
  ['float32', 1, 'float_val', [1.5, -2], Buffer.from(Float32Array.of(1.5, -2).buffer)],
  ['float64', 2, 'double_val', [0.1, -1e300], Buffer.from(Float64Array.of(0.1, -1e300).buffer)],
  ['int32', 3, 'int_val', [-2147483648, 2147483647], Buffer.from(Int32Array.of(-2147483648, 2147483647).buffer)],
  ['uint8', 4, 'int_val', [0, 255], Buffer.of(0, 255)],
  ['int16', 5, 'int_val', [-32768, 32767], Buffer.from(Int16Array.of(-32768, 32767).buffer)],
  ['int8', 6, 'int_val', [-128, 127], Buffer.from(Int8Array.of(-128, 127).buffer)],
  ['string', 7, 'string_val', [Buffer.from('größer'), Buffer.from('')], Buffer.from('\u0008\u0000größer')],
  [
    'int64',
    9,
    'int64_val',
    ['-9223372036854775808', '9223372036854775807'],
    Buffer.from(BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n).buffer),
  ],
  ['bool', 10, 'bool_val', [true, false], Buffer.of(1, 0)],
  ['uint16', 17, 'int_val', [0, 65535], Buffer.from(Uint16Array.of(0, 65535).buffer)],
  ['float16', 19, 'half_val', [0x3c00, 0xfbff], Buffer.from(Uint16Array.of(0x3c00, 0xfbff).buffer)],
  ['uint32', 22, 'uint32_val', [0, 4294967295], Buffer.from(Uint32Array.of(0, 4294967295).buffer)],
  [
    'uint64',
    23,
    'uint64_val',
    ['0', '18446744073709551615'],
    Buffer.from(BigUint64Array.of(0n, 2n ** 64n - 1n).buffer),
  ],
];

function dimsOf(tensor: Message): number[] {
  return tensor.tensor_shape.dim.map((dim: { size: string }) => Number(dim.size));
}

t.test('every type comes back in its typed list, however it was sent', async (t) => {
  const served = Object.fromEntries(
    await Promise.all(TYPES.map(async ([type]) => [type, await models.load(identity(type))] as const)),
  );
  const client = await serveModels(t, served);
  const asContent = await serveModels(t, served, { serializeAsTensorContent: true });
  for (const [type, dtype, list, values, content] of TYPES) {
    for (const spelling of [{ [list]: values }, { tensor_content: content }]) {
      const request = {
        model_spec: modelSpec(type),
        inputs: { x: { dtype, tensor_shape: shape(1, 2), ...spelling } },
      };
      const what = `${type} sent as ${Object.keys(spelling)[0]}`;
      const { y } = (await client.predict(request)).outputs;
      t.equal(y.dtype, dtype, what);
      t.same(y[list], values, what);
      t.same(dimsOf(y), [1, 2], what);
      t.equal(y.tensor_content.length, 0, what);
      const other = (await asContent.predict(request)).outputs.y;
      t.same(other.tensor_content, content, `${what}, answered as tensor_content`);
      t.same(other[list], [], what);
    }
  }
});

t.test('a short list repeats its last value, an empty one is zeros, a long one is cut', async (t) => {
  const client = await serveModels(t, {
    f: await models.load(identity('float32')),
    i: await models.load(identity('int64')),
    s: await models.load(identity('string')),
  });
  const answer = async (name: string, tensor: object) =>
    (await client.predict({ model_spec: modelSpec(name), inputs: { x: { tensor_shape: shape(2, 2), ...tensor } } }))
      .outputs.y;
  t.same((await answer('f', { dtype: 1, float_val: [7, 8] })).float_val, [7, 8, 8, 8]);
  t.same((await answer('f', { dtype: 1 })).float_val, [0, 0, 0, 0]);
  t.same((await answer('f', { dtype: 1, float_val: [1, 2, 3, 4, 5] })).float_val, [1, 2, 3, 4]);
  t.same((await answer('i', { dtype: 9, int64_val: ['-5'] })).int64_val, ['-5', '-5', '-5', '-5']);
  t.same((await answer('s', { dtype: 7, string_val: [Buffer.from('a'), Buffer.from('b')] })).string_val.map(String), [
    'a',
    'b',
    'b',
    'b',
  ]);
});

/**
 * Scenario: a caller sends strings with a NUL in them. Mechanism: onnxruntime's binding hands them on as C strings.
 * Consequence: the model saw them cut short, and nobody was told.
 */
t.test('a string that holds a NUL is refused, not cut', async (t) => {
  const client = await serveModels(t, { string: await models.load(identity('string')) });
  const lists = { string_val: [Buffer.from('a'), Buffer.from('b\0c')] };
  for (const spelling of [lists, { tensor_content: Buffer.from('\u0001\u0002ab\0') }]) {
    const x = { dtype: 7, tensor_shape: shape(1, 2), ...spelling };
    await t.rejects(client.predict({ model_spec: modelSpec('string'), inputs: { x } }), {
      code: status.INVALID_ARGUMENT,
      details: 'tensor parsing error: x',
    });
  }
});

t.test('a tensor without a shape is a scalar', async (t) => {
  const scalar = new OnnxModel('scalar').input('x', 'float32', []).output('y', 'float32', []).node('Neg', ['x'], ['y']);
  const client = await serveModels(t, { m: await models.load(scalar.build()) });
  for (const x of [
    { dtype: 1, float_val: [2] },
    { dtype: 1, tensor_shape: shape(), float_val: [2, 9] },
  ]) {
    const { y } = (await client.predict({ model_spec: modelSpec('m'), inputs: { x } })).outputs;
    t.same([y.float_val, dimsOf(y)], [[-2], []]);
  }
});

t.test(
  'tensors that contradict themselves or the signature are refused in the words of TensorFlow Serving',
  async (t) => {
    const two = new OnnxModel('two')
      .input('a', 'float32', ['batch', 2])
      .input('b', 'float32', ['batch', 2])
      .output('y', 'float32', ['batch', 2])
      .node('Add', ['a', 'b'], ['y']);
    const client = await serveModels(t, { m: await models.load(two.build(), { maxBatchSize: 4 }) });
    const good = { dtype: 1, tensor_shape: shape(1, 2), float_val: [1, 2] };
    const code = status.INVALID_ARGUMENT;
    const cases: [string, object, string][] = [
      [
        'an input missing',
        { a: good },
        'input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.',
      ],
      [
        'one too many',
        { a: good, b: good, c: good },
        'input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). Sent extra: {c}. Missing but required: {}.',
      ],
      [
        'another name',
        { a: good, c: good },
        'Signature input alias: b(feed name: b:0) not found in request and no default value provided. Inputs expected to ' +
          'be in the request {a,c}, or default input alias set: ',
      ],
      [
        'content of another length',
        { a: { ...good, tensor_content: Buffer.alloc(7) }, b: good },
        'tensor parsing error: a',
      ],
      ['a negative dimension', { a: { ...good, tensor_shape: shape(-1, 2) }, b: good }, 'tensor parsing error: a'],
      ['no type', { a: { ...good, dtype: 0 }, b: good }, 'tensor parsing error: a'],
      [
        'more rows than a batch holds',
        { a: { ...good, tensor_shape: shape(5, 2) }, b: { ...good, tensor_shape: shape(5, 2) } },
        'Task size 5 is larger than maximum input batch size 4',
      ],
    ];
    for (const [name, inputs, details] of cases) {
      await t.rejects(client.predict({ model_spec: modelSpec('m'), inputs }), { code, details }, name);
    }
  },
);

t.test('a text over 1024 characters is cut and says so', async (t) => {
  const client = await serveModels(t, { m: await models.load(identity('float32')) });
  const x = { dtype: 1, tensor_shape: shape(1, 2), float_val: [1] };
  const request = { model_spec: modelSpec('m'), inputs: { x }, output_filter: ['z'.repeat(2000)] };
  const error = await client.predict(request).catch((cause) => cause);
  t.equal(error.code, status.INVALID_ARGUMENT);
  t.equal(
    error.details,
    `${`output tensor alias not found in signature: ${'z'.repeat(2000)}`.slice(0, 1024)}...TRUNCATED`,
  );
});

t.test('requests of different tail shapes are both answered: each shape has a queue', async (t) => {
  const model = new OnnxModel('any')
    .input('x', 'float32', ['batch', 'length'])
    .output('y', 'float32', ['batch', 'length'])
    .node('Neg', ['x'], ['y']);
  const client = await serveModels(t, { m: await models.load(model.build()) });
  const ask = (length: number) => {
    const x = { dtype: 1, tensor_shape: shape(1, length), float_val: [length] };
    return client.predict({ model_spec: modelSpec('m'), inputs: { x } });
  };
  const [short, long] = await Promise.all([ask(2), ask(3)]);
  t.same(
    [short.outputs.y.float_val, long.outputs.y.float_val],
    [
      [-2, -2],
      [-3, -3, -3],
    ],
  );
});
