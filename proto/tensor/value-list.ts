/** The payloads of `*_val` lists: exact sizes first, then bytes. */
import { type ElementArray, ValueForm } from './dtype.ts';
import { elementBits } from './element-bits.ts';
import { int32Bytes, putInt32, putVarint, putVarint64, varint64Bytes, varintBytes } from './wire-writer.ts';

/** Stands where no data is. */
export const EMPTY_DATA: readonly string[] = [];

const TAG_STRING_VAL = 0x42;

/** Bytes of elements `[from, from + count)` as a packed list of varints or bools. */
export function listPayloadBytes(form: number, data: ElementArray, from: number, count: number): number {
  if (form === ValueForm.bool) return count;
  let bytes = 0;
  if (data.BYTES_PER_ELEMENT === 8) {
    const cells = elementBits(data).cells;
    for (let i = from * 2; i < (from + count) * 2; i += 2) bytes += varint64Bytes(cells[i], cells[i + 1]);
    return bytes;
  }
  const numbers = asNumbers(data);
  for (let i = from; i < from + count; i++) bytes += int32Bytes(numbers[i]);
  return bytes;
}

/** Writes what `listPayloadBytes` counted. */
export function putListPayload(
  buf: Buffer,
  offset: number,
  form: number,
  data: ElementArray,
  from: number,
  count: number,
): number {
  if (form === ValueForm.bool) {
    const { cells } = elementBits(data);
    for (let i = from; i < from + count; i++) buf[offset++] = cells[i] !== 0 ? 1 : 0;
    return offset;
  }
  if (data.BYTES_PER_ELEMENT === 8) {
    const { cells } = elementBits(data);
    for (let i = from * 2; i < (from + count) * 2; i += 2) offset = putVarint64(buf, offset, cells[i], cells[i + 1]);
    return offset;
  }
  const numbers = asNumbers(data);
  for (let i = from; i < from + count; i++) offset = putInt32(buf, offset, numbers[i]);
  return offset;
}

/** Integers keep their own array, for its sign; anything else of 2 bytes is half bits. */
function asNumbers(data: ElementArray): ArrayLike<number> {
  if (data instanceof Int32Array || data instanceof Uint32Array || data instanceof Int8Array) return data;
  if (data instanceof Int16Array || data instanceof Uint8Array) return data;
  return elementBits(data).cells;
}

/** Bytes of a `string_val` list, tags and lengths included. */
export function stringsBytes(data: readonly string[], from: number, count: number): number {
  let bytes = 0;
  for (let i = from; i < from + count; i++) {
    const length = Buffer.byteLength(data[i]);
    bytes += 1 + varintBytes(length) + length;
  }
  return bytes;
}

export function putStrings(buf: Buffer, offset: number, data: readonly string[], from: number, count: number): number {
  for (let i = from; i < from + count; i++) {
    buf[offset++] = TAG_STRING_VAL;
    offset = putVarint(buf, offset, Buffer.byteLength(data[i]));
    offset += buf.write(data[i], offset);
  }
  return offset;
}

/** Bytes of a string `tensor_content`: all lengths, then all bytes. */
export function stringContentBytes(data: readonly string[], from: number, count: number): number {
  return stringsBytes(data, from, count) - count;
}

export function putStringContent(
  buf: Buffer,
  offset: number,
  data: readonly string[],
  from: number,
  count: number,
): number {
  for (let i = from; i < from + count; i++) offset = putVarint(buf, offset, Buffer.byteLength(data[i]));
  for (let i = from; i < from + count; i++) offset += buf.write(data[i], offset);
  return offset;
}
