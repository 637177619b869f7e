/**
 * Memory of lines already parsed: a line with the same octets means the same thing, so its strings are made once. A hit
 * also replaces validation, since only valid lines are remembered. Direct-mapped by a hash of a few octets; each entry
 * keeps the octets and compares them whole.
 */

/** Lines longer than this are not remembered. */
export const CACHED_LINE_BYTES = 256;

class CachedLine<T> {
  hash: number;
  bytes: Uint8Array;
  meaning: T;

  constructor(hash: number, bytes: Uint8Array, meaning: T) {
    this.hash = hash;
    this.bytes = bytes;
    this.meaning = meaning;
  }
}

/** At most `slots` lines (a power of two). A line must come twice to displace another. */
export class LineCache<T> {
  private readonly slots: (CachedLine<T> | null)[];
  private readonly challengers: Int32Array;
  private readonly mask: number;

  constructor(slots: number) {
    this.slots = new Array<CachedLine<T> | null>(slots).fill(null);
    this.challengers = new Int32Array(slots);
    this.mask = slots - 1;
  }

  /** The meaning of buffer[start, end), or null. `hash` is hashLine of it. */
  find(buffer: Buffer, start: number, end: number, hash: number): T | null {
    const entry = this.slots[hash & this.mask]!;
    if (entry === null || entry.hash !== hash) return null;
    const { bytes } = entry;
    const { length } = bytes;
    if (length !== end - start) return null;
    for (let i = 0; i < length; i++) if (bytes[i] !== buffer[start + i]) return null;
    return entry.meaning;
  }

  /** Whether `record` would take this line now; says no to the first challenge of a taken place. */
  admits(start: number, end: number, hash: number): boolean {
    if (end - start > CACHED_LINE_BYTES) return false;
    const slot = hash & this.mask;
    if (this.slots[slot] === null || this.challengers[slot] === hash) return true;
    this.challengers[slot] = hash;
    return false;
  }

  record(buffer: Buffer, start: number, end: number, hash: number, meaning: T): void {
    const bytes = Uint8Array.prototype.slice.call(buffer, start, end);
    this.slots[hash & this.mask] = new CachedLine(hash, bytes, meaning);
  }
}

/** A 32-bit hash of a line's length and eight of its octets. Not keyed: collisions only cost cache entries. */
export function hashLine(buffer: Buffer, start: number, end: number): number {
  const length = end - start;
  if (length < 8) return shortHash(buffer, start, end);
  const middle = start + (length >>> 1);
  const head = buffer[start]! | (buffer[start + 3]! << 8) | (buffer[start + 5]! << 16) | (buffer[middle]! << 24);
  const tail = buffer[end - 1]! | (buffer[end - 2]! << 8) | (buffer[end - 3]! << 16) | (buffer[end - 5]! << 24);
  let hash = Math.imul(length ^ head, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15) ^ tail, 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

function shortHash(buffer: Buffer, start: number, end: number): number {
  let hash = end - start;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ buffer[i]!, 0x01000193);
  return hash ^ (hash >>> 13);
}
