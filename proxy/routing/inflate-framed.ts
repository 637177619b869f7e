/** Inflating a compressed gRPC message in order to read its model spec: bounded, on the data thread, and rare. */
import { inflateMessageSync, parseEncoding } from '../../proto/grpc/compression.ts';
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';

/** What inflating can end with instead of a message; the values are `SpecVerdict`s. */
const MALFORMED = 3;
const TOO_LARGE = 4;
const UNKNOWN_ENCODING = 5;

/** Largest inflated message, and how many times longer than its compressed form it may be. */
const MAX_INFLATED_BYTES = 64 * 1024 * 1024;
const MAX_RATIO = 200;

/** The message of `framed[0..end)` (prefix included) as identity with a new prefix, or why not. */
export function inflateFramed(framed: Buffer, end: number, encoding: string): Buffer | number {
  const known = parseEncoding(encoding);
  if (known === null) return UNKNOWN_ENCODING;
  if (known === '') return MALFORMED;
  let plain: Buffer;
  try {
    plain = inflateMessageSync(known, framed, PREFIX_BYTES, end, { maxBytes: MAX_INFLATED_BYTES, maxRatio: MAX_RATIO });
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return error.reason === 'too_large' ? TOO_LARGE : MALFORMED;
  }
  const message = Buffer.allocUnsafe(PREFIX_BYTES + plain.length);
  writeMessagePrefix(message, 0, plain.length, false);
  plain.copy(message, PREFIX_BYTES);
  return message;
}
