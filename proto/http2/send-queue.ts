/**
 * Bytes of one stream that wait for a window or for the socket, in order, in pooled buffers. Its bound is its feeder's:
 * whoever appends gives its own source credit only for what left.
 */
import { giveBuffer, OUTPUT_BUFFER_BYTES, takeBuffer } from '../io/buffer-pool.ts';

export class SendQueue {
  /** Bytes waiting. */
  length = 0;
  /** The oldest bytes: `head[headStart..headEnd)`, valid while `length` is above 0. */
  head: Buffer = NO_BYTES;
  headStart = 0;
  headEnd = 0;
  private readonly rest: Buffer[] = [];
  /** Bytes used in the newest buffer; the ones between head and newest are full. */
  private tailEnd = 0;

  append(source: Buffer, start: number, end: number): void {
    this.length += end - start;
    while (start < end) {
      let room = this.tail().length - this.end();
      if (room === 0) {
        this.add(takeBuffer(Math.min(end - start, OUTPUT_BUFFER_BYTES)));
        room = this.tail().length;
      }
      const size = Math.min(room, end - start);
      source.copy(this.tail(), this.end(), start, start + size);
      if (this.rest.length === 0) this.headEnd += size;
      else this.tailEnd += size;
      start += size;
    }
  }

  /** Takes `bytes` from the head, at most what it holds. */
  consume(bytes: number): void {
    this.length -= bytes;
    this.headStart += bytes;
    if (this.headStart < this.headEnd) return;
    giveBuffer(this.head);
    this.head = this.rest.shift() ?? NO_BYTES;
    this.headStart = 0;
    this.headEnd = this.rest.length === 0 ? this.tailEnd : this.head.length;
    if (this.rest.length === 0) this.tailEnd = 0;
  }

  /** Drops everything. */
  clear(): void {
    giveBuffer(this.head);
    for (const buffer of this.rest) giveBuffer(buffer);
    this.rest.length = 0;
    this.head = NO_BYTES;
    this.headStart = 0;
    this.headEnd = 0;
    this.tailEnd = 0;
    this.length = 0;
  }

  private tail(): Buffer {
    return this.rest.length === 0 ? this.head : this.rest[this.rest.length - 1]!;
  }

  private end(): number {
    return this.rest.length === 0 ? this.headEnd : this.tailEnd;
  }

  private add(buffer: Buffer): void {
    if (this.length > 0 && this.head !== NO_BYTES) {
      this.rest.push(buffer);
      this.tailEnd = 0;
    } else {
      this.head = buffer;
    }
  }
}

const NO_BYTES = Buffer.alloc(0);
