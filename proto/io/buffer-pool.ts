/**
 * Byte buffers of a few sizes, pooled per thread: output of sockets, queued frames, bodies kept for another attempt.
 * Whoever takes a buffer gives it back when nothing refers to it any more; last in, first out, so the next user finds it
 * in cache. Each size keeps a bounded number of idle buffers (11 MiB in all); what a burst leaves beyond that goes to
 * the collector.
 */

/** Most of one output buffer in bytes: a turn's worth of small frames, or four full DATA frames. */
export const OUTPUT_BUFFER_BYTES = 65_536;

/**
 * What an output buffer begins with: enough for what most sockets send in a turn. With the full size for all, every
 * buffer was written to its end by some busy socket sooner or later: 4 MiB at 64 connections.
 */
const FIRST_OUTPUT_BYTES = 16_384;

/** Pooled sizes in bytes, and how many of each may lie idle. */
const SIZES: readonly number[] = [2048, FIRST_OUTPUT_BYTES, OUTPUT_BUFFER_BYTES, 262_144];
const MAX_IDLE: readonly number[] = [512, 128, 64, 16];
const FIRST_OUTPUT_POOL = 1;
const OUTPUT_POOL = 2;

const idle: Buffer[][] = SIZES.map(() => []);
const firstOutputs = idle[FIRST_OUTPUT_POOL]!;
const outputs = idle[OUTPUT_POOL]!;

/** A buffer of at least `bytes`, with arbitrary content. Beyond the pooled sizes its size is the next doubling. */
export function takeBuffer(bytes: number): Buffer {
  for (let i = 0; i < SIZES.length; i++) {
    if (bytes <= SIZES[i]!) return idle[i]!.pop() ?? Buffer.allocUnsafeSlow(SIZES[i]!);
  }
  let size = SIZES[SIZES.length - 1]! * 2;
  while (size < bytes) size *= 2;
  return Buffer.allocUnsafeSlow(size);
}

/** Returns a buffer that nothing refers to any more; one that is not of a pooled size is left to the collector. */
export function giveBuffer(buffer: Buffer): void {
  for (let i = 0; i < SIZES.length; i++) {
    if (buffer.length !== SIZES[i]!) continue;
    if (idle[i]!.length < MAX_IDLE[i]!) idle[i]!.push(buffer);
    return;
  }
}

/** A buffer to begin output with, of at least `bytes` (at most `OUTPUT_BUFFER_BYTES`); give it back with `releaseBuffer`. */
export function acquireBuffer(bytes: number): Buffer {
  if (bytes > FIRST_OUTPUT_BYTES) return outputs.pop() ?? Buffer.allocUnsafeSlow(OUTPUT_BUFFER_BYTES);
  return firstOutputs.pop() ?? Buffer.allocUnsafeSlow(FIRST_OUTPUT_BYTES);
}

/** A buffer of `OUTPUT_BUFFER_BYTES` in the place of one that is too small; its first `length` bytes move over. */
export function growBuffer(buffer: Buffer, length: number): Buffer {
  const larger = acquireBuffer(OUTPUT_BUFFER_BYTES);
  buffer.copy(larger, 0, 0, length);
  releaseBuffer(buffer);
  return larger;
}

export function releaseBuffer(buffer: Buffer): void {
  if (buffer.length === FIRST_OUTPUT_BYTES) {
    if (firstOutputs.length < MAX_IDLE[FIRST_OUTPUT_POOL]!) firstOutputs.push(buffer);
  } else if (outputs.length < MAX_IDLE[OUTPUT_POOL]!) outputs.push(buffer);
}
