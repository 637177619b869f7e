/**
 * gRPC message compression: identity, gzip and deflate (gRPC over HTTP/2, "Compression"; deflate is the zlib format).
 *
 * What comes out is bounded twice before anything is allocated for it: by size, and by a multiple of what came in, so that
 * a small message cannot cost a large one's memory. zlib itself stops at the bound.
 */
import { deflate, deflateSync, gunzip, gunzipSync, gzip, gzipSync, inflate, inflateSync } from 'node:zlib';
import { WireError } from '../tensor/wire-error.ts';

/** Value of `grpc-accept-encoding`, also sent with UNIMPLEMENTED when an unknown encoding was used. */
export const ACCEPT_ENCODING = 'identity,deflate,gzip';

export type MessageEncoding = 'gzip' | 'deflate';

export interface InflateBounds {
  /** Bytes that may come out at most. */
  readonly maxBytes: number;
  /** Bytes that may come out for each byte that goes in. Tensors of zeros reach deflate's own limit of about 1030. */
  readonly maxRatio: number;
}

/** Calls with `(null, bytes)` or `(error, null)`, once. */
export type CompressionCallback = (error: WireError | null, bytes: Buffer | null) => void;

/** Messages up to this many bytes are tried on the calling thread: a hop to the pool costs more than they do. */
const SYNC_INPUT_BYTES = 4096;
/** And up to this many bytes of output, some tens of microseconds of work. */
const SYNC_OUTPUT_BYTES = 65536;
/** Tiny messages may grow to this whatever the ratio, because a header alone can outweigh them. */
const RATIO_FREE_BYTES = 4096;

/** The encoding that a `grpc-encoding` value names: '' for identity, null for one we do not know. Case matters. */
export function parseEncoding(value: string | undefined): MessageEncoding | '' | null {
  if (value === undefined || value === '' || value === 'identity') return '';
  return value === 'gzip' || value === 'deflate' ? value : null;
}

/** grpc-message for UNIMPLEMENTED where `parseEncoding` said null; send `ACCEPT_ENCODING` along. */
export function unknownEncodingText(value: string): string {
  return `Compression algorithm '${value}' is not supported: accepted are ${ACCEPT_ENCODING}`;
}

/**
 * Inflates `[start, end)` on the calling thread: for small messages, and for threads that may wait.
 * @throws WireError `too_large` at a bound, `compression` where the bytes are corrupt or cut short.
 */
export function inflateMessageSync(
  encoding: MessageEncoding,
  buf: Buffer,
  start: number,
  end: number,
  bounds: InflateBounds,
): Buffer {
  const limit = outputLimit(end - start, bounds);
  try {
    const input = buf.subarray(start, end);
    const options = { maxOutputLength: limit };
    return encoding === 'gzip' ? gunzipSync(input, options) : inflateSync(input, options);
  } catch (error) {
    throw translate(error, encoding, limit);
  }
}

/**
 * Inflates `[start, end)`: small messages at once (the callback runs before this returns), others on zlib's thread pool.
 * The bytes must stay as they are until the callback.
 */
export function inflateMessage(
  encoding: MessageEncoding,
  buf: Buffer,
  start: number,
  end: number,
  bounds: InflateBounds,
  callback: CompressionCallback,
): void {
  const limit = outputLimit(end - start, bounds);
  if (end - start <= SYNC_INPUT_BYTES) {
    const small = Math.min(limit, SYNC_OUTPUT_BYTES);
    let bytes: Buffer | null = null;
    let refusal: WireError | null = null;
    try {
      bytes = inflateMessageSync(encoding, buf, start, end, { maxBytes: small, maxRatio: Number.POSITIVE_INFINITY });
    } catch (error) {
      refusal = error as WireError;
    }
    if (refusal === null || refusal.reason !== 'too_large' || small === limit) {
      callback(refusal, bytes);
      return;
    }
  }
  const run = encoding === 'gzip' ? gunzip : inflate;
  run(buf.subarray(start, end), { maxOutputLength: limit }, (error, bytes) => {
    if (error === null) callback(null, bytes);
    else callback(translate(error, encoding, limit), null);
  });
}

/** Compresses `[start, end)` on the calling thread, for tests and small messages. */
export function compressMessageSync(encoding: MessageEncoding, buf: Buffer, start: number, end: number): Buffer {
  const input = buf.subarray(start, end);
  return encoding === 'gzip' ? gzipSync(input) : deflateSync(input);
}

/** Compresses `[start, end)`: small messages at once, others on zlib's thread pool. The bytes must stay until the callback. */
export function compressMessage(
  encoding: MessageEncoding,
  buf: Buffer,
  start: number,
  end: number,
  callback: CompressionCallback,
): void {
  if (end - start <= SYNC_INPUT_BYTES) {
    callback(null, compressMessageSync(encoding, buf, start, end));
    return;
  }
  const run = encoding === 'gzip' ? gzip : deflate;
  run(buf.subarray(start, end), (error, bytes) => {
    if (error === null) callback(null, bytes);
    else callback(translate(error, encoding, 0), null);
  });
}

function outputLimit(inputBytes: number, bounds: InflateBounds): number {
  const byRatio = Math.max(RATIO_FREE_BYTES, inputBytes * bounds.maxRatio);
  // zlib takes no limit below one byte.
  return Math.max(1, Math.floor(Math.min(bounds.maxBytes, byRatio)));
}

function translate(error: unknown, encoding: MessageEncoding, limit: number): WireError {
  if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
    return new WireError('too_large', `${encoding} message`, `inflates to more than ${limit} bytes`, -1, error);
  }
  const problem = error instanceof Error ? error.message : String(error);
  return new WireError('compression', `${encoding} message`, problem, -1, error);
}
