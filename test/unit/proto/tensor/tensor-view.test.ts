import t from 'tap';
import { DataType, dtypeBytes } from '../../../../proto/tensor/dtype.ts';
import {
  copyStringsInto,
  copyTensorInto,
  MAX_TENSORS,
  PredictRequestView,
  PredictResponseView,
  parsePredictRequest,
  parsePredictResponse,
  type TensorView,
  VersionChoice,
} from '../../../../proto/tensor/tensor-view.ts';
import { WireError } from '../../../../proto/tensor/wire-error.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';
import { bytesOf, DTYPE_CASES } from './dtype-cases.ts';

const REQUEST = 'tensorflow.serving.PredictRequest';
const view = new PredictRequestView();

function dims(...sizes: number[]) {
  return { dim: sizes.map((size) => ({ size })) };
}

/** Encodes a request with the one input `x` by the independent codec, at an odd offset, and parses it. */
function parseInput(tensor: object): { buf: Buffer; tensor: TensorView } {
  const bytes = encodeMessage(REQUEST, { model_spec: { name: 'm' }, inputs: { x: tensor } });
  const buf = Buffer.concat([Buffer.from([0xff, 0xff, 0xff]), bytes, Buffer.from([0xff])]);
  parsePredictRequest(view, buf, 3, 3 + bytes.length);
  const found = view.inputs.find(buf, 'x');
  if (found === null) throw new Error('input x is missing');
  return { buf, tensor: found };
}

/** TensorProto message bytes as the only input of a request. */
function parseRawInput(tensorBytes: Buffer): { buf: Buffer; tensor: TensorView } {
  const entry = Buffer.concat([Buffer.from([0x0a, 1, 0x78, 0x12, tensorBytes.length]), tensorBytes]);
  const buf = Buffer.concat([Buffer.from([0x12, entry.length]), entry]);
  parsePredictRequest(view, buf, 0, buf.length);
  return { buf, tensor: view.inputs.tensors[0] };
}

for (const row of DTYPE_CASES) {
  const size = dtypeBytes(row.dtype);

  t.test(`${row.name} elements are read from the typed list`, async (t) => {
    const count = row.values.length;
    const { buf, tensor } = parseInput({ dtype: row.dtype, tensor_shape: dims(1, count), [row.list]: row.values });
    t.equal(tensor.dtype, row.dtype);
    t.equal(tensor.rank, 2);
    t.strictSame(tensor.dims.slice(0, 2), [1, count]);
    t.equal(tensor.elementCount, count);
    const dest = row.make(count + 3);
    copyTensorInto(buf, tensor, dest, 2, count);
    t.strictSame(bytesOf(dest).subarray(2 * size, (2 + count) * size), bytesOf(row.stored));
    const part = row.make(1);
    copyTensorInto(buf, tensor, part, 0, 1, count - 1);
    t.strictSame(bytesOf(part), bytesOf(row.stored).subarray((count - 1) * size), 'a later row alone');
  });

  t.test(`${row.name} elements are read from tensor_content`, async (t) => {
    const count = row.values.length;
    const content = bytesOf(row.stored);
    const { buf, tensor } = parseInput({ dtype: row.dtype, tensor_shape: dims(count), tensor_content: content });
    const dest = row.make(count);
    copyTensorInto(buf, tensor, dest, 0, count);
    t.strictSame(bytesOf(dest), content);
    const { tensor: short, buf: shortBuf } = parseInput({
      dtype: row.dtype,
      tensor_shape: dims(count + 1),
      tensor_content: content,
    });
    t.throws(() => copyTensorInto(shortBuf, short, row.make(count + 1), 0, count + 1), {
      reason: 'tensor',
      message: /tensor_content has/,
    });
  });

  t.test(`${row.name} lists that are too short repeat the last value, and none mean zeros`, async (t) => {
    const count = row.values.length;
    const { buf, tensor } = parseInput({ dtype: row.dtype, tensor_shape: dims(count + 4), [row.list]: row.values });
    const dest = row.make(count + 4);
    copyTensorInto(buf, tensor, dest, 0, count + 4);
    const last = bytesOf(row.stored).subarray((count - 1) * size);
    t.strictSame(bytesOf(dest), Buffer.concat([bytesOf(row.stored), last, last, last, last]));
    const behind = row.make(2);
    copyTensorInto(buf, tensor, behind, 0, 2, count + 2);
    t.strictSame(bytesOf(behind), Buffer.concat([last, last]), 'rows wholly behind the list');

    const none = parseInput({ dtype: row.dtype, tensor_shape: dims(3) });
    const zeros = row.make(3);
    bytesOf(zeros).fill(0xee);
    copyTensorInto(none.buf, none.tensor, zeros, 0, 3);
    t.strictSame(bytesOf(zeros), Buffer.alloc(3 * size));

    const { buf: longBuf, tensor: long } = parseInput({
      dtype: row.dtype,
      tensor_shape: dims(1),
      [row.list]: row.values,
    });
    const one = row.make(1);
    copyTensorInto(longBuf, long, one, 0, 1);
    t.strictSame(bytesOf(one), bytesOf(row.stored).subarray(0, size), 'extra values are ignored');
  });
}

