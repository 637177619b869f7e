// Owns the reading half of a connection's compression context (RFC 7541 sections 3 and 6). After every block that was
// decoded, the table is in step with the peer's encoder; after an error it is not, and the decoder refuses to go on.

import { FIELD_OVERHEAD_BYTES, HEADER_LIST_TOO_LARGE, HeaderList } from '../header-list.ts';
import { ANY_GENERATION, BlockCache, CACHED_BLOCK_BYTES, hashBlock } from './block-cache.ts';
import { DynamicTable } from './dynamic-table.ts';
import { HpackError } from './hpack-error.ts';
import { decodeHuffman } from './huffman.ts';
import { readInteger } from './integer.ts';
import { readLatin1 } from './latin1.ts';
import { STATIC_COUNT, STATIC_NAMES, STATIC_VALUES } from './static-table.ts';

/** The table size both sides start from (RFC 9113 section 6.5.2). */
const INITIAL_TABLE_BYTES = 4096;
const DEFAULT_CACHE_ENTRIES = 64;
const NO_SHRINK = -1;
const EMPTY = Buffer.alloc(0);

export interface HpackDecoderOptions {
  /** The SETTINGS_HEADER_TABLE_SIZE the peer goes by, in bytes. */
  maxTableSize: number;
  /** The largest list answered, in bytes counted as RFC 9113 section 6.5.2 does. */
  maxListSize: number;
  /** The largest number of fields answered. */
  maxFields: number;
  /** How many repeated blocks are remembered; 0 for none. */
  cacheEntries?: number;
}

/** Decodes the header blocks of one connection, in the order they arrive. */
export class HpackDecoder {
  private readonly table: DynamicTable;
  private readonly maxListSize: number;
  private readonly maxFields: number;
  private readonly cacheEntries: number;
  private cache: BlockCache | null;
  /** The largest table size the peer may choose. */
  private tableLimit: number;
  /** What the peer's next block must first shrink the table to, or NO_SHRINK. */
  private requiredShrink: number;
  private failed: boolean;
  /** Whether blocks mean what they meant before: nothing has failed and no shrink is due. */
  private settled: boolean;
  // The block being read (a ByteCursor) and what has been read of it.
  bytes: Buffer;
  position: number;
  end: number;
  private names: string[];
  private values: string[];
  private neverIndexed: boolean[] | null;
  private listSize: number;
  private fieldCount: number;
  private usedDynamic: boolean;

  constructor(options: HpackDecoderOptions) {
    this.table = new DynamicTable(Math.min(INITIAL_TABLE_BYTES, options.maxTableSize));
    this.maxListSize = options.maxListSize;
    this.maxFields = options.maxFields;
    this.cacheEntries = options.cacheEntries ?? DEFAULT_CACHE_ENTRIES;
    this.cache = null;
    this.tableLimit = options.maxTableSize;
    this.requiredShrink = NO_SHRINK;
    this.failed = false;
    this.settled = true;
    this.bytes = EMPTY;
    this.position = 0;
    this.end = 0;
    this.names = [];
    this.values = [];
    this.neverIndexed = null;
    this.listSize = 0;
    this.fieldCount = 0;
    this.usedDynamic = false;
  }

  /**
   * Decodes the complete header block in block[start, end), whose bytes may be reused afterwards. Answers
   * HEADER_LIST_TOO_LARGE, with the table in step, for a list beyond maxListSize or maxFields. A repeated block may
   * answer the very list it answered before. Throws HpackError for everything RFC 7541 calls a decoding error; the
   * connection must then end with COMPRESSION_ERROR.
   */
  decode(block: Buffer, start: number, end: number): HeaderList {
    if (end - start > CACHED_BLOCK_BYTES || !this.settled) return this.decodeFields(block, start, end);
    const hash = hashBlock(block, start, end);
    const generation = this.table.generation;
    if (this.cache !== null) {
      const known = this.cache.find(block, start, end, hash, generation);
      if (known !== null) return known;
    }
    const list = this.decodeFields(block, start, end);
    if (this.cacheEntries > 0 && this.table.generation === generation && !this.sawUpdate(block, start, end)) {
      this.cache ??= new BlockCache(this.cacheEntries);
      this.cache.record(block, start, end, hash, this.usedDynamic ? generation : ANY_GENERATION, list);
    }
    return list;
  }

  /**
   * Our SETTINGS_HEADER_TABLE_SIZE, in bytes, once the peer has acknowledged it. If that is less than the table's
   * present maximum, the peer's next block must begin by saying so (section 4.2).
   */
  setMaxTableSize(size: number): void {
    this.tableLimit = size;
    if (size < this.table.maxSize && (this.requiredShrink === NO_SHRINK || size < this.requiredShrink)) {
      this.requiredShrink = size;
      this.settled = false;
    }
  }

