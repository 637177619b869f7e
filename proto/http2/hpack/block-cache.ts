// Owns the memory of decoded blocks: clients repeat themselves, and a block with the same octets under the same dynamic
// table means the same list. Direct-mapped by a hash of the octets; each entry keeps the octets and compares them whole.

import type { HeaderList } from '../header-list.ts';

/** Blocks longer than this are not remembered. */
export const CACHED_BLOCK_BYTES = 512;

/** The generation of a block that refers to no dynamic entry: it means the same under every table. */
export const ANY_GENERATION = -1;

class CachedBlock {
  hash: number;
  generation: number;
  bytes: Uint8Array;
  list: HeaderList;

  constructor(hash: number, generation: number, bytes: Uint8Array, list: HeaderList) {
    this.hash = hash;
    this.generation = generation;
    this.bytes = bytes;
    this.list = list;
  }
}

/** At most `entries` decoded blocks (rounded up to a power of two) of at most CACHED_BLOCK_BYTES each. */
export class BlockCache {
  private readonly slots: (CachedBlock | null)[];
  /** Per slot, the hash that last asked to replace a living entry: a block must come twice to displace another. */
  private readonly challengers: Int32Array;
  private readonly mask: number;

  constructor(entries: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(1, entries)));
    this.slots = new Array<CachedBlock | null>(size).fill(null);
    this.challengers = new Int32Array(size);
    this.mask = size - 1;
  }

  /** The list for these octets under table state `generation`, or null. `hash` is hashBlock of the octets. */
  find(block: Buffer, start: number, end: number, hash: number, generation: number): HeaderList | null {
    const entry = this.slots[hash & this.mask]!;
    if (entry === null || entry.hash !== hash) return null;
    if (entry.generation !== generation && entry.generation !== ANY_GENERATION) return null;
    const bytes = entry.bytes;
    const length = end - start;
    if (bytes.length !== length) return null;
    for (let i = 0; i < length; i++) {
      if (bytes[i] !== block[start + i]) return null;
    }
    return entry.list;
  }

  /** Remembers a decoded block, unless its place is taken by a living one that this block challenges for the first time. */
  record(block: Buffer, start: number, end: number, hash: number, generation: number, list: HeaderList): void {
    const slot = hash & this.mask;
    const entry = this.slots[slot]!;
    if (entry === null) {
      this.slots[slot] = new CachedBlock(hash, generation, Uint8Array.prototype.slice.call(block, start, end), list);
      return;
    }
    const living = entry.generation === generation || entry.generation === ANY_GENERATION;
    if (living && entry.hash !== hash && this.challengers[slot] !== hash) {
      this.challengers[slot] = hash;
      return;
    }
    entry.hash = hash;
    entry.generation = generation;
    entry.bytes = Uint8Array.prototype.slice.call(block, start, end);
    entry.list = list;
  }
}

/** A 32-bit hash of block[start, end). Not keyed: a peer that makes collisions only loses its own cache entries. */
export function hashBlock(block: Buffer, start: number, end: number): number {
  let hash = end - start;
  let i = start;
  for (const last = end - 3; i < last; i += 4) {
    const word = block[i]! | (block[i + 1]! << 8) | (block[i + 2]! << 16) | (block[i + 3]! << 24);
    hash = Math.imul(hash ^ word, 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  for (; i < end; i++) hash = Math.imul(hash ^ block[i]!, 0x01000193);
  return hash ^ (hash >>> 13);
}