t.test('a destination in shared memory is written like any other', async (t) => {
  const dest = new Float32Array(new SharedArrayBuffer(1024), 16, 64);
  const numbers = Array.from({ length: 64 }, (_, i) => i / 2);
  const { buf, tensor } = parseInput({ dtype: 1, tensor_shape: dims(64), float_val: numbers });
  copyTensorInto(buf, tensor, dest, 0, 64);
  t.strictSame([...dest], numbers);
});

t.test('a missing shape is a scalar', async (t) => {
  const { buf, tensor } = parseInput({ dtype: 1, float_val: [7.5] });
  t.equal(tensor.rank, 0);
  t.equal(tensor.elementCount, 1);
  const dest = new Float32Array(1);
  copyTensorInto(buf, tensor, dest, 0, 1);
  t.equal(dest[0], 7.5);
});

t.test('unpacked, split and mixed lists count as one list', async (t) => {
  // int_val: packed [1, 2], then unpacked 3, a stray float, then packed [4]; the type comes last.
  const bytes = Buffer.from([0x3a, 2, 1, 2, 0x38, 3, 0x2d, 0, 0, 0, 0, 0x3a, 1, 4, 0x12, 4, 0x12, 2, 0x08, 5, 0x08, 3]);
  const { buf, tensor } = parseRawInput(bytes);
  const dest = new Int32Array(5);
  copyTensorInto(buf, tensor, dest, 0, 5);
  t.strictSame([...dest], [1, 2, 3, 4, 4]);
});

t.test('unpacked floats are read', async (t) => {
  const bytes = Buffer.from([0x08, 1, 0x2d, 0, 0, 0x80, 0x3f, 0x2d, 0, 0, 0, 0x40, 0x12, 4, 0x12, 2, 0x08, 3]);
  const { buf, tensor } = parseRawInput(bytes);
  const dest = new Float32Array(3);
  copyTensorInto(buf, tensor, dest, 0, 3);
  t.strictSame([...dest], [1, 2, 2]);
});

t.test('a list of another type than the tensor counts as none', async (t) => {
  const { buf, tensor } = parseInput({ dtype: DataType.INT64, tensor_shape: dims(2), float_val: [1, 2] });
  const dest = BigInt64Array.of(5n, 5n);
  copyTensorInto(buf, tensor, dest, 0, 2);
  t.strictSame([...dest], [0n, 0n]);
});

