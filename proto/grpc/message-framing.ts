/**
 * Length-prefixed gRPC messages (gRPC over HTTP/2, "Length-Prefixed-Message"): one flag byte, four length bytes, message.
 *
 * A message that lies whole in one chunk is handed out where it lies. Only what is spread over chunks is copied, into
 * room that grows with what has arrived and not with what a prefix claims.
 */
import { WireError } from '../tensor/wire-error.ts';

/** Bytes in front of every message. */
export const PREFIX_BYTES = 5;
const FIRST_ROOM_BYTES = 4096;
const EMPTY = Buffer.alloc(0);

/** Writes a prefix at `offset` and returns the offset behind it. `messageBytes` up to 2^32 - 1. */
export function writeMessagePrefix(buf: Buffer, offset: number, messageBytes: number, compressed: boolean): number {
  buf[offset] = compressed ? 1 : 0;
  buf[offset + 1] = messageBytes >>> 24;
  buf[offset + 2] = messageBytes >>> 16;
  buf[offset + 3] = messageBytes >>> 8;
  buf[offset + 4] = messageBytes;
  return offset + PREFIX_BYTES;
}

/**
 * Cuts the DATA bytes of one stream direction into messages.
 *
 *     reader.feed(buffer, start, end);
 *     while (reader.next()) use(reader.buffer, reader.start, reader.end, reader.compressed);
 *
 * Loop until `next` says false before feeding again. What is handed out is valid until the next call.
 */
export class MessageReader {
  /** The message handed out: `[start, end)` of `buffer`, without its prefix. */
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;
  compressed = false;
  /** Messages handed out so far. */
  messageCount = 0;
  private readonly maxMessageBytes: number;
  private chunk: Buffer = EMPTY;
  private chunkPos = 0;
  private chunkEnd = 0;
  /** Prefix and message bytes kept from earlier chunks: `room[0 .. kept)`. */
  private room: Buffer = EMPTY;
  private kept = 0;

  /** Messages over `maxMessageBytes` are refused as soon as their prefix is known. */
  constructor(maxMessageBytes: number) {
    this.maxMessageBytes = maxMessageBytes;
  }

  /** Takes a chunk; its bytes must stay valid until `next` has said false. */
  feed(chunk: Buffer, start: number, end: number): void {
    this.chunk = chunk;
    this.chunkPos = start;
    this.chunkEnd = end;
  }

  /**
   * Moves to the next complete message; false where more bytes are needed (all of the chunk has then been taken).
   * @throws WireError `too_large` for a message over the bound, `malformed` for an unknown flag byte.
   */
  next(): boolean {
    if (this.kept > 0) return this.nextKept();
    const have = this.chunkEnd - this.chunkPos;
    if (have >= PREFIX_BYTES) {
      const length = this.checkPrefix(this.chunk, this.chunkPos);
      if (have >= PREFIX_BYTES + length) {
        this.handOut(this.chunk, this.chunkPos, length);
        this.chunkPos += PREFIX_BYTES + length;
        return true;
      }
    }
    if (have > 0) this.keep(have);
    this.letGo();
    return false;
  }

  /** Whether the bytes fed so far end at a message's end: what a stream must do before it closes. */
  get atBoundary(): boolean {
    return this.kept === 0 && this.chunkPos === this.chunkEnd;
  }

  /** Continues a message begun in an earlier chunk. */
  private nextKept(): boolean {
    if (this.kept < PREFIX_BYTES) this.keep(Math.min(PREFIX_BYTES - this.kept, this.chunkEnd - this.chunkPos));
    if (this.kept >= PREFIX_BYTES) {
      const length = this.checkPrefix(this.room, 0);
      this.keep(Math.min(PREFIX_BYTES + length - this.kept, this.chunkEnd - this.chunkPos));
      if (this.kept === PREFIX_BYTES + length) {
        this.handOut(this.room, 0, length);
        // The room now belongs to the message handed out; a later one gets its own.
        this.room = EMPTY;
        this.kept = 0;
        return true;
      }
    }
    this.letGo();
    return false;
  }

  private handOut(buffer: Buffer, prefixAt: number, length: number): void {
    this.buffer = buffer;
    this.start = prefixAt + PREFIX_BYTES;
    this.end = this.start + length;
    this.compressed = buffer[prefixAt] === 1;
    this.messageCount++;
  }

  private checkPrefix(buffer: Buffer, at: number): number {
    const flag = buffer[at];
    if (flag > 1) throw new WireError('malformed', 'gRPC message prefix', `flag byte ${flag}`, 0);
    const length = buffer.readUInt32BE(at + 1);
    if (length > this.maxMessageBytes) {
      const problem = `message of ${length} bytes is larger than the ${this.maxMessageBytes} allowed`;
      throw new WireError('too_large', 'gRPC message prefix', problem);
    }
    return length;
  }

  /** Copies `count` bytes of the chunk behind those kept. */
  private keep(count: number): void {
    if (count <= 0) return;
    const needed = this.kept + count;
    if (needed > this.room.length) this.grow(needed);
    this.chunk.copy(this.room, this.kept, this.chunkPos, this.chunkPos + count);
    this.kept = needed;
    this.chunkPos += count;
  }

  /** Doubles, but never beyond a whole message of the length that the prefix says. */
  private grow(needed: number): void {
    let size = Math.max(FIRST_ROOM_BYTES, this.room.length * 2, needed);
    if (this.kept >= PREFIX_BYTES) size = Math.min(size, PREFIX_BYTES + this.room.readUInt32BE(1));
    const larger = Buffer.allocUnsafe(Math.max(size, needed));
    this.room.copy(larger, 0, 0, this.kept);
    this.room = larger;
  }

  private letGo(): void {
    this.chunk = EMPTY;
    this.chunkPos = 0;
    this.chunkEnd = 0;
  }
}
