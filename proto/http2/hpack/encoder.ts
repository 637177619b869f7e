// Owns the writing half of a connection's compression context (RFC 7541 sections 4.2 and 6). Blocks must be sent in the
// order they were encoded, each exactly as often as `encode` answered it.

import type { HeaderList } from '../header-list.ts';
import { ANY_GENERATION, EncodingMemo } from './encoding-memo.ts';
import { encodeHuffman, huffmanBytes } from './huffman.ts';
import { INDEX, IndexingPolicy, NEVER } from './indexing-policy.ts';
import { INTEGER_MAX_BYTES, writeInteger } from './integer.ts';
import { writeLatin1 } from './latin1.ts';
import { LookupTable } from './lookup-table.ts';
import { STATIC_BY_NAME, STATIC_COUNT } from './static-table.ts';

/** The table size both sides start from (RFC 9113 section 6.5.2). */
const INITIAL_TABLE_BYTES = 4096;
const NO_UPDATE = -1;
/** Encoded blocks are cut from slabs of this size; larger blocks get memory of their own. */
const SLAB_BYTES = 16384;
const SLAB_BLOCK_BYTES = 4096;
const BEYOND_LATIN1 = /[^\0-\xff]/g;

// One slab for all encoders of the thread: what has been cut from it is never written again.
let slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
let slabUsed = 0;

/** Encodes the header lists of one connection, in the order they are sent. */
export class HpackEncoder {
  private readonly table: LookupTable;
  private readonly policy: IndexingPolicy;
  /** The most memory we give the table, whatever the peer allows. */
  private readonly ownLimit: number;
  /** The smallest size since the last block, to be announced at the start of the next; NO_UPDATE if none is due. */
  private pendingSmallest: number;
  /** Encodings of lists that another encoder has claimed; made when the first such list comes. */
  private memo: EncodingMemo | null;
  // The block being written.
  private out: Buffer;
  private offset: number;
  private usedDynamic: boolean;

  /** `maxTableSize` bounds our table in bytes, whatever the peer allows; default 4096. */
  constructor(options?: { maxTableSize?: number }) {
    this.ownLimit = options?.maxTableSize ?? INITIAL_TABLE_BYTES;
    const initial = Math.min(this.ownLimit, INITIAL_TABLE_BYTES);
    this.table = new LookupTable(initial);
    this.policy = new IndexingPolicy();
    this.pendingSmallest = initial < INITIAL_TABLE_BYTES ? initial : NO_UPDATE;
    this.memo = null;
    this.out = slab;
    this.offset = 0;
    this.usedDynamic = false;
  }

  /**
   * The peer's SETTINGS_HEADER_TABLE_SIZE in bytes. Applies at once; the next block announces it, with the smallest
   * size passed through if that differs (section 4.2).
   */
  setPeerMaxTableSize(size: number): void {
    const maxSize = Math.min(size, this.ownLimit);
    if (maxSize === this.table.maxSize) return;
    const smallest = this.pendingSmallest === NO_UPDATE ? maxSize : Math.min(this.pendingSmallest, maxSize);
    this.pendingSmallest = smallest;
    this.table.resize(maxSize);
  }

  /**
   * The header block for `list`, not to be mutated. It is remembered (on the list by its first encoder, by any other
   * encoder in a bounded memo of its own) and answered again while this encoder's table stands as it did. Never-indexed fields stay so (section 6.2.3). Characters beyond latin1, which
   * no decoded list holds, are sent as '?'.
   */
  encode(list: HeaderList): Buffer {
    if (this.pendingSmallest === NO_UPDATE) {
      if (list.encodedBy === this) {
        const generation = list.encodedGeneration;
        if (generation === this.table.generation || generation === ANY_GENERATION) return list.encodedBytes!;
      } else if (this.memo !== null) {
        const known = this.memo.find(list, this.table.generation);
        if (known !== null) return known;
      }
    }
    return this.encodeFields(list);
  }

