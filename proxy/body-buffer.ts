/**
 * Copies of message bytes that must outlive the read buffer: a request until it can be sent again or mirrored, an answer
 * until it may be committed. Pooled per thread, because almost every one is small and short-lived.
 */

const FIRST_BYTES = 2048;
/** Larger ones go back to the collector instead of the pool, so that a burst of big bodies leaves nothing behind. */
const KEPT_BYTES = 16_384;
const MAX_IDLE = 512;

const idle: BodyBuffer[] = [];

export class BodyBuffer {
  buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  length = 0;

  append(source: Buffer, start: number, end: number): void {
    const needed = this.length + end - start;
    if (needed > this.buffer.length) this.grow(needed);
    source.copy(this.buffer, this.length, start, end);
    this.length = needed;
  }

  private grow(needed: number): void {
    let size = this.buffer.length * 2;
    while (size < needed) size *= 2;
    const larger = Buffer.allocUnsafeSlow(size);
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }
}

export function acquireBody(): BodyBuffer {
  return idle.pop() ?? new BodyBuffer();
}

/** Gives a body back; nobody may refer to its bytes afterwards. */
export function releaseBody(body: BodyBuffer): void {
  body.length = 0;
  if (body.buffer.length <= KEPT_BYTES && idle.length < MAX_IDLE) idle.push(body);
}
