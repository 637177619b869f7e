/**
 * Inflating a compressed gRPC message in order to read its model spec: bounded in size and in ratio, so that a small
 * message cannot become a large one, and rare (clients compress large bodies, not small ones).
 */
import { gunzipSync, inflateSync } from 'node:zlib';

/** What inflating can end with instead of a message; the values are `SpecVerdict`s. */
const MALFORMED = 3;
const TOO_LARGE = 4;
const UNKNOWN_ENCODING = 5;

const PREFIX_BYTES = 5;
/** Largest inflated message, bytes. */
const MAX_INFLATED_BYTES = 64 * 1024 * 1024;
/** Most bytes that one compressed byte may become, above a floor: deflate's own limit is 1032. */
const MAX_RATIO = 200;
const RATIO_FLOOR_BYTES = 64 * 1024;

/** The message of `framed[0..end)` (prefix included) as identity with a new prefix, or why not. */
export function inflateFramed(framed: Buffer, end: number, encoding: string): Buffer | number {
  if (encoding !== 'gzip' && encoding !== 'deflate') return encoding === '' ? MALFORMED : UNKNOWN_ENCODING;
  const compressed = framed.subarray(PREFIX_BYTES, end);
  const maxOutputLength = Math.min(MAX_INFLATED_BYTES, Math.max(RATIO_FLOOR_BYTES, compressed.length * MAX_RATIO));
  let plain: Buffer;
  try {
    plain =
      encoding === 'gzip' ? gunzipSync(compressed, { maxOutputLength }) : inflateSync(compressed, { maxOutputLength });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? TOO_LARGE : MALFORMED;
  }
  const message = Buffer.allocUnsafe(PREFIX_BYTES + plain.length);
  message[0] = 0;
  message.writeUInt32BE(plain.length, 1);
  plain.copy(message, PREFIX_BYTES);
  return message;
}
