/**
 * MurmurHash3 (x86, 32 bit) over a string's UTF-16 code units taken as bytes (headers are latin1), for splits that
 * keep a caller on one side and for sampling that two processes agree on.
 */

/** The hash as an unsigned 32-bit number. */
export function murmur3(text: string, seed: number): number {
  const c1 = 0xcc9e2d51;
  const c2 = 0x1b873593;
  const { length } = text;
  const blocks = length & ~3;
  let h = seed | 0;
  for (let i = 0; i < blocks; i += 4) {
    let k =
      (text.charCodeAt(i) & 0xff) |
      ((text.charCodeAt(i + 1) & 0xff) << 8) |
      ((text.charCodeAt(i + 2) & 0xff) << 16) |
      ((text.charCodeAt(i + 3) & 0xff) << 24);
    k = Math.imul(k, c1);
    k = (k << 15) | (k >>> 17);
    h ^= Math.imul(k, c2);
    h = (h << 13) | (h >>> 19);
    h = (Math.imul(h, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let i = length - 1; i >= blocks; i--) tail = (tail << 8) | (text.charCodeAt(i) & 0xff);
  if (length > blocks) {
    tail = Math.imul(tail, c1);
    tail = (tail << 15) | (tail >>> 17);
    h ^= Math.imul(tail, c2);
  }
  h ^= length;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return h >>> 0;
}

/** Bytes of a message that its hash covers; its length counts too. */
export const HASHED_BYTES: number = 64 * 1024;

/** The same hash of bytes: of the first 64 KiB, seeded with the length, so that a large message costs no more. */
export function murmur3Bytes(bytes: Uint8Array, end: number, seed: number): number {
  const length = Math.min(end, HASHED_BYTES);
  const blocks = length & ~3;
  let h = (seed ^ end) | 0;
  for (let i = 0; i < blocks; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    k = Math.imul(k, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    h ^= Math.imul(k, 0x1b873593);
    h = (h << 13) | (h >>> 19);
    h = (Math.imul(h, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let i = length - 1; i >= blocks; i--) tail = (tail << 8) | bytes[i]!;
  if (length > blocks) {
    tail = Math.imul(tail, 0xcc9e2d51);
    tail = (tail << 15) | (tail >>> 17);
    h ^= Math.imul(tail, 0x1b873593);
  }
  h ^= length;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  h ^= h >>> 16;
  return h >>> 0;
}

/** Where a message falls in hundredths of a percent, 0..9999, under this salt. */
export function hashMessage(salt: string, bytes: Uint8Array, end: number): number {
  return murmur3Bytes(bytes, end, murmur3(salt, 0)) % 10_000;
}

/** Where `key` falls in hundredths of a percent, 0..9999, under this salt. */
export function hashHundredths(salt: string, key: string): number {
  return murmur3(key, murmur3(salt, 0)) % 10_000;
}
