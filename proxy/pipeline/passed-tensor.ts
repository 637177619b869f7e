/**
 * Tensors on their way from step to step: each is the bytes of a TensorProto where they lie, so that handing one on means
 * copying them under another name. Only its type and shape are known; no element is read.
 */
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { DataType, dtypeBytes, dtypeField } from '../../proto/tensor/dtype.ts';
import { type ElementPlace, ElementPlace as Place, type TensorView } from '../../proto/tensor/tensor-view.ts';
import { putBytes, putSafeInt, putVarint, safeIntBytes, varintBytes } from '../../proto/tensor/wire-writer.ts';

export class PassedTensor {
  /** The TensorProto is `[start, end)` of `buf`. */
  readonly buf: Buffer;
  readonly start: number;
  readonly end: number;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  readonly dims: readonly number[];

  constructor(buf: Buffer, start: number, end: number, dtype: number, dims: readonly number[]) {
    this.buf = buf;
    this.start = start;
    this.end = end;
    this.dtype = dtype;
    this.dims = dims;
  }
}

/** The tensor of a parsed message whose view lies on a whole TensorProto. */
export function tensorInPlace(buf: Buffer, view: TensorView): PassedTensor {
  return new PassedTensor(buf, view.start, view.end, view.dtype, view.dims.slice(0, view.rank));
}

const TAG_DTYPE = 0x08;
const TAG_SHAPE = 0x12;
const TAG_CONTENT = 0x22;
const TAG_DIM = 0x12;
const TAG_DIM_SIZE = 0x08;
const NO_BYTES = Buffer.alloc(0);

/** The tensor of a view that was filled from another protocol: elements as content, one packed run, or listed strings. */
export function tensorOfView(buf: Buffer, view: TensorView): PassedTensor {
  const dims = view.dims.slice(0, view.rank);
  switch (view.place as (typeof ElementPlace)[keyof typeof ElementPlace]) {
    case Place.content:
      return builtTensor(view.dtype, dims, TAG_CONTENT, buf, view.contentStart, view.contentEnd);
    case Place.packed:
      return builtTensor(view.dtype, dims, dtypeField(view.dtype) * 8 + 2, buf, view.listStart, view.listEnd);
    case Place.scattered:
      // Strings: their list is what fills the view, tags included.
      return builtTensor(view.dtype, dims, 0, buf, view.start, view.end);
    default:
      return builtTensor(view.dtype, dims, 0, NO_BYTES, 0, 0);
  }
}

/** A tensor whose elements lie in memory as `tensor_content` has them; strings as the fields of a `string_val` list. */
export function tensorOfElements(dtype: number, dims: readonly number[], bytes: Buffer): PassedTensor {
  return builtTensor(dtype, dims, dtype === DataType.STRING ? 0 : TAG_CONTENT, bytes, 0, bytes.length);
}

/** `tag` 0: the bytes are fields themselves. */
function builtTensor(
  dtype: number,
  dims: readonly number[],
  tag: number,
  source: Buffer,
  start: number,
  end: number,
): PassedTensor {
  let shape = 0;
  for (const dim of dims) shape += 2 + dimBytes(dim);
  const payload = end - start;
  const head = 2 + 1 + varintBytes(shape) + shape;
  const hasField = tag !== 0 && payload > 0;
  const bytes = head + payload + (hasField ? varintBytes(tag) + varintBytes(payload) : 0);
  const out = Buffer.allocUnsafe(bytes);
  let at = 0;
  out[at++] = TAG_DTYPE;
  out[at++] = dtype;
  out[at++] = TAG_SHAPE;
  at = putVarint(out, at, shape);
  for (const dim of dims) {
    out[at++] = TAG_DIM;
    out[at++] = dimBytes(dim);
    if (dim === 0) continue;
    out[at++] = TAG_DIM_SIZE;
    at = putSafeInt(out, at, dim);
  }
  if (hasField) at = putVarint(out, putVarint(out, at, tag), payload);
  putBytes(out, at, source, start, end);
  return new PassedTensor(out, 0, bytes, dtype, dims);
}

function dimBytes(size: number): number {
  return size === 0 ? 0 : 1 + safeIntBytes(size);
}

/** Bytes a tensor's elements take when all of them are written out; 0 for strings, whose length only they know. */
export function elementBytes({ dtype, dims }: PassedTensor): number {
  return dims.reduce((count, dim) => count * dim, 1) * dtypeBytes(dtype);
}

/** Bytes of the map entries of `tensors` under the names whose key fields are `keys`. */
function entriesBytes(keys: readonly Buffer[], tensors: readonly PassedTensor[]): number {
  let bytes = 0;
  for (let i = 0; i < tensors.length; i++) {
    const entry = entryBytes(keys[i]!, tensors[i]!);
    bytes += 1 + varintBytes(entry) + entry;
  }
  return bytes;
}

function entryBytes(key: Buffer, { start, end }: PassedTensor): number {
  return key.length + 1 + varintBytes(end - start) + end - start;
}

function putEntries(
  out: Buffer,
  at: number,
  tag: number,
  keys: readonly Buffer[],
  tensors: readonly PassedTensor[],
): number {
  for (let i = 0; i < tensors.length; i++) {
    const key = keys[i]!;
    const { buf, start, end } = tensors[i]!;
    out[at++] = tag;
    at = putVarint(out, at, entryBytes(key, tensors[i]!));
    at = putBytes(out, at, key, 0, key.length);
    out[at++] = TAG_MAP_VALUE;
    at = putVarint(out, at, end - start);
    at = putBytes(out, at, buf, start, end);
  }
  return at;
}
const TAG_MAP_VALUE = 0x12;
const TAG_INPUTS = 0x12;
const TAG_OUTPUTS = 0x0a;

/** A PredictRequest with its gRPC prefix. `spec` is its whole `model_spec` field, `keys` the key field of each input. */
export function framedRequest(spec: Buffer, keys: readonly Buffer[], tensors: readonly PassedTensor[]): Buffer {
  const length = spec.length + entriesBytes(keys, tensors);
  const out = Buffer.allocUnsafe(PREFIX_BYTES + length);
  let at = writeMessagePrefix(out, 0, length, false);
  at = putBytes(out, at, spec, 0, spec.length);
  putEntries(out, at, TAG_INPUTS, keys, tensors);
  return out;
}

/** A PredictResponse with its gRPC prefix. */
export function framedResponse(spec: Buffer, keys: readonly Buffer[], tensors: readonly PassedTensor[]): Buffer {
  const length = spec.length + entriesBytes(keys, tensors);
  const out = Buffer.allocUnsafe(PREFIX_BYTES + length);
  let at = writeMessagePrefix(out, 0, length, false);
  at = putEntries(out, at, TAG_OUTPUTS, keys, tensors);
  putBytes(out, at, spec, 0, spec.length);
  return out;
}
