/**
 * Reads one JSON number from its bytes: as the nearest double, and for integers exactly in 64 bits as well. The usual
 * number (up to 15 digits, a small exponent) is computed from one integer and one power of ten, both exact in a double,
 * so the one rounding is the right one; the rest goes through the engine's own conversion.
 */
import { JsonSyntax } from './json-error.ts';
import { Char, type JsonScanner } from './json-scanner.ts';

/** Powers of ten that a double holds exactly. */
export const POWERS_OF_TEN: readonly number[] = Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));
/** Any 15 digits are below 2^53. */
const EXACT_DIGITS = 15;
/**
 * Longer decimals for a float32 (Python writes floats with 17 digits): summed up in a double they are off by less than
 * this part, and where both ends of that range round to one float32, so does the number.
 */
const LONG_DIGITS = 25;
const LONG_ERROR = 2 ** -47;
const LONG_SCALE = -44;

export class JsonNumber {
  /** The nearest double; NaN and infinities for the words that mean them. */
  value = 0;
  /** Neither fraction nor exponent nor a word: what an integer tensor takes. */
  isInteger = false;
  /** For an integer: its low and high 32 bits, both signed; valid where one of the next two holds. */
  lo = 0;
  hi = 0;
  fitsInt64 = false;
  fitsUint64 = false;

  /**
   * Reads the number at the scanner's position and moves behind it. The syntax has been checked. With `single` the value
   * is only good for rounding to a float32. @throws JsonError
   */
  read(scanner: JsonScanner, single = false): void {
    const { buf, end } = scanner;
    const start = scanner.pos;
    let pos = start;
    const negative = buf[pos] === Char.minus;
    if (negative) pos++;
    let mantissa = 0;
    let byte = pos < end ? buf[pos] : 0;
    if (byte < Char.zero || byte > Char.nine) {
      this.readWord(scanner, pos, negative);
      return;
    }
    const digitsStart = pos;
    while (byte >= Char.zero && byte <= Char.nine) {
      mantissa = mantissa * 10 + (byte - Char.zero);
      byte = ++pos < end ? buf[pos] : 0;
    }
    let digits = pos - digitsStart;
    if (byte !== Char.dot && (byte | 0x20) !== 0x65) {
      scanner.pos = pos;
      this.finishInteger(scanner, start, pos, negative, mantissa, digits);
      return;
    }
    let scale = 0;
    if (byte === Char.dot) {
      const fractionStart = ++pos;
      byte = pos < end ? buf[pos] : 0;
      while (byte >= Char.zero && byte <= Char.nine) {
        mantissa = mantissa * 10 + (byte - Char.zero);
        byte = ++pos < end ? buf[pos] : 0;
      }
      scale = fractionStart - pos;
      // "0.001" has one significant digit, but counting them all only costs the fast way a few small numbers.
      digits -= scale;
    }
    if ((byte | 0x20) === 0x65) {
      byte = ++pos < end ? buf[pos] : 0;
      const down = byte === Char.minus;
      if (down || byte === Char.plus) byte = ++pos < end ? buf[pos] : 0;
      let exponent = 0;
      while (byte >= Char.zero && byte <= Char.nine) {
        if (exponent < 100_000) exponent = exponent * 10 + (byte - Char.zero);
        byte = ++pos < end ? buf[pos] : 0;
      }
      scale += down ? -exponent : exponent;
    }
    scanner.pos = pos;
    this.isInteger = false;
    this.fitsInt64 = false;
    this.fitsUint64 = false;
    if (digits <= EXACT_DIGITS && scale >= -22 && scale <= 22) {
      const value = scale < 0 ? mantissa / POWERS_OF_TEN[-scale] : mantissa * POWERS_OF_TEN[scale];
      this.value = negative ? -value : value;
    } else if (!single || digits > LONG_DIGITS || scale > 0 || scale < LONG_SCALE) {
      this.value = this.convert(scanner, start, pos);
    } else {
      let value = scale < -22 ? mantissa / 1e22 / POWERS_OF_TEN[-22 - scale] : mantissa / POWERS_OF_TEN[-scale];
      if (Math.fround(value * (1 - LONG_ERROR)) !== Math.fround(value * (1 + LONG_ERROR))) {
        value = Math.abs(this.convert(scanner, start, pos));
      }
      this.value = negative ? -value : value;
    }
  }

  /** NaN, Infinity or Inf at `pos`; the sign has been passed. */
  private readWord(scanner: JsonScanner, pos: number, negative: boolean): void {
    const isNan = scanner.buf[pos] === 0x4e;
    scanner.pos = pos;
    if (!scanner.passSpecial()) scanner.fail(JsonSyntax.value);
    this.isInteger = false;
    this.fitsInt64 = false;
    this.fitsUint64 = false;
    if (isNan) this.value = Number.NaN;
    else this.value = negative ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }

  private finishInteger(
    scanner: JsonScanner,
    start: number,
    end: number,
    negative: boolean,
    mantissa: number,
    digits: number,
  ): void {
    this.isInteger = true;
    if (digits <= EXACT_DIGITS) {
      const value = negative ? -mantissa : mantissa;
      this.value = value;
      this.lo = value | 0;
      this.hi = Math.floor(value / 4294967296);
      this.fitsInt64 = true;
      this.fitsUint64 = value >= 0;
      return;
    }
    this.value = this.convert(scanner, start, end);
    this.fitsInt64 = false;
    this.fitsUint64 = false;
    if (digits > 20) return;
    const exact = BigInt(scanner.buf.toString('latin1', start, end));
    this.fitsInt64 = exact >= -0x8000000000000000n && exact <= 0x7fffffffffffffffn;
    this.fitsUint64 = exact >= 0n && exact <= 0xffffffffffffffffn;
    this.lo = Number(BigInt.asIntN(32, exact));
    this.hi = Number(BigInt.asIntN(32, exact >> 32n));
  }

  private convert(scanner: JsonScanner, start: number, end: number): number {
    const value = Number(scanner.buf.toString('latin1', start, end));
    if (!Number.isFinite(value)) {
      scanner.pos = start;
      scanner.fail(JsonSyntax.tooBig);
    }
    return value;
  }
}
