/**
 * Cuts a connection's bytes into frames, in place (RFC 9113, section 4).
 *
 * DATA is passed on piece by piece as it arrives and is never collected; any other frame is handed over whole, from the
 * read buffer where it lies in one piece, else from `partial`, which holds at most one frame of the largest size we
 * allow. Nothing here knows about streams; the sink judges.
 */
import { copyBytes } from '../io/byte-socket.ts';
import {
  CLIENT_PREFACE,
  DEFAULT_MAX_FRAME_BYTES,
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  readUint31,
} from './frames.ts';

/** What a connection makes of the frames. */
export interface FrameSink {
  /** True once the connection is beyond reading; the rest of the bytes is ignored. */
  readonly dead: boolean;
  /** A DATA frame begins: `frameBytes` count against flow control, `padBytes` of them are padding and its length field. */
  dataFrame(streamId: number, frameBytes: number, padBytes: number): void;
  /** A piece of the current DATA frame; `endStream` with its last byte if the frame carries END_STREAM. */
  dataBytes(buffer: Buffer, start: number, end: number, endStream: boolean): void;
  /** A whole frame that is not DATA; payload in `buffer[start..end)`, valid only during the call. */
  frame(type: number, flags: number, streamId: number, buffer: Buffer, start: number, end: number): void;
  /** The first bytes are not a client's preface (section 3.4). */
  notHttp2(): void;
  /** The peer broke framing; the connection ends. */
  fail(errorCode: number, message: string): void;
}

export class FrameReader {
  /** Counts incomplete frames, so that a watcher can tell one that stands still. */
  partialSerial = 0;
  private readonly sink: FrameSink;
  /** Bytes of the preface still to come. */
  private prefaceLeft: number;
  /** An incomplete frame carried over between reads; allocated on first need. */
  private partial: Buffer | null = null;
  private partialLength = 0;
  /** Content bytes of the current DATA frame still to come, then its padding. */
  private dataLeft = 0;
  private paddingLeft = 0;
  private dataEndsStream = false;

  /** `preface`: a client's connection preface comes first. */
  constructor(sink: FrameSink, preface: boolean) {
    this.sink = sink;
    this.prefaceLeft = preface ? CLIENT_PREFACE.length : 0;
  }

  /** A frame other than DATA has begun and is not complete. */
  get waiting(): boolean {
    return this.partialLength > 0;
  }

  /** Content bytes of a DATA frame that has begun which are still to come. */
  get dataBytesLeft(): number {
    return this.dataLeft;
  }

  /** Reads `buffer[start..end)`; everything is consumed or kept. */
  read(buffer: Buffer, start: number, end: number): void {
    let at = start;
    if (this.prefaceLeft > 0) {
      at = this.readPreface(buffer, at, end);
      if (at < 0) return;
    }
    if (this.partialLength > 0) at = this.completePartial(buffer, at, end);
    while (at < end && !this.sink.dead) {
      if (this.dataLeft > 0 || this.paddingLeft > 0) {
        at = this.readData(buffer, at, end);
        continue;
      }
      const needed = this.neededBytes(buffer, at, end - at);
      if (needed < 0) return;
      if (needed > end - at) {
        this.keep(buffer, at, end, needed);
        return;
      }
      at = this.readFrame(buffer, at);
    }
  }

  /** Returns where the preface's bytes end, or -1 when they are not it. */
  private readPreface(buffer: Buffer, at: number, end: number): number {
    while (at < end && this.prefaceLeft > 0) {
      if (buffer[at] !== CLIENT_PREFACE[CLIENT_PREFACE.length - this.prefaceLeft]) {
        this.sink.notHttp2();
        return -1;
      }
      at++;
      this.prefaceLeft--;
    }
    return at;
  }

  /** Bytes from the frame's start that must be there before it can be handled; -1 after a framing error. */
  private neededBytes(buffer: Buffer, at: number, available: number): number {
    if (available < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
    const length = (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!;
    if (length > DEFAULT_MAX_FRAME_BYTES) {
      this.sink.fail(
        ErrorCode.FRAME_SIZE_ERROR,
        `frame of ${length} bytes, at most ${DEFAULT_MAX_FRAME_BYTES} allowed`,
      );
      return -1;
    }
    if (buffer[at + 3] !== FrameType.DATA) return FRAME_HEADER_BYTES + length;
    return (buffer[at + 4]! & Flag.PADDED) !== 0 && length > 0 ? FRAME_HEADER_BYTES + 1 : FRAME_HEADER_BYTES;
  }

  /** Handles the frame at `at`, of which `neededBytes` are there; returns where the next bytes begin. */
  private readFrame(buffer: Buffer, at: number): number {
    const length = (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!;
    const type = buffer[at + 3]!;
    const flags = buffer[at + 4]!;
    const streamId = readUint31(buffer, at + 5);
    const payload = at + FRAME_HEADER_BYTES;
    if (type !== FrameType.DATA) {
      this.sink.frame(type, flags, streamId, buffer, payload, payload + length);
      return payload + length;
    }
    return this.beginData(flags, streamId, length, buffer, payload);
  }

  private beginData(flags: number, streamId: number, length: number, buffer: Buffer, payload: number): number {
    let padBytes = 0;
    let next = payload;
    if ((flags & Flag.PADDED) !== 0) {
      if (length === 0 || buffer[payload]! >= length) {
        this.sink.fail(ErrorCode.PROTOCOL_ERROR, 'DATA padding longer than its frame');
        return next;
      }
      padBytes = buffer[payload]! + 1;
      next++;
    }
    this.dataLeft = length - padBytes;
    this.paddingLeft = padBytes === 0 ? 0 : padBytes - 1;
    this.dataEndsStream = (flags & Flag.END_STREAM) !== 0;
    this.sink.dataFrame(streamId, length, padBytes);
    if (this.dataLeft === 0 && !this.sink.dead) this.sink.dataBytes(buffer, next, next, this.dataEndsStream);
    return next;
  }

  private readData(buffer: Buffer, at: number, end: number): number {
    const available = end - at;
    if (this.dataLeft > 0) {
      const size = Math.min(this.dataLeft, available);
      this.dataLeft -= size;
      this.sink.dataBytes(buffer, at, at + size, this.dataLeft === 0 && this.dataEndsStream);
      return at + size;
    }
    const size = Math.min(this.paddingLeft, available);
    this.paddingLeft -= size;
    return at + size;
  }

  private keep(buffer: Buffer, at: number, end: number, needed: number): void {
    this.partialSerial++;
    this.growPartial(needed);
    copyBytes(buffer, at, end, this.partial!, 0);
    this.partialLength = end - at;
  }

  /** Adds to the kept beginning until its frame can be handled; returns where the following bytes begin. */
  private completePartial(buffer: Buffer, at: number, end: number): number {
    for (;;) {
      const needed = this.neededBytes(this.partial!, 0, this.partialLength);
      if (needed < 0) return end;
      if (needed <= this.partialLength) break;
      const missing = needed - this.partialLength;
      const size = Math.min(missing, end - at);
      if (size === 0) return at;
      this.growPartial(needed);
      copyBytes(buffer, at, at + size, this.partial!, this.partialLength);
      this.partialLength += size;
      at += size;
    }
    const frame = this.partial!;
    this.partialLength = 0;
    this.readFrame(frame, 0);
    return at;
  }

  private growPartial(needed: number): void {
    const current = this.partial;
    if (current !== null && current.length >= needed) return;
    this.partial = Buffer.allocUnsafe(Math.max(needed, 256));
    if (current !== null) current.copy(this.partial, 0, 0, this.partialLength);
  }
}
