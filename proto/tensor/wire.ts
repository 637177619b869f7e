/**
 * Reads the protobuf wire format in place: a cursor over a Buffer that allocates nothing per field.
 *
 * Invariant: `pos <= end` after every call, and no call reads at or past `end`; whatever would is a WireError.
 * 64-bit values come as two 32-bit halves, so that no BigInt is made where nobody asks for one.
 */
import { WireError } from './wire-error.ts';

/** Wire types, the low three bits of a tag. */
export const WireType = { varint: 0, fixed64: 1, bytes: 2, groupStart: 3, groupEnd: 4, fixed32: 5 } as const;

/** Unknown groups nest at most this deep; protobuf's own limit. */
const MAX_GROUP_DEPTH = 100;
const EMPTY = Buffer.alloc(0);

export class WireReader {
  buf: Buffer = EMPTY;
  pos = 0;
  end = 0;
  /** Halves of the last varint or fixed value read; `hi` is 0 after a 32-bit one. Both are signed 32-bit numbers. */
  lo = 0;
  hi = 0;
  /** Where the message began, for error offsets. */
  base = 0;
  /** What is being read, for error messages. */
  what = '';

  /** Starts over on `[start, end)` of `buf`. `what` names the message in errors. */
  reset(buf: Buffer, start: number, end: number, what: string): void {
    this.buf = buf;
    this.pos = start;
    this.end = end;
    this.base = start;
    this.what = what;
  }

  /** Lets go of the buffer, so that an idle reader does not keep it alive. */
  release(): void {
    this.buf = EMPTY;
    this.pos = 0;
    this.end = 0;
  }

  /** Next tag: field number * 8 + wire type. Only to be called while `pos < end`. */
  readTag(): number {
    const first = this.pos < this.end ? this.buf[this.pos] : 0x80;
    if (first < 0x80) {
      this.pos++;
      if (first < 8) this.fail('field number 0');
      return first;
    }
    this.readVarint();
    if (this.hi !== 0) this.fail('field number over 536870911');
    const tag = this.lo >>> 0;
    if (tag < 8) this.fail('field number 0');
    return tag;
  }

  /** Reads a varint of up to ten bytes into `lo` and `hi`, and returns `lo`. */
  readVarint(): number {
    const buf = this.buf;
    const end = this.end;
    let pos = this.pos;
    let lo = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      if (pos >= end) this.fail('varint cut short');
      const byte = buf[pos++];
      lo |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.pos = pos;
        this.hi = 0;
        this.lo = lo;
        return lo;
      }
    }
    return this.readLongVarint(pos, lo);
  }

  private readLongVarint(pos: number, lo: number): number {
    const buf = this.buf;
    const end = this.end;
    if (pos >= end) this.fail('varint cut short');
    let byte = buf[pos++];
    lo |= byte << 28;
    let hi = (byte & 0x7f) >>> 4;
    for (let shift = 3; byte >= 0x80; shift += 7) {
      if (shift > 31) this.fail('varint over ten bytes');
      if (pos >= end) this.fail('varint cut short');
      byte = buf[pos++];
      hi |= (byte & 0x7f) << shift;
    }
    this.pos = pos;
    this.lo = lo;
    this.hi = hi;
    return lo;
  }

  /** Reads the length of a length-delimited field and returns where its payload ends; `pos` is where it starts. */
  readPayloadEnd(): number {
    const first = this.pos < this.end ? this.buf[this.pos] : 0x80;
    let length = first;
    if (first < 0x80) {
      this.pos++;
    } else {
      length = this.readVarint();
      if (this.hi !== 0 || length < 0) this.fail('length over 2 GiB');
    }
    const payloadEnd = this.pos + length;
    if (payloadEnd > this.end) this.fail(`length ${length} runs past the end`);
    return payloadEnd;
  }

  /** Reads four little-endian bytes into `lo`; `hi` becomes 0. */
  readFixed32(): number {
    if (this.end - this.pos < 4) this.fail('fixed32 cut short');
    this.lo = this.wordAt(this.pos);
    this.hi = 0;
    this.pos += 4;
    return this.lo;
  }

  /** Reads eight little-endian bytes into `lo` and `hi`. */
  readFixed64(): void {
    if (this.end - this.pos < 8) this.fail('fixed64 cut short');
    this.lo = this.wordAt(this.pos);
    this.hi = this.wordAt(this.pos + 4);
    this.pos += 8;
  }

  /** Passes over the value of a field that is not wanted. */
  skip(tag: number): void {
    this.skipValue(tag, 0);
  }

  /** Throws a WireError that names the message, the problem and the offset reached. */
  fail(problem: string): never {
    throw new WireError('malformed', this.what, problem, this.pos - this.base);
  }

  private skipValue(tag: number, depth: number): void {
    switch (tag & 7) {
      case WireType.varint:
        this.readVarint();
        return;
      case WireType.fixed64:
        if (this.end - this.pos < 8) this.fail('fixed64 cut short');
        this.pos += 8;
        return;
      case WireType.bytes:
        this.pos = this.readPayloadEnd();
        return;
      case WireType.fixed32:
        if (this.end - this.pos < 4) this.fail('fixed32 cut short');
        this.pos += 4;
        return;
      case WireType.groupStart:
        this.skipGroup(tag, depth + 1);
        return;
      default:
        this.fail((tag & 7) === WireType.groupEnd ? 'group end without a start' : `wire type ${tag & 7}`);
    }
  }

  private skipGroup(startTag: number, depth: number): void {
    if (depth > MAX_GROUP_DEPTH) this.fail('groups nested too deep');
    const endTag = startTag + 1;
    for (;;) {
      if (this.pos >= this.end) this.fail('group without an end');
      const tag = this.readTag();
      if (tag === endTag) return;
      this.skipValue(tag, depth);
    }
  }

  private wordAt(pos: number): number {
    const buf = this.buf;
    return buf[pos] | (buf[pos + 1] << 8) | (buf[pos + 2] << 16) | (buf[pos + 3] << 24);
  }
}

/** The signed 64-bit value of two halves as a number: exact up to 2^53, rounded beyond. */
export function int64Number(lo: number, hi: number): number {
  return hi * 4294967296 + (lo >>> 0);
}

/** The signed 64-bit value of two halves, exact. */
export function int64BigInt(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}
