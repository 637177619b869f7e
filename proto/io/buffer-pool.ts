/**
 * Output buffers, pooled per thread. A socket holds one only from its first byte of a loop turn until the kernel has
 * taken it, so idle connections hold none. The pool keeps at most `MAX_IDLE` free buffers (4 MiB); more are dropped
 * for the collector, which bounds what a burst leaves behind.
 */

/** Size of one output buffer in bytes: a turn's worth of small frames, or four full DATA frames. */
export const OUTPUT_BUFFER_BYTES = 65_536;
const MAX_IDLE = 64;

const idle: Buffer[] = [];

/** A buffer of `OUTPUT_BUFFER_BYTES` with arbitrary content; give it back with `releaseBuffer`. */
export function acquireBuffer(): Buffer {
  return idle.pop() ?? Buffer.allocUnsafeSlow(OUTPUT_BUFFER_BYTES);
}

/** Returns a buffer that nothing refers to any more. Last in, first out: the next user finds it in cache. */
export function releaseBuffer(buffer: Buffer): void {
  if (idle.length < MAX_IDLE) idle.push(buffer);
}