  private encodeFields(list: HeaderList): Buffer {
    const generation = this.table.generation;
    const updating = this.pendingSmallest !== NO_UPDATE;
    // The 32 octets that listSize counts per field cover the representation's own octets.
    const start = this.reserve(list.listSize + 2 * INTEGER_MAX_BYTES);
    this.usedDynamic = false;
    if (updating) this.writeTableUpdates();
    const names = list.names;
    const values = list.values;
    const sensitive = list.sensitive;
    for (let i = 0; i < names.length; i++) {
      this.writeField(names[i]!, values[i]!, sensitive && list.isNeverIndexed(i));
    }
    const block = this.out.subarray(start, this.offset);
    if (this.out === slab) slabUsed = this.offset;
    if (!updating && this.table.generation === generation) {
      this.remember(list, this.usedDynamic ? generation : ANY_GENERATION, block);
    }
    return block;
  }

  private remember(list: HeaderList, generation: number, block: Buffer): void {
    if (list.encodedBy === null || list.encodedBy === this) {
      list.encodedBy = this;
      list.encodedGeneration = generation;
      list.encodedBytes = block;
      return;
    }
    this.memo ??= new EncodingMemo();
    this.memo.record(list, generation, block);
  }

  private reserve(bytes: number): number {
    if (bytes > SLAB_BLOCK_BYTES) {
      this.out = Buffer.allocUnsafeSlow(bytes);
      this.offset = 0;
      return 0;
    }
    if (slabUsed + bytes > SLAB_BYTES) {
      slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      slabUsed = 0;
    }
    this.out = slab;
    this.offset = slabUsed;
    return slabUsed;
  }

  private writeTableUpdates(): void {
    if (this.pendingSmallest < this.table.maxSize) {
      this.offset = writeInteger(this.out, this.offset, 0x20, 0x1f, this.pendingSmallest);
    }
    this.offset = writeInteger(this.out, this.offset, 0x20, 0x1f, this.table.maxSize);
    this.pendingSmallest = NO_UPDATE;
  }

  private writeField(name: string, value: string, neverIndexed: boolean): void {
    const fixed = STATIC_BY_NAME.get(name);
    if (!neverIndexed) {
      const index = fixed === undefined ? undefined : fixed.values.get(value);
      if (index !== undefined) {
        this.out[this.offset++] = 0x80 | index;
        return;
      }
      const position = this.table.findField(name, value);
      if (position >= 0) {
        this.usedDynamic = true;
        this.offset = writeInteger(this.out, this.offset, 0x80, 0x7f, STATIC_COUNT + 1 + position);
        return;
      }
    }
    let nameIndex = fixed === undefined ? 0 : fixed.index;
    if (nameIndex === 0) {
      const position = this.table.findName(name);
      if (position >= 0) {
        this.usedDynamic = true;
        nameIndex = STATIC_COUNT + 1 + position;
      }
    }
    const verdict = neverIndexed ? NEVER : this.policy.decide(name, value, this.table.maxSize);
    if (verdict === INDEX) {
      this.writeLiteral(0x40, 0x3f, nameIndex, name, value);
      this.table.insert(name, value);
    } else {
      this.writeLiteral(verdict === NEVER ? 0x10 : 0, 0x0f, nameIndex, name, value);
    }
  }

  private writeLiteral(flags: number, prefixMask: number, nameIndex: number, name: string, value: string): void {
    this.offset = writeInteger(this.out, this.offset, flags, prefixMask, nameIndex);
    if (nameIndex === 0) this.writeString(name);
    this.writeString(value);
  }

  private writeString(text: string): void {
    const huffman = huffmanBytes(text);
    if (huffman < 0) {
      this.writeString(text.replace(BEYOND_LATIN1, '?'));
      return;
    }
    const length = text.length;
    if (huffman < length) {
      this.offset = encodeHuffman(text, this.out, writeInteger(this.out, this.offset, 0x80, 0x7f, huffman));
      return;
    }
    const offset = writeInteger(this.out, this.offset, 0, 0x7f, length);
    writeLatin1(text, this.out, offset);
    this.offset = offset + length;
  }
}
