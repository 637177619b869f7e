/**
 * A ModelInferResponse adapted, with typed contents or raw ones as it came. Parameters, contents and raw bytes of outputs
 * whose elements stay are copied as they lie. A 16-bit float has no typed contents: an answer that gets one becomes raw.
 */
import type { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { DataType, dtypeToOip } from '../../proto/tensor/dtype.ts';
import type { JsonOutput } from '../../proto/tensor/json-tensor-writer.ts';
import { OipBinder } from '../../proto/tensor/oip-binding.ts';
import { OipData, OipInferRequest, parseInferResponse } from '../../proto/tensor/oip-infer-request.ts';
import { contentsBytes, hasContents, putContents, putRaw, rawBytes } from '../../proto/tensor/oip-response.ts';
import { PredictRequestView, type TensorData } from '../../proto/tensor/tensor-view.ts';
import { WireReader } from '../../proto/tensor/wire.ts';
import { putSafeInt, putVarint, safeIntBytes, varintBytes } from '../../proto/tensor/wire-writer.ts';
import { AdaptError } from './adapt-error.ts';
import {
  type AnswerChange,
  keepsOutputs,
  type MappedOutput,
  mapOutputs,
  type SourceAnswer,
  type SourceOutput,
} from './output-mapping.ts';
import { tensorElements } from './predict-answer.ts';

const MODEL_NAME = 1;
const MODEL_VERSION = 2;
const OUTPUTS = 5;
const RAW_CONTENTS = 6;
const TAG_MODEL_NAME = 0x0a;
const TAG_OUTPUT = 0x2a;
const TAG_RAW = 0x32;
/** Fields of InferOutputTensor. */
const TAG_NAME = 0x0a;
const TAG_DATATYPE = 0x12;
const TAG_SHAPE = 0x1a;
const TAG_CONTENTS = 0x2a;

const parsed = new OipInferRequest();
const bound = new PredictRequestView();
const binder = new OipBinder();
const reader = new WireReader();
const inner = new WireReader();

/** Appends the adapted form of the ModelInferResponse at `[start, end)`. @throws WireError, OipError, CastError, AdaptError */
export function adaptInfer(sink: ByteSink, buf: Buffer, start: number, end: number, change: AnswerChange): void {
  if (keepsOutputs(change)) {
    putHead(sink, buf, start, end, change.specName, true);
    return;
  }
  parseInferResponse(parsed, buf, start, end);
  const answer = new InferAnswer(parsed, buf);
  const outputs = mapOutputs(answer, change);
  const raw = parsed.usesRaw || outputs.some(({ data, dtype }) => data !== null && !hasContents(dtype));
  putHead(sink, buf, start, end, change.specName, false);
  const fields = outputFields(buf, start, end);
  for (const output of outputs) putOutput(sink, buf, answer, output, fields, raw);
  for (const output of raw ? outputs : []) putRawContents(sink, buf, answer, output);
}

/** The outputs of a parsed answer in either encoding of the Open Inference Protocol. */
export class InferAnswer implements SourceAnswer {
  readonly outputs: readonly SourceOutput[];
  private readonly request: OipInferRequest;
  private readonly buf: Buffer;
  private bytes: Buffer | null = null;

  constructor(request: OipInferRequest, buf: Buffer) {
    this.request = request;
    this.buf = buf;
    this.outputs = request.inputs.slice(0, request.inputCount).map((input) => ({
      name: input.name,
      dtype: input.dtype,
      dims: input.dims.slice(0, input.rank),
      count: input.elementCount,
    }));
  }

  elements(index: number): TensorData {
    this.bytes ??= this.bind();
    return tensorElements(this.bytes, bound.inputs.tensors[index]!);
  }

  private bind(): Buffer {
    for (const { name, dtype } of this.outputs) {
      if (dtype === DataType.INVALID) throw new AdaptError('misfit', `output ${name} has a type nobody knows`);
    }
    return binder.bind(this.request, this.buf, bound);
  }
}

/** A mapped output with its elements at hand. */
export function withElements(answer: SourceAnswer, output: MappedOutput): JsonOutput {
  const { name, dtype, dims, count } = output;
  return { name, dtype, dims, from: 0, count, data: output.data ?? answer.elements(output.source) };
}

/** Everything, outputs if they stay: as it is, or with another model's name and no version. */
function putHead(sink: ByteSink, buf: Buffer, start: number, end: number, name: string, outputs: boolean): void {
  if (name !== '') putText(sink, TAG_MODEL_NAME, name);
  reader.reset(buf, start, end, 'ModelInferResponse');
  while (reader.pos < end) {
    const from = reader.pos;
    const tag = reader.readTag();
    reader.skip(tag);
    const field = tag >>> 3;
    const isNamed = field === MODEL_NAME || field === MODEL_VERSION;
    if ((!outputs && (field === OUTPUTS || field === RAW_CONTENTS)) || (isNamed && name !== '')) continue;
    sink.putBytes(buf, from, reader.pos);
  }
  reader.release();
}

/** Start and end of each InferOutputTensor, in order. */
function outputFields(buf: Buffer, start: number, end: number): number[] {
  const ranges: number[] = [];
  reader.reset(buf, start, end, 'ModelInferResponse');
  while (reader.pos < end) {
    const tag = reader.readTag();
    if (tag !== TAG_OUTPUT) {
      reader.skip(tag);
      continue;
    }
    const fieldEnd = reader.readPayloadEnd();
    ranges.push(reader.pos, fieldEnd);
    reader.pos = fieldEnd;
  }
  reader.release();
  return ranges;
}

function putOutput(
  sink: ByteSink,
  buf: Buffer,
  answer: SourceAnswer,
  output: MappedOutput,
  fields: readonly number[],
  raw: boolean,
): void {
  const head = outputHead(output);
  const { source, data } = output;
  const kept = source < 0 ? [] : keptFields(buf, fields[source * 2]!, fields[source * 2 + 1]!, !raw);
  let bytes = head.length;
  for (let i = 0; i < kept.length; i += 2) bytes += kept[i + 1]! - kept[i]!;
  const typed = data === null || raw || output.count === 0 ? null : withElements(answer, output);
  const contents = typed === null ? 0 : contentsBytes(typed);
  if (typed !== null) bytes += 1 + varintBytes(contents) + contents;
  sink.putByte(TAG_OUTPUT);
  putLength(sink, bytes);
  sink.putBytes(head, 0, head.length);
  for (let i = 0; i < kept.length; i += 2) sink.putBytes(buf, kept[i]!, kept[i + 1]!);
  if (typed === null) return;
  sink.putByte(TAG_CONTENTS);
  putLength(sink, contents);
  sink.reserve(contents);
  sink.length = putContents(sink.bytes, sink.length, typed);
}

/** Name, datatype and shape. */
function outputHead({ name, dtype, dims, source, data }: MappedOutput): Buffer {
  const nameBytes = Buffer.from(name);
  const type = Buffer.from(data === null ? parsed.inputs[source]!.datatype : dtypeToOip(dtype));
  let shape = 0;
  for (const size of dims) shape += safeIntBytes(size);
  const room = nameBytes.length + type.length + shape + 3 * 6;
  const head = Buffer.allocUnsafe(room);
  let at = putField(head, 0, TAG_NAME, nameBytes);
  at = putField(head, at, TAG_DATATYPE, type);
  if (shape > 0) {
    head[at] = TAG_SHAPE;
    at = putVarint(head, at + 1, shape);
    for (const size of dims) at = putSafeInt(head, at, size);
  }
  return head.subarray(0, at);
}

/** Ranges of the fields that go on: not name, datatype and shape; contents only if `contents`. */
function keptFields(buf: Buffer, start: number, end: number, contents: boolean): number[] {
  const ranges: number[] = [];
  inner.reset(buf, start, end, 'InferOutputTensor');
  while (inner.pos < end) {
    const from = inner.pos;
    const tag = inner.readTag();
    inner.skip(tag);
    const field = tag >>> 3;
    if (field > 3 && (contents || field !== 5)) ranges.push(from, inner.pos);
  }
  inner.release();
  return ranges;
}

function putRawContents(sink: ByteSink, buf: Buffer, answer: SourceAnswer, output: MappedOutput): void {
  sink.putByte(TAG_RAW);
  const source = output.source < 0 ? null : parsed.inputs[output.source]!;
  if (output.data === null && source !== null && source.data === OipData.raw) {
    putLength(sink, source.end - source.start);
    sink.putBytes(buf, source.start, source.end);
    return;
  }
  const own = withElements(answer, output);
  const bytes = rawBytes(own);
  putLength(sink, bytes);
  sink.reserve(bytes);
  sink.length = putRaw(sink.bytes, sink.length, own);
}

function putText(sink: ByteSink, tag: number, text: string): void {
  const bytes = Buffer.from(text);
  sink.putByte(tag);
  putLength(sink, bytes.length);
  sink.putBytes(bytes, 0, bytes.length);
}

function putField(buf: Buffer, at: number, tag: number, payload: Buffer): number {
  buf[at] = tag;
  at = putVarint(buf, at + 1, payload.length);
  payload.copy(buf, at);
  return at + payload.length;
}

function putLength(sink: ByteSink, length: number): void {
  sink.reserve(5);
  sink.length = putVarint(sink.bytes, sink.length, length);
}
