/**
 * Bytes of one stream that wait for a window or for the socket, in order, in pooled buffers; END_STREAM or trailers may
 * wait behind them. Its bound is its feeder's: whoever appends gives its own source credit only for what left. Small
 * pieces share a buffer, so many of them cost little more than their bytes.
 */
import { giveBuffer, OUTPUT_BUFFER_BYTES, takeBuffer } from '../io/buffer-pool.ts';
import { threadMemory } from '../io/memory-budget.ts';
import type { HeaderList } from './header-list.ts';

export class SendQueue {
  /** Bytes waiting. */
  bytes = 0;
  /** The stream ends when they are gone: with END_STREAM, or with `trailers`. */
  end = false;
  trailers: HeaderList | null = null;
  /** In the connection's list of streams that wait to send. */
  listed = false;
  /** Looks of the connection watch since bytes last left. */
  idleLooks = 0;
  /** The oldest bytes: `head[headStart..headEnd)`, valid while `bytes` is above 0. */
  head: Buffer = NO_BYTES;
  headStart = 0;
  headEnd = 0;
  private readonly rest: Buffer[] = [];
  /** Bytes used in the newest buffer; the ones between head and newest are full. */
  private tailEnd = 0;

  /** Adds a copy. */
  append(source: Buffer, start: number, end: number): void {
    threadMemory.hold(end - start);
    this.bytes += end - start;
    while (start < end) {
      let room = this.tail().length - this.used();
      if (room === 0) {
        this.add(takeBuffer(Math.min(end - start, OUTPUT_BUFFER_BYTES)));
        room = this.tail().length;
      }
      const size = Math.min(room, end - start);
      source.copy(this.tail(), this.used(), start, start + size);
      if (this.rest.length === 0) this.headEnd += size;
      else this.tailEnd += size;
      start += size;
    }
  }

  /** Takes `count` bytes from the head, at most what it holds. */
  consume(count: number): void {
    if (count === 0) return;
    threadMemory.release(count);
    this.bytes -= count;
    this.headStart += count;
    if (this.headStart < this.headEnd) return;
    giveBuffer(this.head);
    this.head = this.rest.shift() ?? NO_BYTES;
    this.headStart = 0;
    this.headEnd = this.rest.length === 0 ? this.tailEnd : this.head.length;
    if (this.rest.length === 0) this.tailEnd = 0;
  }

  /** Drops everything. */
  clear(): void {
    threadMemory.release(this.bytes);
    giveBuffer(this.head);
    for (const buffer of this.rest) giveBuffer(buffer);
    this.rest.length = 0;
    this.head = NO_BYTES;
    this.headStart = 0;
    this.headEnd = 0;
    this.tailEnd = 0;
    this.bytes = 0;
    this.end = false;
    this.trailers = null;
  }

  private tail(): Buffer {
    return this.rest.length === 0 ? this.head : this.rest[this.rest.length - 1]!;
  }

  private used(): number {
    return this.rest.length === 0 ? this.headEnd : this.tailEnd;
  }

  private add(buffer: Buffer): void {
    if (this.head === NO_BYTES) {
      this.head = buffer;
      return;
    }
    this.rest.push(buffer);
    this.tailEnd = 0;
  }
}

const NO_BYTES = Buffer.alloc(0);