  private decodeFields(block: Buffer, start: number, end: number): HeaderList {
    if (this.failed) throw new HpackError('hpack_decoder_failed');
    this.failed = true; // until the whole block has been read
    this.settled = false;
    this.bytes = block;
    this.position = start;
    this.end = end;
    this.names = [];
    this.values = [];
    this.neverIndexed = null;
    this.listSize = 0;
    this.fieldCount = 0;
    this.usedDynamic = false;
    this.readTableUpdates();
    while (this.position < end) this.readField(block[this.position]!);
    this.bytes = EMPTY;
    this.failed = false;
    this.settled = true;
    if (this.listSize > this.maxListSize || this.fieldCount > this.maxFields) return HEADER_LIST_TOO_LARGE;
    return new HeaderList(this.names, this.values, this.neverIndexed, this.listSize);
  }

  private sawUpdate(block: Buffer, start: number, end: number): boolean {
    return start < end && (block[start]! & 0xe0) === 0x20;
  }

  /** Dynamic table size updates, which only a block's beginning may hold (sections 4.2 and 6.3). */
  private readTableUpdates(): void {
    while (this.position < this.end && (this.bytes[this.position]! & 0xe0) === 0x20) {
      const size = readInteger(this, 0x1f);
      if (size > this.tableLimit && this.requiredShrink === NO_SHRINK) {
        throw new HpackError('hpack_table_update_too_large');
      }
      if (this.requiredShrink !== NO_SHRINK) {
        if (size > this.requiredShrink) throw new HpackError('hpack_table_update_too_large');
        this.requiredShrink = NO_SHRINK;
      }
      this.table.resize(size);
    }
    if (this.requiredShrink !== NO_SHRINK) throw new HpackError('hpack_table_update_missing');
  }

  private readField(first: number): void {
    if (first >= 0x80) {
      this.readIndexed();
    } else if (first >= 0x40) {
      const name = this.readName(0x3f);
      const value = this.readString();
      this.table.insert(name, value);
      this.add(name, value);
    } else if (first >= 0x20) {
      throw new HpackError('hpack_table_update_late');
    } else {
      const name = this.readName(0x0f);
      const value = this.readString();
      if (first >= 0x10) this.markNeverIndexed();
      this.add(name, value);
    }
  }

  private readIndexed(): void {
    const index = readInteger(this, 0x7f);
    if (index <= STATIC_COUNT) {
      if (index === 0) throw new HpackError('hpack_index_zero');
      this.add(STATIC_NAMES[index]!, STATIC_VALUES[index]!);
      return;
    }
    const position = this.dynamicPosition(index);
    this.add(this.table.nameAt(position), this.table.valueAt(position));
  }

  private readName(prefixMask: number): string {
    const index = readInteger(this, prefixMask);
    if (index === 0) return this.readString();
    if (index <= STATIC_COUNT) return STATIC_NAMES[index]!;
    return this.table.nameAt(this.dynamicPosition(index));
  }

  private dynamicPosition(index: number): number {
    const position = index - STATIC_COUNT - 1;
    if (position >= this.table.count) throw new HpackError('hpack_index_out_of_range');
    this.usedDynamic = true;
    return position;
  }

  private readString(): string {
    if (this.position >= this.end) throw new HpackError('hpack_truncated');
    const huffman = this.bytes[this.position]! >= 0x80;
    const length = readInteger(this, 0x7f);
    const start = this.position;
    if (length > this.end - start) throw new HpackError('hpack_string_overrun');
    this.position = start + length;
    if (length === 0) return '';
    return huffman ? decodeHuffman(this.bytes, start, start + length) : readLatin1(this.bytes, start, start + length);
  }

  private markNeverIndexed(): void {
    this.neverIndexed ??= [];
    // Filled up to here, so that the array stays packed.
    for (let i = this.neverIndexed.length; i < this.names.length; i++) this.neverIndexed.push(false);
    this.neverIndexed.push(true);
  }

  /** Counts a field, and keeps it while the list is within its limits: index references cost the peer one octet each. */
  private add(name: string, value: string): void {
    this.listSize += name.length + value.length + FIELD_OVERHEAD_BYTES;
    this.fieldCount++;
    if (this.listSize > this.maxListSize || this.fieldCount > this.maxFields) return;
    this.names.push(name);
    this.values.push(value);
  }
}
