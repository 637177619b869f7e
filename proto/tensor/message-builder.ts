/** Builds small protobuf messages field by field. For calls that are rare; Predict has a writer of its own. */
import { putVarint, putVarint64, varint64Bytes, varintBytes } from './wire-writer.ts';

const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** A message under construction. `finish` joins its parts. */
export class MessageBuilder {
  private readonly parts: Buffer[] = [];

  /** An int64, int32 or enum field. Zero is written too: readers cannot tell, and a map entry is clearer for it. */
  int(field: number, value: bigint | number): this {
    const bits = BigInt.asUintN(64, BigInt(value));
    const lo = Number(bits & 0xffffffffn) | 0;
    const hi = Number(bits >> 32n) | 0;
    const part = Buffer.allocUnsafe(varintBytes(field * 8) + varint64Bytes(lo, hi));
    putVarint64(part, putVarint(part, 0, field * 8), lo, hi);
    this.parts.push(part);
    return this;
  }

  double(field: number, value: number): this {
    const tag = field * 8 + FIXED64;
    const part = Buffer.allocUnsafe(varintBytes(tag) + 8);
    part.writeDoubleLE(value, putVarint(part, 0, tag));
    this.parts.push(part);
    return this;
  }

  float(field: number, value: number): this {
    const tag = field * 8 + FIXED32;
    const part = Buffer.allocUnsafe(varintBytes(tag) + 4);
    part.writeFloatLE(value, putVarint(part, 0, tag));
    this.parts.push(part);
    return this;
  }

  /** A string field. */
  text(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  /** A bytes or message field. */
  bytes(field: number, value: Buffer): this {
    const tag = field * 8 + LENGTH_DELIMITED;
    const head = Buffer.allocUnsafe(varintBytes(tag) + varintBytes(value.length));
    putVarint(head, putVarint(head, 0, tag), value.length);
    this.parts.push(head, value);
    return this;
  }

  /** A whole field made elsewhere. */
  raw(field: Buffer): this {
    this.parts.push(field);
    return this;
  }

  message(field: number, value: MessageBuilder): this {
    return this.bytes(field, value.finish());
  }

  finish(): Buffer {
    return Buffer.concat(this.parts);
  }
}
