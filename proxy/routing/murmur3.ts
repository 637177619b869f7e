/**
 * MurmurHash3 (x86, 32 bit) over a string's UTF-16 code units taken as bytes (headers are latin1), for splits that
 * keep a caller on one side and for sampling that two processes agree on.
 */

/** The hash as an unsigned 32-bit number. */
export function murmur3(text: string, seed: number): number {
  const { length } = text;
  const blocks = length & ~3;
  let h = seed | 0;
  for (let i = 0; i < blocks; i += 4) {
    const block =
      (text.charCodeAt(i) & 0xff) |
      ((text.charCodeAt(i + 1) & 0xff) << 8) |
      ((text.charCodeAt(i + 2) & 0xff) << 16) |
      ((text.charCodeAt(i + 3) & 0xff) << 24);
    h = withBlock(h, block);
  }
  let tail = 0;
  for (let i = length - 1; i >= blocks; i--) tail = (tail << 8) | (text.charCodeAt(i) & 0xff);
  return finished(h, tail, length);
}

/** Bytes of a message that its hash covers; its length counts too. */
export const HASHED_BYTES: number = 64 * 1024;

/** The same hash of bytes: of the first 64 KiB, seeded with the length, so that a large message costs no more. */
export function murmur3Bytes(bytes: Uint8Array, end: number, seed: number): number {
  const length = Math.min(end, HASHED_BYTES);
  const blocks = length & ~3;
  let h = (seed ^ end) | 0;
  for (let i = 0; i < blocks; i += 4) {
    h = withBlock(h, bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
  }
  let tail = 0;
  for (let i = length - 1; i >= blocks; i--) tail = (tail << 8) | bytes[i]!;
  return finished(h, tail, length);
}

/** Where a message falls in hundredths of a percent, 0..9999, under this salt. */
export function hashMessage(salt: string, bytes: Uint8Array, end: number): number {
  return murmur3Bytes(bytes, end, murmur3(salt, 0)) % 10_000;
}

/** Where `key` falls in hundredths of a percent, 0..9999, under this salt. */
export function hashHundredths(salt: string, key: string): number {
  return murmur3(key, murmur3(salt, 0)) % 10_000;
}

/** Mixes in four bytes, the first one lowest. */
function withBlock(h: number, block: number): number {
  const mixed = h ^ scrambled(block);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

/** Mixes in the up to three bytes that are left (0 where none is) and the length. */
function finished(h: number, tail: number, length: number): number {
  let f = h ^ scrambled(tail) ^ length;
  f ^= f >>> 16;
  f = Math.imul(f, 0x85ebca6b);
  f ^= f >>> 13;
  f = Math.imul(f, 0xc2b2ae35);
  f ^= f >>> 16;
  return f >>> 0;
}

function scrambled(block: number): number {
  const k = Math.imul(block, 0xcc9e2d51);
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593);
}