t.test('strings are read from string_val and from tensor_content', async (t) => {
  const values = ['', 'a', 'größer', 'x'.repeat(300)];
  const { buf, tensor } = parseInput({
    dtype: DataType.STRING,
    tensor_shape: dims(5),
    string_val: values.map((value) => Buffer.from(value)),
  });
  const dest = new Array<string>(5);
  copyStringsInto(buf, tensor, dest, 0, 5);
  t.strictSame(dest, [...values, values[3]]);
  copyStringsInto(buf, tensor, dest, 0, 2, 1);
  t.strictSame(dest.slice(0, 2), ['a', 'größer']);

  const content = Buffer.concat([Buffer.from([0, 1, 2]), Buffer.from('abc')]);
  const packed = parseInput({ dtype: DataType.STRING, tensor_shape: dims(3), tensor_content: content });
  const three = new Array<string>(3);
  copyStringsInto(packed.buf, packed.tensor, three, 0, 3);
  t.strictSame(three, ['', 'a', 'bc']);
  const wrong = parseInput({ dtype: DataType.STRING, tensor_shape: dims(2), tensor_content: content });
  t.throws(() => copyStringsInto(wrong.buf, wrong.tensor, three, 0, 2), WireError);
  const vast = parseInput({ dtype: DataType.STRING, tensor_shape: dims(2000000000), tensor_content: content });
  t.throws(
    () => copyStringsInto(vast.buf, vast.tensor, three, 0, 2),
    WireError,
    'a shape far beyond the bytes ends at once',
  );
});

t.test('a string element that is not UTF-8 is refused', async (t) => {
  const { buf, tensor } = parseInput({ dtype: DataType.STRING, string_val: [Buffer.from([0xff, 0xfe])] });
  t.throws(() => copyStringsInto(buf, tensor, [], 0, 1), { reason: 'malformed', message: /UTF-8/ });
});

t.test('a tensor that contradicts itself is parsed to its end and refuses to give elements', async (t) => {
  const cases: [object, RegExp][] = [
    [dims(-1), /negative dimension/],
    [{ dim: [{ size: '-9223372036854775808' }] }, /negative/],
    [{ dim: [{ size: '9223372036854775807' }] }, /more than 2147483647 elements/],
    [dims(65536, 65536), /elements/],
    [{ dim: Array.from({ length: 255 }, () => ({ size: 1 })) }, /more than 254 dimensions/],
  ];
  for (const [tensor_shape, problem] of cases) {
    const { buf, tensor } = parseInput({ dtype: 1, tensor_shape, float_val: [1] });
    t.match(tensor.problem, problem);
    t.equal(tensor.elementCount, 0);
    t.throws(() => copyTensorInto(buf, tensor, new Float32Array(1), 0, 0), { reason: 'tensor', message: problem });
  }
});

t.test('types that are not carried are refused with their name', async (t) => {
  const { buf, tensor } = parseInput({ dtype: 8, scomplex_val: [1, 2] });
  t.throws(() => copyTensorInto(buf, tensor, new Float32Array(1), 0, 1), {
    reason: 'tensor',
    message: /DataType\(8\)/,
  });
  const text = parseInput({ dtype: DataType.STRING, string_val: [Buffer.from('a')] });
  t.throws(() => copyTensorInto(text.buf, text.tensor, new Float32Array(1), 0, 1), { message: /DT_STRING/ });
  const number = parseInput({ dtype: DataType.FLOAT, float_val: [1] });
  t.throws(() => copyStringsInto(number.buf, number.tensor, [], 0, 1), { message: /DT_FLOAT has no string/ });
});

