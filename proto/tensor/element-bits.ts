/**
 * Typed arrays seen as bits. The wire carries little-endian bytes and 32-bit halves, so elements are moved as such:
 * no BigInt is made, and no NaN changes its payload on the way.
 */
import { endianness } from 'node:os';
import { assert } from '../../base/assert.ts';
import type { ElementArray } from './dtype.ts';

assert(endianness() === 'LE', 'tensors are copied as they lie in memory, which needs a little-endian machine');

export interface ElementBits {
  /** All bytes of the array. */
  readonly bytes: Buffer;
  /** One cell per element, two for 8-byte elements (low half first). */
  readonly cells: Uint8Array | Uint16Array | Int32Array;
}

/** Views by array; they share its memory, shared memory included, and go when it goes. */
const views = new WeakMap<ElementArray, ElementBits>();

export function elementBits(array: ElementArray): ElementBits {
  const known = views.get(array);
  if (known !== undefined) return known;
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  const bits = { bytes, cells: cellsOf(array) };
  views.set(array, bits);
  return bits;
}

function cellsOf(array: ElementArray): Uint8Array | Uint16Array | Int32Array {
  const { buffer, byteOffset, byteLength } = array;
  switch (array.BYTES_PER_ELEMENT) {
    case 1:
      return new Uint8Array(buffer, byteOffset, byteLength);
    case 2:
      return new Uint16Array(buffer, byteOffset, byteLength >>> 1);
    default:
      return new Int32Array(buffer, byteOffset, byteLength >>> 2);
  }
}
