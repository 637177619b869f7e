/** Opens the message of a captured body: a gRPC prefix checked, inflated where it is compressed, bounded in size. */
import { type InflateBounds, inflateMessageSync } from '../../proto/grpc/compression.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { Fault } from './fault-kinds.ts';

/** Bounds on what is inflated for a comparison: an answer of zeros reaches deflate's own ratio of about 1030. */
const INFLATE_BOUNDS = { maxBytes: 16 * 1024 * 1024, maxRatio: 1100 };
const EMPTY = Buffer.alloc(0);

/** Where a message lies: `buffer[start .. end)`. Used again for every body. */
export class MessageBytes {
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;
  private readonly bounds: InflateBounds;

  constructor(bounds: InflateBounds = INFLATE_BOUNDS) {
    this.bounds = bounds;
  }

  /** Points at a message that lies open already. */
  point(buffer: Buffer, start: number, end: number): void {
    this.buffer = buffer;
    this.start = start;
    this.end = end;
  }

  /** Points at the one message of `body`; returns `Fault.NONE` or why there is none to read. */
  open(body: Uint8Array): number {
    if (body.length === 0) return Fault.NO_MESSAGE;
    const framed = Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    if (framed.length < PREFIX_BYTES || framed[0]! > 1) return Fault.MALFORMED;
    if (framed.readUInt32BE(1) !== framed.length - PREFIX_BYTES) return Fault.MALFORMED;
    this.buffer = framed;
    this.start = PREFIX_BYTES;
    this.end = framed.length;
    return framed[0] === 1 ? this.inflate() : Fault.NONE;
  }

  /** Points at a body without a gRPC prefix; one that begins as gzip or zlib streams do, and no text does, is inflated. */
  openPlain(body: Uint8Array): number {
    if (body.length === 0) return Fault.NO_MESSAGE;
    this.buffer = Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    this.start = 0;
    this.end = this.buffer.length;
    const isGzip = this.end > 2 && body[0] === 0x1f && body[1] === 0x8b;
    const isZlib = this.end > 2 && (body[0]! & 0x0f) === 8 && (body[0]! * 256 + body[1]!) % 31 === 0;
    return isGzip || isZlib ? this.inflate() : Fault.NONE;
  }

  /** Lets go of the bytes. */
  release(): void {
    this.buffer = EMPTY;
    this.start = 0;
    this.end = 0;
  }

  /** Tells gzip from zlib by their first byte: the two sides of a pair may have chosen different encodings. */
  private inflate(): number {
    const encoding = this.buffer[this.start] === 0x1f ? 'gzip' : 'deflate';
    try {
      this.buffer = inflateMessageSync(encoding, this.buffer, this.start, this.end, this.bounds);
    } catch (error) {
      return faultOf(error);
    }
    this.start = 0;
    this.end = this.buffer.length;
    return Fault.NONE;
  }
}

/** The fault that a codec's error stands for. Errors that no bytes can cause are thrown on. */
export function faultOf(error: unknown): number {
  if (!(error instanceof WireError)) throw error;
  return error.reason === 'too_large' ? Fault.TOO_LARGE : Fault.MALFORMED;
}
