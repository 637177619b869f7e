/** Declared outputs in every form an answer can have: the verdict is that of the values, whatever carries them. */
import fc from 'fast-check';
import t from 'tap';
import { DataType, dtypeFromOip, dtypeToOip } from '../../../../proto/tensor/dtype.ts';
import type { OutputSnapshot } from '../../../../proxy/config/snapshot.ts';
import { BodyTensors } from '../../../../proxy/mirror/body-tensors.ts';
import { declaredFault, NO_FAULT } from '../../../../proxy/mirror/declared-outputs.ts';
import { PairProtocol } from '../../../../proxy/mirror/pair-record.ts';
import { BadOutput } from '../../../../proxy/stats/slots.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';

const tensors = new BodyTensors();

function declared(more: Partial<OutputSnapshot>): OutputSnapshot {
  return { name: 'y', dtype: 0, shape: null, min: null, max: null, required: false, ...more };
}

/** One form of the same answer: a tensor `y` of these numbers. */
interface Form {
  readonly name: string;
  readonly protocol: number;
  readonly method: string;
  readonly typed: boolean;
  readonly encode: (values: readonly number[], dims: readonly number[]) => Buffer;
}

function predictResponse(tensor: object, dims: readonly number[]): Buffer {
  const tensor_shape = { dim: dims.map((size) => ({ size })) };
  return encodeMessage('tensorflow.serving.PredictResponse', { outputs: { y: { dtype: 1, tensor_shape, ...tensor } } });
}

function floats(values: readonly number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

function nested(values: readonly number[], dims: readonly number[]): unknown {
  if (dims.length === 0) return values[0];
  const [size, ...inner] = dims;
  const step = values.length / size!;
  return Array.from({ length: size! }, (_, i) => nested(values.slice(i * step, (i + 1) * step), inner));
}

const inferAnswer = (fields: object, more: object, dims: readonly number[]): Buffer =>
  encodeMessage('inference.ModelInferResponse', {
    outputs: [{ name: 'y', datatype: 'FP32', shape: dims.map(String), ...fields }],
    ...more,
  });
/** As servers write floats: never as whole numbers, so that text says what the type is. */
const fractions = (json: string): string => json.replace(/(?<=[[,:])-?\d+(?=[\],}])/g, '$&.0');

const FORMS: readonly Form[] = [
  {
    name: 'Predict, values',
    protocol: PairProtocol.TFS_GRPC,
    method: 'Predict',
    typed: true,
    encode: (values, dims) => predictResponse({ float_val: [...values] }, dims),
  },
  {
    name: 'Predict, content',
    protocol: PairProtocol.TFS_GRPC,
    method: 'Predict',
    typed: true,
    encode: (values, dims) => predictResponse({ tensor_content: floats(values) }, dims),
  },
  {
    name: 'ModelInfer, typed',
    protocol: PairProtocol.OIP_GRPC,
    method: 'infer',
    typed: true,
    encode: (values, dims) => inferAnswer({ contents: { fp32_contents: [...values] } }, {}, dims),
  },
  {
    name: 'ModelInfer, raw',
    protocol: PairProtocol.OIP_GRPC,
    method: 'infer',
    typed: true,
    encode: (values, dims) => inferAnswer({}, { raw_output_contents: [floats(values)] }, dims),
  },
  {
    name: 'infer, JSON',
    protocol: PairProtocol.OIP_REST,
    method: 'infer',
    typed: true,
    encode: (values, shape) =>
      Buffer.from(JSON.stringify({ outputs: [{ name: 'y', datatype: 'FP32', shape, data: values }] })),
  },
  {
    name: 'infer, binary',
    protocol: PairProtocol.OIP_REST,
    method: 'infer',
    typed: true,
    encode: (values, shape) => {
      const parameters = { binary_data_size: values.length * 4 };
      const json = JSON.stringify({ outputs: [{ name: 'y', datatype: 'FP32', shape, parameters }] });
      return Buffer.concat([Buffer.from(json), floats(values)]);
    },
  },
  {
    name: 'predict, columns',
    protocol: PairProtocol.TFS_REST,
    method: 'Predict',
    typed: false,
    encode: (values, dims) => Buffer.from(fractions(JSON.stringify({ outputs: { y: nested(values, dims) } }))),
  },
  {
    name: 'predict, one column without a name',
    protocol: PairProtocol.TFS_REST,
    method: 'Predict',
    typed: false,
    encode: (values, dims) => Buffer.from(fractions(JSON.stringify({ outputs: nested(values, dims) }))),
  },
  {
    name: 'predict, rows',
    protocol: PairProtocol.TFS_REST,
    method: 'Predict',
    typed: false,
    encode: (values, dims) => Buffer.from(fractions(JSON.stringify({ predictions: nested(values, dims) }))),
  },
];

function fault(form: Form, bytes: Buffer, outputs: readonly OutputSnapshot[]): number {
  if (tensors.readAnswer(bytes, 0, bytes.length, form) !== 0) return BadOutput.MALFORMED;
  return declaredFault(outputs, tensors, form.typed);
}

/** Multiples of an eighth: the same in every form. */
const value = fc.integer({ min: -800, max: 800 }).map((eighths) => eighths / 8);
const shaped = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 })).chain(([rows, columns]) =>
  fc.record({
    dims: fc.constant([rows, columns]),
    values: fc.array(value, { minLength: rows * columns, maxLength: rows * columns }),
  }),
);

