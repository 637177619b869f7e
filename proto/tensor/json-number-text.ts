/**
 * Numbers as JSON text. Floats are the shortest decimal that a reader rounds back to the same float, laid out as C's `%g`
 * does: an exponent of at least two digits where it is below -4 or beyond the digits of the format, `.0` on whole numbers.
 *
 *   0.1f -> 0.1   3 -> 3.0   9000000 -> 9e+06   1234567 -> 1234567.0   3e-5 -> 3e-05   NaN, Infinity, -Infinity
 */
import type { ByteSink } from './byte-sink.ts';
import { POWERS_OF_TEN } from './json-number.ts';

/** `%g` shows six digits; where those do not tell a number from its neighbours, nine or seventeen are enough. */
const SHORT_DIGITS = 6;
const FLOAT_DIGITS = 9;
const DOUBLE_DIGITS = 17;
/** Longest text of a number. */
const LONGEST = 40;

const scratch = Buffer.alloc(32);

/** Appends a float32 given as the double it equals. */
export function putFloat(sink: ByteSink, value: number): void {
  if (value === 0 || !Number.isFinite(value)) {
    putSpecial(sink, value);
    return;
  }
  const size = Math.abs(value);
  // Small whole numbers need no search.
  if (size < 1e6 && Number.isInteger(value)) {
    sink.reserve(LONGEST);
    if (value < 0) sink.bytes[sink.length++] = 0x2d;
    putDigits(sink, size);
    sink.bytes[sink.length++] = 0x2e;
    sink.bytes[sink.length++] = 0x30;
    return;
  }
  let exponent = Math.floor(Math.log10(size));
  if (exponent < -13 || exponent > 22) {
    putByText(sink, value, floatText(value), FLOAT_DIGITS);
    return;
  }
  if (scaled(size, -exponent) >= 10) exponent++;
  else if (scaled(size, -exponent) < 1) exponent--;
  for (let digits = SHORT_DIGITS; digits <= FLOAT_DIGITS; digits++) {
    const shift = digits - 1 - exponent;
    const decimal = Math.round(scaled(size, shift));
    if (digits < FLOAT_DIGITS && Math.fround(scaled(decimal, -shift)) !== size) continue;
    // Rounding up may have made it one digit longer: 999999.6 is 1e+06 in six digits.
    if (decimal >= POWERS_OF_TEN[digits]) exponent++;
    putDecimal(sink, value < 0, decimal, exponent, FLOAT_DIGITS);
    return;
  }
}

/** Appends a double. */
export function putDouble(sink: ByteSink, value: number): void {
  if (value === 0 || !Number.isFinite(value)) putSpecial(sink, value);
  else putByText(sink, value, Math.abs(value).toExponential(), DOUBLE_DIGITS);
}

/** Appends an integer of at most 53 bits. */
export function putInteger(sink: ByteSink, value: number): void {
  sink.reserve(LONGEST);
  if (value < 0) {
    sink.bytes[sink.length++] = 0x2d;
    value = -value;
  }
  putDigits(sink, value);
}

/** Appends a 64-bit integer given as halves. */
export function putLong(sink: ByteSink, lo: number, hi: number, signed: boolean): void {
  const high = signed ? hi : hi >>> 0;
  if (high < 0x200000 && high >= -0x200000) putInteger(sink, high * 4294967296 + (lo >>> 0));
  else sink.putAscii(String((BigInt(high) << 32n) | BigInt(lo >>> 0)));
}

function putSpecial(sink: ByteSink, value: number): void {
  if (Number.isNaN(value)) sink.putAscii('NaN');
  else if (value === 0) sink.putAscii(Object.is(value, -0) ? '-0.0' : '0.0');
  else sink.putAscii(value < 0 ? '-Infinity' : 'Infinity');
}

/** `value * 10^shift` with one rounding; the power is exact for shifts up to 22 either way. */
function scaled(value: number, shift: number): number {
  return shift < 0 ? value / POWERS_OF_TEN[-shift] : value * POWERS_OF_TEN[shift];
}

/** Rare sizes: the shortest of the engine's own texts that reads back as the same float. */
function floatText(value: number): string {
  const size = Math.abs(value);
  for (let digits = 1; digits < FLOAT_DIGITS; digits++) {
    const text = size.toExponential(digits - 1);
    if (Math.fround(Number(text)) === size) return text;
  }
  return size.toExponential(FLOAT_DIGITS - 1);
}

/** Appends a number given as `D.DDDe+X`. */
function putByText(sink: ByteSink, value: number, text: string, format: number): void {
  const e = text.indexOf('e');
  const exponent = Number(text.slice(e + 1));
  let length = 0;
  for (let i = 0; i < e; i++) if (i !== 1) scratch[length++] = text.charCodeAt(i);
  putLaidOut(sink, value < 0, length, exponent, format);
}

function putDecimal(sink: ByteSink, negative: boolean, decimal: number, exponent: number, format: number): void {
  let rest = decimal | 0;
  let length = 1;
  while (length < 10 && rest >= POWERS_OF_TEN[length]) length++;
  for (let at = length - 1; at >= 0; at--) {
    const next = (rest / 10) | 0;
    scratch[at] = 0x30 + rest - next * 10;
    rest = next;
  }
  putLaidOut(sink, negative, length, exponent, format);
}

/** Appends the digits in `scratch[0 .. length)`, the first of which stands for `10^exponent`. */
function putLaidOut(sink: ByteSink, negative: boolean, length: number, exponent: number, format: number): void {
  while (length > 1 && scratch[length - 1] === 0x30) length--;
  sink.reserve(LONGEST);
  const { bytes } = sink;
  let at = sink.length;
  if (negative) bytes[at++] = 0x2d;
  if (exponent < -4 || exponent >= (length <= SHORT_DIGITS ? SHORT_DIGITS : format)) {
    bytes[at++] = scratch[0];
    if (length > 1) bytes[at++] = 0x2e;
    for (let i = 1; i < length; i++) bytes[at++] = scratch[i];
    bytes[at++] = 0x65;
    bytes[at++] = exponent < 0 ? 0x2d : 0x2b;
    const size = Math.abs(exponent);
    if (size >= 100) bytes[at++] = 0x30 + Math.floor(size / 100);
    bytes[at++] = 0x30 + (Math.floor(size / 10) % 10);
    bytes[at++] = 0x30 + (size % 10);
  } else if (exponent < 0) {
    bytes[at++] = 0x30;
    bytes[at++] = 0x2e;
    for (let i = -1; i > exponent; i--) bytes[at++] = 0x30;
    for (let i = 0; i < length; i++) bytes[at++] = scratch[i];
  } else {
    for (let i = 0; i <= exponent; i++) bytes[at++] = i < length ? scratch[i] : 0x30;
    bytes[at++] = 0x2e;
    if (length <= exponent + 1) bytes[at++] = 0x30;
    for (let i = exponent + 1; i < length; i++) bytes[at++] = scratch[i];
  }
  sink.length = at;
}

/** Appends the digits of a whole number from 0 to 2^53. */
function putDigits(sink: ByteSink, value: number): void {
  const { bytes } = sink;
  let length = 1;
  while (length < 16 && value >= POWERS_OF_TEN[length]) length++;
  let at = sink.length + length;
  sink.length = at;
  // Two steps, so that most of the division is done in 32 bits.
  while (value >= 1e9) {
    bytes[--at] = 0x30 + (value % 10);
    value = Math.floor(value / 10);
  }
  let rest = value | 0;
  do {
    const next = (rest / 10) | 0;
    bytes[--at] = 0x30 + rest - next * 10;
    rest = next;
  } while (rest > 0);
}
