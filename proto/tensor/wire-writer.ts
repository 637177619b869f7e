/**
 * Writes the protobuf wire format at an offset of a Buffer. Every `put...` returns the offset behind what it wrote and
 * needs the room to be there: callers compute exact sizes first with the `...Bytes` functions.
 */

/** Bytes of an unsigned 32-bit varint: 1 to 5. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  return value < 0x10000000 ? 4 : 5;
}

/** Bytes of a 64-bit varint given as halves: 1 to 10. */
export function varint64Bytes(lo: number, hi: number): number {
  const high = hi >>> 0;
  if (high === 0) return varintBytes(lo >>> 0);
  // 35 bits fill five bytes; three of the high half are among them.
  const rest = high >>> 3;
  return rest === 0 ? 5 : 5 + varintBytes(rest);
}

/** Bytes of an int32 as a varint: negative ones are sign-extended to ten. */
export function int32Bytes(value: number): number {
  return value < 0 ? 10 : varintBytes(value);
}

/** Writes an unsigned 32-bit varint. */
export function putVarint(buf: Buffer, offset: number, value: number): number {
  while (value >= 0x80) {
    buf[offset++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  buf[offset++] = value;
  return offset;
}

/** Writes a 64-bit varint given as halves. */
export function putVarint64(buf: Buffer, offset: number, lo: number, hi: number): number {
  let low = lo >>> 0;
  let high = hi >>> 0;
  while (high !== 0) {
    buf[offset++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  return putVarint(buf, offset, low);
}

/** Writes an int32 as protobuf does: negative values take ten bytes. */
export function putInt32(buf: Buffer, offset: number, value: number): number {
  return value < 0 ? putVarint64(buf, offset, value, -1) : putVarint(buf, offset, value);
}

/** Bytes of an int64 given as a number (safe integers only). */
export function safeIntBytes(value: number): number {
  return value < 0x80 && value >= 0 ? 1 : varint64Bytes(value | 0, Math.floor(value / 4294967296));
}

/** Writes an int64 given as a number (safe integers only). */
export function putSafeInt(buf: Buffer, offset: number, value: number): number {
  // `| 0` keeps the low 32 bits of any safe integer; the floor of the quotient is the two's complement high half.
  return putVarint64(buf, offset, value | 0, Math.floor(value / 4294967296));
}

/** Copies bytes by hand when they are few, natively otherwise. */
export function putBytes(buf: Buffer, offset: number, source: Buffer, start: number, end: number): number {
  if (end - start > 48) {
    source.copy(buf, offset, start, end);
    return offset + end - start;
  }
  for (let i = start; i < end; i++) buf[offset++] = source[i];
  return offset;
}
