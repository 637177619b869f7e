/**
 * Writes PredictRequest and PredictResponse messages straight into a Buffer at an offset.
 *
 * Two passes: `add` computes the exact size of each tensor, `write` fills exactly `byteLength` bytes. The data must not
 * change between the two. Nothing is allocated per message once as many slots exist as a message has tensors.
 */
import { assert } from '../../base/assert.ts';
import { dtypeBytes, dtypeField, dtypeForm, type ElementArray, ValueForm } from './dtype.ts';
import { elementBits } from './element-bits.ts';
import {
  EMPTY_DATA,
  listPayloadBytes,
  putListPayload,
  putStringContent,
  putStrings,
  stringContentBytes,
  stringsBytes,
} from './value-list.ts';
import { putBytes, putSafeInt, putVarint, safeIntBytes, varintBytes } from './wire-writer.ts';

export type TensorData = ElementArray | readonly string[];

const TAG_DTYPE = 0x08;
const TAG_SHAPE = 0x12;
const TAG_CONTENT = 0x22;
const TAG_MAP_VALUE = 0x12;
const EMPTY = Buffer.alloc(0);

/** What is known of one tensor between `add` and `write`. */
class TensorSlot {
  key: Buffer = EMPTY;
  dtype = 0;
  dims: readonly number[] = [];
  rows = -1;
  data: TensorData = EMPTY_DATA;
  from = 0;
  count = 0;
  /** Bytes of the shape message, of the elements without tag and length, of the TensorProto, of the map entry. */
  shapeBytes = 0;
  payloadBytes = 0;
  tensorBytes = 0;
  entryBytes = 0;
}

export class PredictMessageWriter {
  /** Exact size of the message begun so far. */
  byteLength = 0;
  private readonly isRequest: boolean;
  /** As `tensor_content` instead of the type's `*_val` list. */
  private readonly asContent: boolean;
  private readonly slots: TensorSlot[] = [];
  private slotCount = 0;
  private modelSpecField: Buffer = EMPTY;

  /** `asContent`: TensorFlow Serving's `--enable_serialization_as_tensor_content`; the default there is false. */
  constructor(message: 'request' | 'response', asContent = false) {
    this.isRequest = message === 'request';
    this.asContent = asContent;
  }

  /** Starts a message. `modelSpecField` is a whole field from `modelSpecField()`, or empty to leave it out. */
  begin(modelSpecField: Buffer): void {
    this.modelSpecField = modelSpecField;
    this.slotCount = 0;
    this.byteLength = modelSpecField.length;
  }

  /**
   * Adds a tensor: elements `[from, from + count)` of `data`, shape `dims` with its first dimension replaced by `rows`
   * where `rows` is not negative. `key` comes from `tensorKey()`. Dimensions must multiply to `count`.
   */
  add(
    key: Buffer,
    dtype: number,
    dims: readonly number[],
    rows: number,
    data: TensorData,
    from: number,
    count: number,
  ): void {
    if (this.slotCount === this.slots.length) this.slots.push(new TensorSlot());
    const slot = this.slots[this.slotCount++];
    slot.key = key;
    slot.dtype = dtype;
    slot.dims = dims;
    slot.rows = rows;
    slot.data = data;
    slot.from = from;
    slot.count = count;
    slot.shapeBytes = shapeBytes(dims, rows);
    slot.payloadBytes = count === 0 ? 0 : this.payloadBytes(slot);
    slot.tensorBytes = 2 + 1 + varintBytes(slot.shapeBytes) + slot.shapeBytes + this.valueBytes(slot);
    slot.entryBytes = key.length + 1 + varintBytes(slot.tensorBytes) + slot.tensorBytes;
    this.byteLength += 1 + varintBytes(slot.entryBytes) + slot.entryBytes;
  }

  /** Writes the message at `offset` and returns the offset behind it: `offset + byteLength`. Lets go of the data. */
  write(buf: Buffer, offset: number): number {
    const end = offset + this.byteLength;
    assert(end <= buf.length, 'the message does not fit the buffer');
    const spec = this.modelSpecField;
    // In field order: a request names its model first, where whoever routes it finds it at once.
    if (this.isRequest) offset = putBytes(buf, offset, spec, 0, spec.length);
    for (let i = 0; i < this.slotCount; i++) {
      const slot = this.slots[i];
      buf[offset++] = this.isRequest ? 0x12 : 0x0a;
      offset = putVarint(buf, offset, slot.entryBytes);
      offset = putBytes(buf, offset, slot.key, 0, slot.key.length);
      buf[offset++] = TAG_MAP_VALUE;
      offset = putVarint(buf, offset, slot.tensorBytes);
      offset = this.putTensor(buf, offset, slot);
      slot.data = EMPTY_DATA;
    }
    if (!this.isRequest) offset = putBytes(buf, offset, spec, 0, spec.length);
    assert(offset === end, 'the message is not as long as computed');
    return offset;
  }

