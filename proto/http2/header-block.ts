/**
 * Puts a header block together that comes in HEADERS and CONTINUATION frames (RFC 9113, section 4.3 and 6.10). Bounded
 * in bytes and in frames: a block is worth nothing until it is complete, so a peer must not make us hold much of it.
 */
import type { Http2Limits } from './limits.ts';

export class HeaderBlock {
  /** Stream of the block in progress; 0 when there is none, and then any frame may come. */
  streamId = 0;
  endStream = false;
  /** Counts the blocks that came in parts, so that a watcher can tell one that stands still. */
  serial = 0;
  private readonly maxBytes: number;
  private readonly maxContinuations: number;
  private parts: Buffer[] = [];
  private bytes = 0;

  constructor(limits: Http2Limits) {
    this.maxBytes = limits.maxHeaderBlockBytes;
    this.maxContinuations = limits.maxContinuations;
  }

  /** HEADERS without END_HEADERS. False when it is too long already. */
  begin(streamId: number, endStream: boolean, buffer: Buffer, start: number, end: number): boolean {
    this.streamId = streamId;
    this.endStream = endStream;
    this.serial++;
    return this.add(buffer, start, end);
  }

  /** A part; copied. False when the block is too long, and the connection must end. */
  add(buffer: Buffer, start: number, end: number): boolean {
    this.bytes += end - start;
    if (this.bytes > this.maxBytes || this.parts.length > this.maxContinuations) return false;
    this.parts.push(Buffer.from(buffer.subarray(start, end)));
    return true;
  }

  /** The whole block; what follows may be any frame again. */
  finish(): Buffer {
    const block = Buffer.concat(this.parts, this.bytes);
    this.streamId = 0;
    this.parts = [];
    this.bytes = 0;
    return block;
  }
}
