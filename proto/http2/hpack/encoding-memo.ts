// Owns an encoder's memory of lists whose own place for an encoding belongs to another encoder: lists of a repeating
// caller are sent over several upstream connections in turn. Direct-mapped by the list's serial number; a collision
// costs one more encoding.

import type { HeaderList } from '../header-list.ts';

/** The generation of an encoding that refers to no dynamic entry: it stays right whatever the table holds. */
export const ANY_GENERATION = -1;

const SLOTS = 64;

class Encoding {
  list: HeaderList;
  generation: number;
  bytes: Buffer;

  constructor(list: HeaderList, generation: number, bytes: Buffer) {
    this.list = list;
    this.generation = generation;
    this.bytes = bytes;
  }
}

/** At most 64 encodings, each holding its list alive until its place is taken. */
export class EncodingMemo {
  private readonly slots = new Array<Encoding | null>(SLOTS).fill(null);

  /** The encoding of this very list under table state `generation`, or null. */
  find(list: HeaderList, generation: number): Buffer | null {
    const entry = this.slots[list.serial & (SLOTS - 1)]!;
    if (entry === null || entry.list !== list) return null;
    return entry.generation === generation || entry.generation === ANY_GENERATION ? entry.bytes : null;
  }

  record(list: HeaderList, generation: number, bytes: Buffer): void {
    const slot = list.serial & (SLOTS - 1);
    const entry = this.slots[slot]!;
    if (entry === null) {
      this.slots[slot] = new Encoding(list, generation, bytes);
      return;
    }
    entry.list = list;
    entry.generation = generation;
    entry.bytes = bytes;
  }
}
