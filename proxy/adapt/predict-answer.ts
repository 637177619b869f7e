/**
 * A PredictResponse adapted. Tensors whose elements stay are copied as they lie, with a new key and, where it changes, a new
 * shape; only what is cast is read. Fields that are neither outputs nor model spec go on as they are.
 */
import { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { allocateElements, DataType, dtypeName } from '../../proto/tensor/dtype.ts';
import {
  copyStringsInto,
  copyTensorInto,
  modelSpecField,
  PredictMessageWriter,
  PredictResponseView,
  parsePredictResponse,
  type TensorData,
  type TensorView,
  tensorKey,
} from '../../proto/tensor/tensor-view.ts';
import { WireReader, WireType } from '../../proto/tensor/wire.ts';
import { putSafeInt, putVarint, safeIntBytes, varintBytes } from '../../proto/tensor/wire-writer.ts';
import { AdaptError } from './adapt-error.ts';
import {
  type AnswerChange,
  checkCount,
  type MappedOutput,
  mapOutputs,
  type SourceAnswer,
  type SourceOutput,
} from './output-mapping.ts';

const EMPTY = Buffer.alloc(0);
const TAG_OUTPUTS = 0x0a;
const TAG_RESULTS = 0x0a;
const TAG_MAP_VALUE = 0x12;
const TAG_SHAPE = 0x12;
const OUTPUTS_FIELD = 1;
const SPEC_FIELD = 2;
const RESULT_SPEC_FIELD = 1;

const view = new PredictResponseView();
const reader = new WireReader();
const writer = new PredictMessageWriter('response');

/** Appends the adapted form of the PredictResponse at `[start, end)` to `sink`. @throws WireError, CastError, AdaptError */
export function adaptPredict(sink: ByteSink, buf: Buffer, start: number, end: number, change: AnswerChange): void {
  const answer = new PredictAnswer(buf, start, end);
  for (const output of mapOutputs(answer, change)) answer.put(sink, output);
  putSpecAndRest(sink, buf, start, end, change.specName, true);
}

/** Only renames the model of an answer whose model spec is field 2: Predict, Classify, Regress. @throws WireError */
export function renameModel(sink: ByteSink, buf: Buffer, start: number, end: number, name: string): void {
  putSpecAndRest(sink, buf, start, end, name, false);
}

/** The same of MultiInference, where each result has a model spec of its own, as its field 1. @throws WireError */
export function renameModels(sink: ByteSink, buf: Buffer, start: number, end: number, name: string): void {
  const results = new WireReader();
  const own = new ByteSink();
  results.reset(buf, start, end, 'MultiInferenceResponse');
  while (results.pos < end) {
    const from = results.pos;
    const tag = results.readTag();
    if (tag !== TAG_RESULTS) {
      results.skip(tag);
      sink.putBytes(buf, from, results.pos);
      continue;
    }
    const resultEnd = results.readPayloadEnd();
    own.clear();
    putSpecAndRest(own, buf, results.pos, resultEnd, name, false, RESULT_SPEC_FIELD);
    sink.putByte(TAG_RESULTS);
    putLength(sink, own.length);
    sink.putBytes(own.bytes, 0, own.length);
    results.pos = resultEnd;
  }
}

class PredictAnswer implements SourceAnswer {
  readonly outputs: SourceOutput[] = [];
  private readonly buf: Buffer;

  constructor(buf: Buffer, start: number, end: number) {
    this.buf = buf;
    parsePredictResponse(view, buf, start, end);
    for (let i = 0; i < view.outputs.count; i++) {
      const tensor = view.outputs.tensors[i]!;
      const name = view.outputs.nameAt(buf, i);
      if (tensor.problem !== '') throw new AdaptError('misfit', `${name}: ${tensor.problem}`);
      const dims = tensor.dims.slice(0, tensor.rank);
      this.outputs.push({ name, dtype: tensor.dtype, dims, count: tensor.elementCount });
    }
  }

  elements(index: number): TensorData {
    return tensorElements(this.buf, view.outputs.tensors[index]!);
  }

  put(sink: ByteSink, output: MappedOutput): void {
    const key = tensorKey(output.name);
    if (output.data !== null) {
      writer.begin(EMPTY);
      writer.add(key, output.dtype, output.dims, -1, output.data, 0, output.count);
      sink.reserve(writer.byteLength);
      sink.length = writer.write(sink.bytes, sink.length);
      return;
    }
    const tensor = view.outputs.tensors[output.source]!;
    const isSame = sameDims(output.dims, tensor);
    const shape = isSame ? EMPTY : shapeField(output.dims);
    const kept = isSame ? tensor.end - tensor.start : keptBytes(this.buf, tensor);
    const bytes = kept + shape.length;
    const entry = key.length + 1 + varintBytes(bytes) + bytes;
    sink.putByte(TAG_OUTPUTS);
    putLength(sink, entry);
    sink.putBytes(key, 0, key.length);
    sink.putByte(TAG_MAP_VALUE);
    putLength(sink, bytes);
    if (isSame) sink.putBytes(this.buf, tensor.start, tensor.end);
    else eachKept(this.buf, tensor, (from, to) => sink.putBytes(this.buf, from, to));
    sink.putBytes(shape, 0, shape.length);
  }
}

/** All elements of a tensor, in memory of their own. @throws WireError, AdaptError */
export function tensorElements(buf: Buffer, tensor: TensorView): TensorData {
  const count = checkCount('output', tensor.elementCount);
  if (tensor.dtype === DataType.STRING) {
    const texts: string[] = [];
    copyStringsInto(buf, tensor, texts, 0, count);
    return texts;
  }
  const data = allocateElements(tensor.dtype, count);
  if (data === null) throw new AdaptError('misfit', `elements of ${dtypeName(tensor.dtype)}`);
  copyTensorInto(buf, tensor, data, 0, count);
  return data;
}

function sameDims(dims: readonly number[], tensor: TensorView): boolean {
  return dims.length === tensor.rank && dims.every((size, i) => size === tensor.dims[i]);
}

/** Calls with each stretch of the tensor that is no shape. */
function eachKept(buf: Buffer, tensor: TensorView, take: (from: number, to: number) => void): void {
  reader.reset(buf, tensor.start, tensor.end, 'TensorProto');
  while (reader.pos < reader.end) {
    const from = reader.pos;
    const tag = reader.readTag();
    reader.skip(tag);
    if (tag !== TAG_SHAPE) take(from, reader.pos);
  }
  reader.release();
}

function keptBytes(buf: Buffer, tensor: TensorView): number {
  let bytes = 0;
  eachKept(buf, tensor, (from, to) => {
    bytes += to - from;
  });
  return bytes;
}

/** `tensor_shape { dim { size } ... }` as a whole field. */
function shapeField(dims: readonly number[]): Buffer {
  const parts = dims.map((size) => {
    const dim = Buffer.alloc(3 + safeIntBytes(size));
    dim[0] = 0x12;
    dim[1] = dim.length - 2;
    dim[2] = 0x08;
    putSafeInt(dim, 3, size);
    return dim;
  });
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(1 + varintBytes(body.length));
  head[0] = TAG_SHAPE;
  putVarint(head, 1, body.length);
  return Buffer.concat([head, body]);
}

/** The fields behind the outputs: the model spec, renamed where `name` is not '', and what else there is. */
function putSpecAndRest(
  sink: ByteSink,
  buf: Buffer,
  start: number,
  end: number,
  name: string,
  skipsOutputs: boolean,
  specField: 1 | 2 = SPEC_FIELD,
): void {
  let signature = '';
  let hasSpec = false;
  reader.reset(buf, start, end, 'an answer');
  while (reader.pos < end) {
    const from = reader.pos;
    const tag = reader.readTag();
    const isSpec = tag === specField * 8 + WireType.bytes;
    if (isSpec && name !== '') {
      hasSpec = true;
      const specEnd = reader.readPayloadEnd();
      signature = signatureOf(buf, reader.pos, specEnd) ?? signature;
      reader.pos = specEnd;
      continue;
    }
    reader.skip(tag);
    if (skipsOutputs && tag >>> 3 === OUTPUTS_FIELD) continue;
    sink.putBytes(buf, from, reader.pos);
  }
  reader.release();
  if (!hasSpec) return;
  const spec = modelSpecField(specField, name, null, signature);
  sink.putBytes(spec, 0, spec.length);
}

const specReader = new WireReader();

/** The signature name of the ModelSpec at `[start, end)`; null where it has none. */
export function signatureOf(buf: Buffer, start: number, end: number): string | null {
  let signature: string | null = null;
  specReader.reset(buf, start, end, 'ModelSpec');
  while (specReader.pos < end) {
    const tag = specReader.readTag();
    const from = specReader.pos;
    specReader.skip(tag);
    if (tag !== 0x1a) continue;
    const fieldEnd = specReader.pos;
    specReader.pos = from;
    specReader.readPayloadEnd();
    signature = buf.toString('utf8', specReader.pos, fieldEnd);
    specReader.pos = fieldEnd;
  }
  specReader.release();
  return signature;
}

function putLength(sink: ByteSink, length: number): void {
  sink.reserve(5);
  sink.length = putVarint(sink.bytes, sink.length, length);
}