t.test('a request is taken apart whatever the order of its fields', async (t) => {
  const parts = [
    encodeMessage(REQUEST, { output_filter: ['y'] }),
    encodeMessage(REQUEST, { inputs: { a: { dtype: 1 } } }),
    encodeMessage(REQUEST, { model_spec: { name: 'first', version: { value: '3' }, signature_name: 'sig' } }),
    encodeMessage(REQUEST, { inputs: { b: { dtype: 3 } }, client_id: Buffer.from('me') }),
    encodeMessage(REQUEST, { model_spec: { name: 'modèle', version: { value: '9223372036854775807' } } }),
  ];
  const buf = Buffer.concat(parts);
  parsePredictRequest(view, buf, 0, buf.length);
  t.equal(view.modelSpec.present, true);
  t.equal(view.modelSpec.name(buf), 'modèle', 'the last name wins');
  t.equal(view.modelSpec.versionChoice, VersionChoice.version);
  t.equal(view.modelSpec.version(), 9223372036854775807n);
  t.equal(view.modelSpec.signatureName(buf), 'sig', 'what only the first says stays');
  t.equal(view.inputs.count, 2);
  t.equal(view.inputs.find(buf, 'a')?.dtype, 1);
  t.equal(view.inputs.find(buf, 'b')?.dtype, 3);
  t.equal(view.inputs.find(buf, 'c'), null);
  t.equal(view.inputs.nameAt(buf, 1), 'b');
  t.equal(view.filterCount, 1);
  t.equal(view.filterAt(buf, 0), 'y');

  parsePredictRequest(view, buf, 0, 0);
  t.equal(view.modelSpec.present, false, 'nothing is left over in a reused view');
  t.equal(view.inputs.count + view.filterCount, 0);
});

t.test('a map key that comes twice keeps the last tensor', async (t) => {
  const one = encodeMessage(REQUEST, { inputs: { x: { dtype: 1 } } });
  const other = encodeMessage(REQUEST, { inputs: { y: { dtype: 9 } } });
  const two = encodeMessage(REQUEST, { inputs: { x: { dtype: 3 } } });
  const buf = Buffer.concat([one, other, two]);
  parsePredictRequest(view, buf, 0, buf.length);
  t.equal(view.inputs.count, 2);
  t.equal(view.inputs.find(buf, 'x')?.dtype, 3);
  t.equal(view.inputs.find(buf, 'y')?.dtype, 9);
});

t.test('a map entry may hold its value before its key, or neither', async (t) => {
  const buf = Buffer.from([0x12, 7, 0x12, 2, 0x08, 1, 0x0a, 1, 0x78, 0x12, 0]);
  parsePredictRequest(view, buf, 0, buf.length);
  t.equal(view.inputs.count, 2);
  t.equal(view.inputs.find(buf, 'x')?.dtype, 1);
  t.equal(view.inputs.find(buf, '')?.dtype, 0);
});

t.test('labels and versions replace each other', async (t) => {
  const spec = (...parts: object[]) => Buffer.concat(parts.map((model_spec) => encodeMessage(REQUEST, { model_spec })));
  const labelLast = spec({ version: { value: 5 } }, { version_label: 'canary' });
  parsePredictRequest(view, labelLast, 0, labelLast.length);
  t.equal(view.modelSpec.versionChoice, VersionChoice.label);
  t.equal(view.modelSpec.label(labelLast), 'canary');
  const versionLast = spec({ version: { value: 5 } }, { version_label: 'canary' }, { version: {} });
  parsePredictRequest(view, versionLast, 0, versionLast.length);
  t.equal(view.modelSpec.versionChoice, VersionChoice.version);
  t.equal(view.modelSpec.version(), 0n);
  const merged = spec({ version: { value: 5 } }, { version: {} });
  parsePredictRequest(view, merged, 0, merged.length);
  t.equal(view.modelSpec.version(), 5n);
});

t.test('more tensors than the bound are refused', async (t) => {
  const inputs: Record<string, object> = {};
  for (let i = 0; i <= MAX_TENSORS; i++) inputs[`input-${i}`] = { dtype: 1 };
  const buf = encodeMessage(REQUEST, { inputs });
  t.throws(() => parsePredictRequest(view, buf, 0, buf.length), { reason: 'too_large', message: /512 tensors/ });
  const filters = encodeMessage(REQUEST, { output_filter: Array.from({ length: 513 }, () => 'y') });
  t.throws(() => parsePredictRequest(view, filters, 0, filters.length), {
    reason: 'too_large',
    message: /512 output filters/,
  });
});

