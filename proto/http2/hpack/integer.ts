// Owns prefixed integers (RFC 7541 section 5.1). Values stay within 31 bits and five continuation octets, which is more
// than any length, index or table size we accept, so arithmetic never leaves exact integers.

import { HpackError } from './hpack-error.ts';

/** The largest value read or written. */
export const INTEGER_MAX = 0x7fffffff;

/** The largest number of octets writeInteger produces. */
export const INTEGER_MAX_BYTES = 6;

/** A position inside a block that readers move forward; `end` is exclusive. */
export interface ByteCursor {
  bytes: Buffer;
  position: number;
  end: number;
}

/**
 * Reads an integer whose prefix is the low bits of the octet at the cursor. `prefixMask` is 2^N - 1.
 * Throws HpackError if it is cut off or exceeds the limits above.
 */
export function readInteger(cursor: ByteCursor, prefixMask: number): number {
  if (cursor.position >= cursor.end) throw new HpackError('hpack_truncated');
  const prefix = cursor.bytes[cursor.position++]! & prefixMask;
  return prefix < prefixMask ? prefix : readContinuation(cursor, prefix);
}

/**
 * Writes `value` at `offset` with `flags` in the bits above the prefix and returns the offset after it. The caller has
 * made sure that INTEGER_MAX_BYTES octets are free.
 */
export function writeInteger(out: Buffer, offset: number, flags: number, prefixMask: number, value: number): number {
  if (value < prefixMask) {
    out[offset] = flags | value;
    return offset + 1;
  }
  out[offset++] = flags | prefixMask;
  value -= prefixMask;
  while (value >= 0x80) {
    out[offset++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  out[offset] = value;
  return offset + 1;
}

function readContinuation(cursor: ByteCursor, value: number): number {
  let scale = 1;
  for (let octets = 0; octets < 5; octets++) {
    if (cursor.position >= cursor.end) throw new HpackError('hpack_truncated');
    const octet = cursor.bytes[cursor.position++]!;
    value += (octet & 0x7f) * scale;
    if (value > INTEGER_MAX) throw new HpackError('hpack_integer_overflow');
    if (octet < 0x80) return value;
    scale *= 0x80;
  }
  throw new HpackError('hpack_integer_overflow');
}
