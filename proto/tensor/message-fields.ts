/**
 * Walks a protobuf message field by field, for messages that are rare; Predict has parsers of its own. What is not taken
 * is passed over, so unknown fields cost nothing, and every read is bounded by the message it is in.
 *
 *   for (const fields = new MessageFields(buf, start, end, 'Example'); fields.next(); ) {
 *     if (fields.is(1)) read(fields.message('Features'));
 *   }
 */
import { readText } from './text.ts';
import { int64BigInt, WireReader, WireType } from './wire.ts';

export class MessageFields {
  /** Number of the field met last. */
  field = 0;
  private readonly reader = new WireReader();
  private readonly what: string;
  /** Tag of a field whose value has not been read yet, or 0. */
  private tag = 0;

  constructor(buf: Buffer, start: number, end: number, what: string) {
    this.what = what;
    this.reader.reset(buf, start, end, what);
  }

  /** Moves to the next field; false at the end. @throws WireError where the bytes are no message */
  next(): boolean {
    const { reader } = this;
    if (this.tag !== 0) reader.skip(this.tag);
    this.tag = 0;
    if (reader.pos >= reader.end) return false;
    this.tag = reader.readTag();
    this.field = this.tag >>> 3;
    return true;
  }

  /** Whether this is field `field`, length-delimited: a message, text, bytes or packed list. */
  is(field: number): boolean {
    return this.tag === field * 8 + WireType.bytes;
  }

  /** Whether this is field `field` as a varint. */
  isInt(field: number): boolean {
    return this.tag === field * 8 + WireType.varint;
  }

  /** Takes the value as a text. @throws WireError where it is not UTF-8 */
  text(): string {
    const end = this.begin();
    const text = readText(this.reader.buf, this.reader.pos, end, this.what);
    this.reader.pos = end;
    return text;
  }

  /** Takes the value as bytes, uncopied: good for as long as the message's are. */
  bytes(): Buffer {
    const end = this.begin();
    const bytes = this.reader.buf.subarray(this.reader.pos, end);
    this.reader.pos = end;
    return bytes;
  }

  /** Takes the value as a message to walk. */
  message(what: string): MessageFields {
    const end = this.begin();
    const inner = new MessageFields(this.reader.buf, this.reader.pos, end, what);
    this.reader.pos = end;
    return inner;
  }

  /** Takes the value as an int64. */
  int(): bigint {
    this.tag = 0;
    this.reader.readVarint();
    return int64BigInt(this.reader.lo, this.reader.hi);
  }

  /** Takes one value or a packed list of int64 in field `field`; false when this is another field or type. */
  ints(field: number, into: bigint[]): boolean {
    if (this.isInt(field)) into.push(this.int());
    else if (this.is(field)) {
      const end = this.begin();
      while (this.reader.pos < end) into.push(this.int());
      if (this.reader.pos > end) this.reader.fail('packed list ends inside an element');
    } else return false;
    return true;
  }

  /** As `ints`, for floats. */
  floats(field: number, into: number[]): boolean {
    const { reader } = this;
    if (this.tag === field * 8 + WireType.fixed32) {
      this.tag = 0;
      into.push(floatOf(reader.readFixed32()));
      return true;
    }
    if (!this.is(field)) return false;
    const end = this.begin();
    if ((end - reader.pos) % 4 !== 0) reader.fail('packed list ends inside an element');
    while (reader.pos < end) into.push(floatOf(reader.readFixed32()));
    return true;
  }

  fail(problem: string): never {
    return this.reader.fail(problem);
  }

  private begin(): number {
    this.tag = 0;
    return this.reader.readPayloadEnd();
  }
}

const word = new Int32Array(1);
const float = new Float32Array(word.buffer);

function floatOf(bits: number): number {
  word[0] = bits;
  return float[0]!;
}