t.test('malformed messages are refused with what and where', async (t) => {
  const cases: [number[], RegExp][] = [
    [[0x0a], /varint cut short at byte 1/],
    [[0x0a, 5, 1], /length 5 runs past the end at byte 2/],
    [[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], /length over 2 GiB/],
    [[0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], /varint over ten bytes/],
    [[0x00], /field number 0/],
    [[0x80, 0x00], /field number 0/],
    [[0xff, 0xff, 0xff, 0xff, 0x7f], /field number over/],
    [[0x0f], /wire type 7/],
    [[0x24], /group end without a start/],
    [[0x23], /group without an end/],
    [[0x23, 0x2c], /group end without a start/],
    [new Array(200).fill(0x23), /nested too deep/],
    [[0x31, 1, 2], /fixed64 cut short/],
    [[0x35, 1], /fixed32 cut short/],
  ];
  for (const [bytes, message] of cases) {
    const buf = Buffer.from(bytes);
    t.throws(() => parsePredictRequest(view, buf, 0, buf.length), { name: 'WireError', message }, String(message));
  }
  t.throws(() => parsePredictRequest(view, Buffer.from([0x0a]), 0, 1), { message: /^PredictRequest: / });
});

t.test('groups and unknown fields are passed over', async (t) => {
  const buf = Buffer.from([0x23, 0x2b, 0x2c, 0x08, 1, 0x24, 0x0a, 3, 0x0a, 1, 0x6d]);
  parsePredictRequest(view, buf, 0, buf.length);
  t.equal(view.modelSpec.name(buf), 'm');
});

t.test('a packed list that ends inside an element is refused', async (t) => {
  const { buf, tensor } = parseRawInput(Buffer.from([0x08, 1, 0x2a, 3, 0, 0, 0]));
  t.throws(() => copyTensorInto(buf, tensor, new Float32Array(1), 0, 1), {
    reason: 'malformed',
    message: /inside an element/,
  });
  const cut = parseRawInput(Buffer.from([0x08, 3, 0x3a, 1, 0x80]));
  t.throws(() => copyTensorInto(cut.buf, cut.tensor, new Int32Array(1), 0, 1), {
    reason: 'malformed',
    message: /cut short/,
  });
});

t.test('a name that is not UTF-8 is refused when it is read', async (t) => {
  const buf = Buffer.from([0x0a, 3, 0x0a, 1, 0xff]);
  parsePredictRequest(view, buf, 0, buf.length);
  t.throws(() => view.modelSpec.name(buf), { reason: 'malformed', message: /ModelSpec.name/ });
});

t.test('a byte that only looks like a letter of a name is not that name', async (t) => {
  const buf = Buffer.from([0x12, 3, 0x0a, 1, 0xe9]);
  parsePredictRequest(view, buf, 0, buf.length);
  t.equal(view.inputs.find(buf, 'é'), null);
  const named = encodeMessage(REQUEST, { inputs: { é: { dtype: 1 } } });
  parsePredictRequest(view, named, 0, named.length);
  t.equal(view.inputs.find(named, 'é')?.dtype, 1);
});

t.test('a response is read by the same rules', async (t) => {
  const bytes = encodeMessage('tensorflow.serving.PredictResponse', {
    model_spec: { name: 'm', version: { value: 2 }, signature_name: 'serving_default' },
    outputs: { y: { dtype: 1, tensor_shape: dims(2), float_val: [1, 2] }, z: { dtype: 9, int64_val: ['5'] } },
  });
  const response = new PredictResponseView();
  parsePredictResponse(response, bytes, 0, bytes.length);
  t.equal(response.modelSpec.version(), 2n);
  t.equal(response.outputs.count, 2);
  const y = response.outputs.find(bytes, 'y');
  const dest = new Float32Array(2);
  copyTensorInto(bytes, y!, dest, 0, 2);
  t.strictSame([...dest], [1, 2]);
});
