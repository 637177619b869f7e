/**
 * Copies of message bytes that must outlive the read buffer: a request until it can be sent again or mirrored, an answer
 * until it may be committed. A body that outgrows its pooled buffer moves to the next size. Every byte of them counts in the
 * thread's memory budget.
 */
import { giveBuffer, takeBuffer } from '../../proto/io/buffer-pool.ts';
import { threadMemory } from '../../proto/io/memory-budget.ts';

const idleBodies: BodyBuffer[] = [];
const MAX_IDLE_BODIES = 1024;

export class BodyBuffer {
  buffer: Buffer = NO_BYTES;
  length = 0;

  append(source: Buffer, start: number, end: number): void {
    const needed = this.length + end - start;
    if (needed > this.buffer.length) this.reserve(needed);
    source.copy(this.buffer, this.length, start, end);
    this.length = needed;
    threadMemory.hold(end - start);
  }

  /** Makes room for `bytes` in all, so that a body whose length is known moves once at most. */
  reserve(bytes: number): void {
    if (bytes <= this.buffer.length) return;
    const larger = takeBuffer(bytes);
    this.buffer.copy(larger, 0, 0, this.length);
    giveBuffer(this.buffer);
    this.buffer = larger;
  }
}

const NO_BYTES = Buffer.alloc(0);

/** Empties a body that goes on being used. */
export function clearBody(body: BodyBuffer): void {
  threadMemory.release(body.length);
  body.length = 0;
}

export function acquireBody(): BodyBuffer {
  return idleBodies.pop() ?? new BodyBuffer();
}

/** Gives a body back; nobody may refer to its bytes afterwards. */
export function releaseBody(body: BodyBuffer): void {
  threadMemory.release(body.length);
  giveBuffer(body.buffer);
  body.buffer = NO_BYTES;
  body.length = 0;
  if (idleBodies.length < MAX_IDLE_BODIES) idleBodies.push(body);
}
