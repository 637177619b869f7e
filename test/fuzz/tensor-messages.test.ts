/** Properties of the tensor codec: what one side writes the other reads, and no bytes whatever do worse than a WireError. */
import fc from 'fast-check';
import t from 'tap';
import { DataType } from '../../proto/tensor/dtype.ts';
import { MAX_ELEMENTS, parseTensor, TensorView } from '../../proto/tensor/tensor-proto.ts';
import {
  copyStringsInto,
  copyTensorInto,
  PredictMessageWriter,
  PredictRequestView,
  PredictResponseView,
  parsePredictRequest,
  parsePredictResponse,
  tensorKey,
} from '../../proto/tensor/tensor-view.ts';
import { WireReader } from '../../proto/tensor/wire.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { runs } from '../support/fuzz-runs.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';
import { bytesOf, DTYPE_CASES, type DtypeCase } from '../unit/proto/tensor/dtype-cases.ts';

const REQUEST = 'tensorflow.serving.PredictRequest';
const RUNS = { numRuns: runs(300), interruptAfterTimeLimit: 1500 };
const request = new PredictRequestView();
const response = new PredictResponseView();

/** Random storage of one type, from random bytes (bools stay 0 or 1, since the wire has no others). */
const stored = fc.tuple(fc.constantFrom(...DTYPE_CASES), fc.uint8Array({ maxLength: 400 })).map(([row, random]) => {
  const size = row.stored.BYTES_PER_ELEMENT;
  const data = row.make(Math.floor(random.length / size));
  bytesOf(data).set(random.subarray(0, data.length * size));
  if (row.dtype === DataType.BOOL) for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) & 1;
  return { row, data };
});

/** NaN payloads do not survive JavaScript numbers, so values are compared after one pass through them. */
function settled(row: DtypeCase, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  if (row.dtype === DataType.FLOAT) {
    for (let i = 0; i + 4 <= copy.length; i += 4)
      if (Number.isNaN(copy.readFloatLE(i))) copy.writeFloatLE(Number.NaN, i);
  } else if (row.dtype === DataType.DOUBLE) {
    for (let i = 0; i + 8 <= copy.length; i += 8)
      if (Number.isNaN(copy.readDoubleLE(i))) copy.writeDoubleLE(Number.NaN, i);
  }
  return copy;
}

t.test('what we write, the independent codec reads and writes, and we read again', async () => {
  fc.assert(
    fc.property(stored, fc.boolean(), fc.nat({ max: 5 }), ({ row, data }, asContent, skip) => {
      const from = Math.min(skip, data.length);
      const count = data.length - from;
      const writer = new PredictMessageWriter('request', asContent);
      writer.begin(Buffer.alloc(0));
      writer.add(tensorKey('x'), row.dtype, [data.length, 1], count, data, from, count);
      const ours = Buffer.alloc(writer.byteLength);
      writer.write(ours, 0);
      const theirs = encodeMessage(REQUEST, decodeMessage(REQUEST, ours));
      for (const bytes of [ours, theirs]) {
        parsePredictRequest(request, bytes, 0, bytes.length);
        const tensor = request.inputs.find(bytes, 'x')!;
        const dest = row.make(count);
        copyTensorInto(bytes, tensor, dest, 0, count);
        const wanted = bytesOf(data).subarray(from * data.BYTES_PER_ELEMENT);
        if (!settled(row, bytesOf(dest)).equals(settled(row, wanted))) throw new Error('values differ');
      }
    }),
    RUNS,
  );
});

t.test('strings of any text survive, in either form', async () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 20 }), fc.boolean(), (strings, asContent) => {
      const writer = new PredictMessageWriter('request', asContent);
      writer.begin(Buffer.alloc(0));
      writer.add(tensorKey('x'), DataType.STRING, [strings.length], -1, strings, 0, strings.length);
      const bytes = Buffer.alloc(writer.byteLength);
      writer.write(bytes, 0);
      parsePredictRequest(request, bytes, 0, bytes.length);
      const dest: string[] = [];
      copyStringsInto(bytes, request.inputs.tensors[0], dest, 0, strings.length);
      if (JSON.stringify(dest) !== JSON.stringify(strings)) throw new Error('strings differ');
    }),
    RUNS,
  );
});

/** Runs every reader over the bytes; anything but a WireError is a failure. */
function readEverything(bytes: Buffer): void {
  tolerate(() => {
    parsePredictRequest(request, bytes, 0, bytes.length);
    request.modelSpec.name(bytes);
    request.modelSpec.version();
    for (let i = 0; i < request.filterCount; i++) request.filterAt(bytes, i);
    for (let i = 0; i < request.inputs.count; i++) {
      request.inputs.nameAt(bytes, i);
      readElements(bytes, request.inputs.tensors[i]);
    }
  });
  tolerate(() => {
    parsePredictResponse(response, bytes, 0, bytes.length);
    for (let i = 0; i < response.outputs.count; i++) readElements(bytes, response.outputs.tensors[i]);
  });
  tolerate(() => {
    const reader = new WireReader();
    reader.reset(bytes, 0, bytes.length, 'TensorProto');
    const tensor = new TensorView();
    parseTensor(reader, tensor);
    readElements(bytes, tensor);
  });
}

function readElements(bytes: Buffer, tensor: TensorView): void {
  if (tensor.elementCount > MAX_ELEMENTS || tensor.elementCount < 0) throw new Error('a count out of bounds');
  const count = Math.min(tensor.elementCount, 64);
  const row = DTYPE_CASES.find((entry) => entry.dtype === tensor.dtype);
  tolerate(() => copyStringsInto(bytes, tensor, new Array<string>(count), 0, count));
  if (row !== undefined) tolerate(() => copyTensorInto(bytes, tensor, row.make(count), 0, count));
}

function tolerate(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
}

t.test('random bytes are refused or read, never worse', async () => {
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
  fc.assert(fc.property(bytes, readEverything), { ...RUNS, numRuns: runs(2000) });
});

t.test('damaged messages are refused or read, never worse', async () => {
  const dims = fc.array(fc.integer({ min: -2, max: 70000 }), { maxLength: 4 });
  const message = fc.tuple(fc.constantFrom(...DTYPE_CASES), dims, fc.boolean()).map(([row, sizes, asContent]) => {
    const tensor_shape = { dim: sizes.map((size) => ({ size })) };
    const values = asContent ? { tensor_content: bytesOf(row.stored) } : { [row.list]: row.values };
    const inputs = { x: { dtype: row.dtype, tensor_shape, ...values } };
    return encodeMessage(REQUEST, { model_spec: { name: 'm', version: { value: 7 } }, inputs, output_filter: ['y'] });
  });
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 });
  fc.assert(
    fc.property(message, damage, fc.nat(), (bytes, changes, cut) => {
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      readEverything(cut % 3 === 0 ? bytes.subarray(0, cut % bytes.length) : bytes);
    }),
    { ...RUNS, numRuns: runs(2000) },
  );
});