  private putTensor(buf: Buffer, offset: number, slot: TensorSlot): number {
    buf[offset++] = TAG_DTYPE;
    buf[offset++] = slot.dtype;
    buf[offset++] = TAG_SHAPE;
    offset = putVarint(buf, offset, slot.shapeBytes);
    offset = putShape(buf, offset, slot.dims, slot.rows);
    if (slot.count === 0) return offset;
    const form = dtypeForm(slot.dtype);
    if (form === ValueForm.strings && !this.asContent) {
      return putStrings(buf, offset, slot.data as readonly string[], slot.from, slot.count);
    }
    offset = putVarint(buf, offset, this.asContent ? TAG_CONTENT : dtypeField(slot.dtype) * 8 + 2);
    offset = putVarint(buf, offset, slot.payloadBytes);
    if (form === ValueForm.strings)
      return putStringContent(buf, offset, slot.data as readonly string[], slot.from, slot.count);
    const data = slot.data as ElementArray;
    if (!this.asContent && form !== ValueForm.fixed)
      return putListPayload(buf, offset, form, data, slot.from, slot.count);
    const size = dtypeBytes(slot.dtype);
    return putBytes(buf, offset, elementBits(data).bytes, slot.from * size, (slot.from + slot.count) * size);
  }

  private payloadBytes(slot: TensorSlot): number {
    const form = dtypeForm(slot.dtype);
    assert(form !== ValueForm.none, 'the type cannot be written');
    if (form === ValueForm.strings) {
      const strings = slot.data as readonly string[];
      return this.asContent
        ? stringContentBytes(strings, slot.from, slot.count)
        : stringsBytes(strings, slot.from, slot.count);
    }
    const data = slot.data as ElementArray;
    const size = dtypeBytes(slot.dtype);
    assert(data.BYTES_PER_ELEMENT === size, 'the data has elements of another size');
    assert(slot.from + slot.count <= data.length, 'the data is shorter than the tensor');
    if (this.asContent || form === ValueForm.fixed) return slot.count * size;
    return listPayloadBytes(form, data, slot.from, slot.count);
  }

  /** Tag, length and payload of the elements. */
  private valueBytes(slot: TensorSlot): number {
    if (slot.count === 0) return 0;
    if (dtypeForm(slot.dtype) === ValueForm.strings && !this.asContent) return slot.payloadBytes;
    const tagBytes = !this.asContent && dtypeField(slot.dtype) > 15 ? 2 : 1;
    return tagBytes + varintBytes(slot.payloadBytes) + slot.payloadBytes;
  }
}

function dimBytes(size: number): number {
  return size === 0 ? 0 : 1 + safeIntBytes(size);
}

function shapeBytes(dims: readonly number[], rows: number): number {
  let bytes = 0;
  for (let i = 0; i < dims.length; i++) bytes += 2 + dimBytes(i === 0 && rows >= 0 ? rows : dims[i]);
  return bytes;
}

function putShape(buf: Buffer, offset: number, dims: readonly number[], rows: number): number {
  for (let i = 0; i < dims.length; i++) {
    const size = i === 0 && rows >= 0 ? rows : dims[i];
    buf[offset++] = 0x12;
    buf[offset++] = dimBytes(size);
    if (size === 0) continue;
    buf[offset++] = 0x08;
    offset = putSafeInt(buf, offset, size);
  }
  return offset;
}

/** The key field of a tensor's map entry; make it once per name. */
export function tensorKey(name: string): Buffer {
  const length = Buffer.byteLength(name);
  const key = Buffer.alloc(1 + varintBytes(length) + length);
  key[0] = 0x0a;
  key.write(name, putVarint(key, 1, length));
  return key;
}

/**
 * A whole model_spec field (tag, length, message) for field number `field`: 1 in requests, 2 in Predict responses.
 * Make it once per servable and signature. `version` null and empty strings are left out.
 */
export function modelSpecField(field: 1 | 2, name: string, version: bigint | null, signatureName: string): Buffer {
  const parts: Buffer[] = [];
  if (name !== '') parts.push(tensorKey(name));
  if (version !== null) parts.push(versionField(version));
  if (signatureName !== '') {
    const signature = tensorKey(signatureName);
    signature[0] = 0x1a;
    parts.push(signature);
  }
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(1 + varintBytes(body.length));
  head[0] = field * 8 + 2;
  putVarint(head, 1, body.length);
  return Buffer.concat([head, body]);
}

function versionField(version: bigint): Buffer {
  const scratch = Buffer.alloc(13);
  scratch[0] = 0x12;
  if (version === 0n) return scratch.subarray(0, 2);
  scratch[2] = 0x08;
  let offset = 3;
  for (let rest = BigInt.asUintN(64, version); ; rest >>= 7n) {
    const bits = Number(rest & 0x7fn);
    if (rest < 0x80n) {
      scratch[offset++] = bits;
      break;
    }
    scratch[offset++] = bits | 0x80;
  }
  scratch[1] = offset - 2;
  return scratch.subarray(0, offset);
}
