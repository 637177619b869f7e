/**
 * From an inference request of the Open Inference Protocol to the view of a Predict request that servables take. Numbers
 * stay where they lie in the request: raw bytes are `tensor_content`, packed contents have the layout of `*_val` lists.
 * Only strings, lists in pieces and tensors read from JSON are copied, and then the whole request is.
 */
import { DataType, dtypeBytes, dtypeField, dtypeForm, ValueForm } from './dtype.ts';
import { ElementSink } from './element-sink.ts';
import { OipError } from './oip-error.ts';
import { OipData, type OipInferRequest, type OipInput } from './oip-infer-request.ts';
import type { PredictRequestView } from './predict-message.ts';
import { TensorView } from './tensor-proto.ts';
import { WireReader, WireType } from './wire.ts';

/** Field of InferTensorContents that carries a type; 0 for types that only travel raw. */
const CONTENTS_FIELD: number[] = [];
CONTENTS_FIELD[DataType.BOOL] = 1;
CONTENTS_FIELD[DataType.INT8] = 2;
CONTENTS_FIELD[DataType.INT16] = 2;
CONTENTS_FIELD[DataType.INT32] = 2;
CONTENTS_FIELD[DataType.INT64] = 3;
CONTENTS_FIELD[DataType.UINT8] = 4;
CONTENTS_FIELD[DataType.UINT16] = 4;
CONTENTS_FIELD[DataType.UINT32] = 4;
CONTENTS_FIELD[DataType.UINT64] = 5;
CONTENTS_FIELD[DataType.FLOAT] = 6;
CONTENTS_FIELD[DataType.DOUBLE] = 7;
CONTENTS_FIELD[DataType.STRING] = 8;

export function contentsField(dtype: number): number {
  return CONTENTS_FIELD[dtype] ?? 0;
}

const reader = new WireReader();

export class OipBinder {
  private readonly assembly = new ElementSink();
  private readonly strings = new ElementSink();

  /**
   * Describes the inputs of `request`, whose bytes are in `buf`, in `view`; returns the buffer the view points into,
   * good until the next call. Every input must have a known dtype.
   * @throws OipError where an input's elements do not fill its shape
   */
  bind(request: OipInferRequest, buf: Buffer, view: PredictRequestView): Buffer {
    const { tensors } = view.inputs;
    view.modelSpec.reset();
    view.filterCount = 0;
    view.inputs.count = request.inputCount;
    while (tensors.length < request.inputCount) tensors.push(new TensorView());
    let inPlace = true;
    for (let i = 0; i < request.inputCount; i++) if (!isInPlace(request.inputs[i])) inPlace = false;
    if (!inPlace) return this.copy(request, buf, tensors);
    for (let i = 0; i < request.inputCount; i++) {
      const input = request.inputs[i];
      describe(tensors[i], input, input.start, input.end, request.modelName, buf);
      tensors[i].nameStart = input.nameStart;
      tensors[i].nameEnd = input.nameEnd;
    }
    return buf;
  }

  private copy(request: OipInferRequest, buf: Buffer, tensors: TensorView[]): Buffer {
    const { assembly } = this;
    assembly.clear();
    let at = 0;
    for (let i = 0; i < request.inputCount; i++) {
      const input = request.inputs[i];
      const tensor = tensors[i];
      const bytes = this.elementsOf(input, buf, request.modelName);
      assembly.putRaw(bytes, at);
      if (input.dtype === DataType.STRING) describeStrings(tensor, input, at, at + bytes.length);
      else describe(tensor, input, at, at + bytes.length, request.modelName, assembly.bytes);
      at += bytes.length;
      const name = Buffer.from(input.name);
      tensor.nameStart = assembly.putRaw(name, at);
      at += name.length;
      tensor.nameEnd = at;
    }
    return assembly.bytes;
  }

  /** The bytes `describe` or `describeStrings` will point at. */
  private elementsOf(input: OipInput, buf: Buffer, model: string): Buffer {
    if (input.data === OipData.sink) {
      const { sink, dtype } = input;
      if (sink!.count !== input.elementCount) failSize(input, model, sink!.count * dtypeBytes(dtype));
      return sink!.bytes.subarray(0, sink!.elementBytes(dtype));
    }
    if (input.dtype === DataType.STRING) return this.stringsOf(input, buf, model);
    if (input.data !== OipData.scattered) return buf.subarray(input.start, input.end);
    return joinedRuns(input, buf);
  }