t.test('a value outside the range is found in every form, wherever it stands', async () => {
  fc.assert(
    fc.property(shaped, value, value, ({ dims, values }, one, other) => {
      const min = Math.min(one, other);
      const max = Math.max(one, other);
      const within = values.every((x) => x >= min && x <= max);
      return FORMS.every((form) => {
        const found = fault(form, form.encode(values, dims), [declared({ min, max })]);
        return found === (within ? NO_FAULT : BadOutput.RANGE);
      });
    }),
    { numRuns: runs(150) },
  );
});

t.test('a shape fits where every dimension is the declared one or any', async () => {
  const size = fc.constantFrom(-1, 1, 2, 3, 4);
  fc.assert(
    fc.property(shaped, fc.array(size, { maxLength: 3 }), ({ dims, values }, shape) => {
      const fits = shape.length === dims.length && shape.every((want, i) => want === -1 || want === dims[i]);
      return FORMS.every((form) => {
        const found = fault(form, form.encode(values, dims), [declared({ shape })]);
        return found === (fits ? NO_FAULT : BadOutput.SHAPE);
      });
    }),
    { numRuns: runs(100) },
  );
});

t.test(
  'another element type is found where the form says the type, and told from texts where it does not',
  async (test) => {
    for (const form of FORMS) {
      const bytes = form.encode([0.5, 1.5], [1, 2]);
      test.equal(fault(form, bytes, [declared({ dtype: DataType.FLOAT })]), NO_FAULT, `${form.name}: FP32`);
      for (const dtype of [DataType.STRING, DataType.INT64, DataType.BOOL]) {
        test.equal(fault(form, bytes, [declared({ dtype })]), BadOutput.DTYPE, `${form.name}: ${dtypeToOip(dtype)}`);
      }
      const double = fault(form, bytes, [declared({ dtype: DataType.DOUBLE })]);
      test.equal(double, form.typed ? BadOutput.DTYPE : NO_FAULT, `${form.name}: FP64`);
    }
  },
);

t.test('text that writes whole numbers can be of any type of numbers', async (test) => {
  const form = FORMS.find(({ name }) => name === 'predict, columns')!;
  const bytes = Buffer.from('{"outputs":{"y":[1,2]}}');
  for (const [type, expected] of [
    ['FP32', NO_FAULT],
    ['INT32', NO_FAULT],
    ['UINT8', NO_FAULT],
    ['BYTES', BadOutput.DTYPE],
    ['BOOL', BadOutput.DTYPE],
  ] as const) {
    test.equal(fault(form, bytes, [declared({ dtype: dtypeFromOip(type) })]), expected, type);
  }
});

t.test('an output that must be there and is not is missing; others may be', async (test) => {
  for (const form of FORMS.filter(({ name }) => name !== 'predict, rows' && !name.includes('without a name'))) {
    const bytes = form.encode([1.5], [1, 1]);
    const other = declared({ name: 'z' });
    test.equal(fault(form, bytes, [declared({}), other]), NO_FAULT, form.name);
    test.equal(fault(form, bytes, [declared({}), { ...other, required: true }]), BadOutput.MISSING, form.name);
  }
});

t.test('integers have ranges too, whatever their width', async (test) => {
  const form = FORMS[0]!;
  const answer = (tensor: object) => predictResponse(tensor, [2]);
  const range = [declared({ min: -5, max: 5 })];
  test.equal(fault(form, answer({ dtype: 9, int64_val: ['5', '-5'] }), range), NO_FAULT);
  test.equal(fault(form, answer({ dtype: 9, int64_val: ['6', '0'] }), range), BadOutput.RANGE);
  test.equal(fault(form, answer({ dtype: 23, uint64_val: ['18446744073709551615', '0'] }), range), BadOutput.RANGE);
  test.equal(fault(form, answer({ dtype: 3, int_val: [-5] }), range), NO_FAULT, 'one value stands for all');
  test.equal(fault(form, answer({ dtype: 3, int_val: [-6] }), range), BadOutput.RANGE);
  test.equal(
    fault(form, answer({ dtype: 7, string_val: [Buffer.from('1'), Buffer.from('2')] }), range),
    BadOutput.DTYPE,
  );
});

t.test('a tensor that contradicts itself, or claims more than can be looked at, has no shape', async (test) => {
  const form = FORMS[1]!;
  const short = predictResponse({ tensor_content: floats([1]) }, [2]);
  test.equal(fault(form, short, [declared({})]), BadOutput.SHAPE);
  const vast = predictResponse({ float_val: [1] }, [2 ** 31 - 1]);
  test.equal(fault(form, vast, [declared({ min: 0 })]), BadOutput.SHAPE);
  const negative = predictResponse({ float_val: [1] }, [-1]);
  test.equal(fault(form, negative, [declared({})]), BadOutput.SHAPE);
});

t.test('no bytes make it throw', async () => {
  const outputs = [declared({ dtype: DataType.FLOAT, shape: [-1], min: 0, max: 1, required: true })];
  fc.assert(
    fc.property(fc.constantFrom(...FORMS), fc.uint8Array({ maxLength: 120 }), fc.nat(), (form, noise, at) => {
      const bytes = form.encode([1, 2, 3, 4], [2, 2]);
      fault(form, Buffer.from(noise), outputs);
      const torn = Buffer.from(bytes);
      torn.set(noise.subarray(0, Math.min(noise.length, torn.length - (at % torn.length))), at % torn.length);
      fault(form, torn, outputs);
    }),
    { numRuns: runs(1000) },
  );
});
