/**
 * Names on the wire become strings here. Short ASCII names (models, tensors, signatures) are few and come again and
 * again, so they are looked up in a small table instead of being made anew.
 */
import { isUtf8 } from 'node:buffer';
import { WireError } from './wire-error.ts';

/** A collision only costs the decoding that would have happened anyway. */
const TABLE_BITS = 9;
const LONGEST_KEPT_BYTES = 64;
const table: (string | null)[] = new Array(1 << TABLE_BITS).fill(null);

/**
 * The text of `[start, end)`.
 * @throws WireError where it is not UTF-8, as protobuf demands of a `string` field; `what` names the field.
 */
export function readText(buf: Buffer, start: number, end: number, what: string): string {
  const length = end - start;
  if (length === 0) return '';
  if (length > LONGEST_KEPT_BYTES) return decode(buf, start, end, what);
  // A few bytes tell names apart well enough: they differ in length, at the end (versions, counters) or at the start.
  const middle = buf[start + (length >>> 1)];
  const ends = (buf[start] << 16) ^ (buf[end - 1] << 8) ^ (length > 1 ? buf[end - 2] : 0);
  const hash = Math.imul(ends ^ (middle << 20) ^ (length << 26), 0x9e3779b1);
  const slot = hash >>> (32 - TABLE_BITS);
  const kept = table[slot];
  if (kept !== null && isAsciiText(buf, start, length, kept)) return kept;
  for (let i = start; i < end; i++) if (buf[i] >= 0x80) return decode(buf, start, end, what);
  const text = buf.toString('latin1', start, end);
  table[slot] = text;
  return text;
}

/** Whether `[start, end)` spells `text`. */
export function textEquals(buf: Buffer, start: number, end: number, text: string): boolean {
  const length = end - start;
  if (isAsciiText(buf, start, length, text)) return true;
  // Lengths agree for ASCII, so only other names get here with a chance left.
  return length > text.length && buf.toString('utf8', start, end) === text;
}

/** Whether two ranges of one buffer hold the same bytes. */
export function rangesEqual(buf: Buffer, aStart: number, aEnd: number, bStart: number, bEnd: number): boolean {
  if (aEnd - aStart !== bEnd - bStart) return false;
  for (let i = aStart, j = bStart; i < aEnd; i++, j++) if (buf[i] !== buf[j]) return false;
  return true;
}

function isAsciiText(buf: Buffer, start: number, length: number, text: string): boolean {
  if (text.length !== length) return false;
  let bits = 0;
  for (let i = 0; i < length; i++) {
    const byte = buf[start + i];
    if (byte !== text.charCodeAt(i)) return false;
    bits |= byte;
  }
  return bits < 0x80;
}

function decode(buf: Buffer, start: number, end: number, what: string): string {
  if (!isUtf8(buf.subarray(start, end))) throw new WireError('malformed', what, 'text is not UTF-8');
  return buf.toString('utf8', start, end);
}