  /** Strings in the layout of a `string_val` list. */
  private stringsOf(input: OipInput, buf: Buffer, model: string): Buffer {
    const { strings } = this;
    strings.clear();
    if (input.data === OipData.raw) {
      let at = input.start;
      while (at < input.end) {
        const end = at + 4 <= input.end ? at + 4 + buf.readUInt32LE(at) : Number.POSITIVE_INFINITY;
        if (end > input.end) {
          throw new OipError(`incomplete string data for inference input '${input.name}'`);
        }
        strings.putString(buf, at + 4, end);
        at = end;
      }
    } else if (input.data === OipData.scattered) {
      reader.reset(buf, input.start, input.end, 'InferTensorContents');
      while (reader.pos < input.end) {
        const tag = reader.readTag();
        if (tag !== 0x42) {
          reader.skip(tag);
          continue;
        }
        const end = reader.readPayloadEnd();
        strings.putString(buf, reader.pos, end);
        reader.pos = end;
      }
      reader.release();
    }
    if (strings.count !== input.elementCount) {
      const counts = `expected ${input.elementCount} strings for inference input '${input.name}', got ${strings.count}`;
      throw new OipError(`${counts} for model '${model}'`);
    }
    return strings.bytes.subarray(0, strings.length);
  }
}

function isInPlace(input: OipInput): boolean {
  if (input.dtype === DataType.STRING || input.nameStart < 0) return false;
  return input.data === OipData.raw || input.data === OipData.packed || input.data === OipData.none;
}

/** Points `tensor` at numbers at `[start, end)`, having checked that they are as many as the shape wants. */
function describe(tensor: TensorView, input: OipInput, start: number, end: number, model: string, buf: Buffer): void {
  setShape(tensor, input, start, end);
  const size = dtypeBytes(input.dtype);
  const isList = input.data === OipData.packed || input.data === OipData.scattered;
  if (!isList) {
    if (end - start !== input.elementCount * size) failSize(input, model, end - start);
    tensor.contentStart = start;
    tensor.contentEnd = end;
    return;
  }
  const carried = contentsField(input.dtype);
  if (carried === 0 || input.field !== carried) failSize(input, model, 0);
  const count = dtypeForm(input.dtype) === ValueForm.fixed ? (end - start) / size : countVarints(buf, start, end);
  if (count !== input.elementCount) failSize(input, model, Math.floor(count) * size);
  if (count === 0) return;
  tensor.listField = dtypeField(input.dtype);
  tensor.listStart = start;
  tensor.listEnd = end;
}

function describeStrings(tensor: TensorView, input: OipInput, start: number, end: number): void {
  setShape(tensor, input, start, end);
  if (input.elementCount === 0) return;
  tensor.listField = dtypeField(DataType.STRING);
  tensor.listScattered = true;
}

function setShape(tensor: TensorView, input: OipInput, start: number, end: number): void {
  tensor.resetValue(start, end);
  tensor.dtype = input.dtype;
  tensor.rank = input.rank;
  for (let i = 0; i < input.rank; i++) tensor.dims[i] = input.dims[i];
  tensor.elementCount = input.elementCount;
}

/** A varint ends at each byte without the high bit. */
function countVarints(buf: Buffer, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if (buf[i] < 0x80) count++;
  return count;
}

/** The pieces of one contents list, packed or not, as one packed run. */
function joinedRuns(input: OipInput, buf: Buffer): Buffer {
  const runs: Buffer[] = [];
  reader.reset(buf, input.start, input.end, 'InferTensorContents');
  while (reader.pos < input.end) {
    const tag = reader.readTag();
    let from = reader.pos;
    if ((tag & 7) === WireType.bytes) {
      const end = reader.readPayloadEnd();
      from = reader.pos;
      reader.pos = end;
    } else {
      reader.skip(tag);
    }
    if (tag >>> 3 === input.field) runs.push(buf.subarray(from, reader.pos));
  }
  reader.release();
  return Buffer.concat(runs);
}

function failSize(input: OipInput, model: string, bytes: number): never {
  const expected = input.elementCount * dtypeBytes(input.dtype);
  const text = `input byte size mismatch for input '${input.name}' for model '${model}'. Expected ${expected}, got ${bytes}`;
  throw new OipError(text);
}
