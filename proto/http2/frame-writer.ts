/**
 * Writes frames to a connection's socket, one method per kind. Frames are at most 16,384 bytes, which every peer must
 * accept, so a peer's larger SETTINGS_MAX_FRAME_SIZE is never used and a smaller one cannot exist.
 */
import { type ByteSocket, copyBytes } from '../io/byte-socket.ts';
import {
  CLIENT_PREFACE,
  DEFAULT_MAX_FRAME_BYTES,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  writeFrameHeader,
  writeUint32,
} from './frames.ts';

/** An output buffer with less room than this is left as it is rather than filled with the beginning of a long DATA. */
export const MIN_SPLIT_BYTES = 4096;

export class FrameWriter {
  private readonly io: ByteSocket;

  constructor(io: ByteSocket) {
    this.io = io;
  }

  /** HEADERS with a complete header block, continued over CONTINUATION frames when it is long. */
  headers(streamId: number, block: Buffer, endStream: boolean): void {
    const { io } = this;
    const { length } = block;
    const first = length < DEFAULT_MAX_FRAME_BYTES ? length : DEFAULT_MAX_FRAME_BYTES;
    const flags = (endStream ? Flag.END_STREAM : 0) | (first === length ? Flag.END_HEADERS : 0);
    const out = io.reserve(FRAME_HEADER_BYTES + first);
    const at = io.position();
    writeFrameHeader(out, at, first, FrameType.HEADERS, flags, streamId);
    copyBytes(block, 0, first, out, at + FRAME_HEADER_BYTES);
    io.advance(FRAME_HEADER_BYTES + first);
    if (first < length) this.continuations(streamId, block, first);
  }

  /**
   * One DATA frame from the beginning of `buffer[start..end)`; returns how many bytes it took: all of them, or what one
   * frame and the output buffer hold. END_STREAM is set with the last byte if `endStream`.
   */
  data(streamId: number, buffer: Buffer, start: number, end: number, endStream: boolean): number {
    const { io } = this;
    let size = end - start;
    if (size > MIN_SPLIT_BYTES) {
      const room = io.room() - FRAME_HEADER_BYTES;
      if (size > DEFAULT_MAX_FRAME_BYTES) size = DEFAULT_MAX_FRAME_BYTES;
      if (size > room && room >= MIN_SPLIT_BYTES) size = room;
    }
    const out = io.reserve(FRAME_HEADER_BYTES + size);
    const at = io.position();
    const flags = endStream && start + size === end ? Flag.END_STREAM : 0;
    writeFrameHeader(out, at, size, FrameType.DATA, flags, streamId);
    copyBytes(buffer, start, start + size, out, at + FRAME_HEADER_BYTES);
    io.advance(FRAME_HEADER_BYTES + size);
    return size;
  }

  /** One DATA frame of `first[0..firstEnd)` and `rest[start..end)`, at most 16,384 bytes together. */
  dataOfParts(
    streamId: number,
    first: Buffer,
    firstEnd: number,
    rest: Buffer,
    start: number,
    end: number,
    endStream: boolean,
  ): void {
    const { io } = this;
    const size = firstEnd + end - start;
    const out = io.reserve(FRAME_HEADER_BYTES + size);
    const at = io.position();
    writeFrameHeader(out, at, size, FrameType.DATA, endStream ? Flag.END_STREAM : 0, streamId);
    copyBytes(first, 0, firstEnd, out, at + FRAME_HEADER_BYTES);
    copyBytes(rest, start, end, out, at + FRAME_HEADER_BYTES + firstEnd);
    io.advance(FRAME_HEADER_BYTES + size);
  }

  clientPreface(): void {
    this.io.write(CLIENT_PREFACE, 0, CLIENT_PREFACE.length);
  }

  settings(payload: Uint8Array): void {
    this.simple(FrameType.SETTINGS, 0, 0, payload, 0, payload.length);
  }

  settingsAck(): void {
    this.simple(FrameType.SETTINGS, Flag.ACK, 0, NOTHING, 0, 0);
  }

  /** `payload[start..start + 8)`. */
  ping(payload: Uint8Array, start: number, ack: boolean): void {
    this.simple(FrameType.PING, ack ? Flag.ACK : 0, 0, payload, start, start + 8);
  }

  windowUpdate(streamId: number, increment: number): void {
    this.number(FrameType.WINDOW_UPDATE, streamId, increment);
  }

  reset(streamId: number, errorCode: number): void {
    this.number(FrameType.RST_STREAM, streamId, errorCode);
  }

  /** `message` is for the peer's log: short, latin1. */
  goaway(lastStreamId: number, errorCode: number, message: string): void {
    const payload = Buffer.alloc(8 + message.length);
    writeUint32(payload, 0, lastStreamId);
    writeUint32(payload, 4, errorCode);
    payload.write(message, 8, 'latin1');
    this.simple(FrameType.GOAWAY, 0, 0, payload, 0, payload.length);
  }

  private continuations(streamId: number, block: Buffer, from: number): void {
    for (let at = from; at < block.length; ) {
      const size = Math.min(block.length - at, DEFAULT_MAX_FRAME_BYTES);
      const flags = at + size === block.length ? Flag.END_HEADERS : 0;
      this.simple(FrameType.CONTINUATION, flags, streamId, block, at, at + size);
      at += size;
    }
  }

  private simple(type: number, flags: number, streamId: number, from: Uint8Array, start: number, end: number): void {
    const size = end - start;
    const out = this.io.reserve(FRAME_HEADER_BYTES + size);
    const at = this.io.position();
    writeFrameHeader(out, at, size, type, flags, streamId);
    copyBytes(from, start, end, out, at + FRAME_HEADER_BYTES);
    this.io.advance(FRAME_HEADER_BYTES + size);
  }

  private number(type: number, streamId: number, value: number): void {
    const out = this.io.reserve(FRAME_HEADER_BYTES + 4);
    const at = this.io.position();
    writeFrameHeader(out, at, 4, type, 0, streamId);
    writeUint32(out, at + FRAME_HEADER_BYTES, value);
    this.io.advance(FRAME_HEADER_BYTES + 4);
  }
}

const NOTHING = new Uint8Array(0);
