/**
 * Reads a JSON value (a number, a list, lists in lists) straight into elements and a shape. The first way down to an
 * element fixes the rank and each list's first end fixes its size; everything after must agree, with TensorFlow Serving's
 * texts where it does not.
 */
import { DataType, dtypeBytes, dtypeName } from './dtype.ts';
import type { ElementSink } from './element-sink.ts';
import { failValue, JsonError, JsonSyntax } from './json-error.ts';
import { JsonNumber } from './json-number.ts';
import { Char, type JsonScanner } from './json-scanner.ts';
import { jsonTypeName, jsonValueText } from './json-text.ts';
import { MAX_ELEMENTS, MAX_RANK } from './tensor-proto.ts';

/** Largest integers that every smaller one of is exact in a float, a double and a half. */
const MAX_FLOAT_INTEGER = 2 ** 24 - 1;
const MAX_DOUBLE_INTEGER = 2 ** 53 - 1;
const MAX_HALF_INTEGER = 2 ** 11 - 1;
const MAX_FLOAT = 3.4028234663852886e38;
const MAX_HALF = 65504;

const B64_KEY = Buffer.from('b64');
const number = new JsonNumber();

export class JsonTensorReader {
  /** Shape of the value read last: `dims[0 .. rank)`. */
  rank = 0;
  readonly dims: number[] = [];
  private scanner!: JsonScanner;
  private sink!: ElementSink;
  private dtype = 0;
  private rounds = false;
  private readonly counts: number[] = [];

  /**
   * Appends the elements of the value at the scanner's position to `sink`. The syntax has been checked. Whole numbers that
   * a float cannot hold exactly are refused, as TensorFlow Serving does, unless `rounds`.
   * @throws JsonError `value` where the value is no tensor of that type, `unsupported` where JSON carries no such type
   */
  read(scanner: JsonScanner, dtype: number, sink: ElementSink, rounds = false): void {
    this.rounds = rounds;
    this.scanner = scanner;
    this.sink = sink;
    this.dtype = dtype;
    const { dims, counts } = this;
    let level = 0;
    let rank = -1;
    for (;;) {
      const byte = scanner.peek();
      if (byte === Char.open) {
        if (rank >= 0 && level >= rank) {
          failValue(`Encountered list at unexpected level: ${level} expected < ${rank}`);
        }
        if (level === MAX_RANK) throw new JsonError('too_large', `more than ${MAX_RANK} dimensions`);
        if (rank < 0) dims[level] = -1;
        counts[level++] = 0;
        scanner.pos++;
        if (scanner.peek() !== Char.close) continue;
        if (rank < 0) rank = level;
        scanner.pos++;
        this.endList(--level);
      } else {
        if (rank < 0) rank = level;
        else if (level !== rank) this.failLevel(level, rank);
        if (level > 0 && this.readRun(level - 1)) this.endList(--level);
        else this.readOther(level, rank);
      }
      while (level > 0) {
        counts[level - 1]++;
        if (scanner.peek() === Char.comma) {
          scanner.pos++;
          break;
        }
        scanner.expect(Char.close, JsonSyntax.elementEnd);
        this.endList(--level);
      }
      if (level === 0) break;
    }
    this.rank = rank;
  }

  /** An element that `readRun` left, or a list where only elements may be. */
  private readOther(level: number, rank: number): void {
    const byte = this.scanner.peek();
    if (byte === Char.open) failValue(`Encountered list at unexpected level: ${level} expected < ${rank}`);
    this.readElement(byte);
  }

  /** A list at `level` has ended: its size is the level's, or must be. */
  private endList(level: number): void {
    const size = this.counts[level];
    if (this.dims[level] === -1) this.dims[level] = size;
    else if (this.dims[level] !== size) {
      failValue(`Encountered list at unexpected size: ${size} at level: ${level} expected size: ${this.dims[level]}`);
    }
  }

  /**
   * The usual case in a loop of its own: the floats of an innermost list, to its closing bracket. False where something
   * else comes up; then `pos` is at the first value not read, or at the start.
   */
  private readRun(level: number): boolean {
    if (this.dtype !== DataType.FLOAT && this.dtype !== DataType.DOUBLE) return false;
    const { scanner, sink, counts } = this;
    const single = this.dtype === DataType.FLOAT;
    const largest = single ? MAX_FLOAT_INTEGER : MAX_DOUBLE_INTEGER;
    const most = single ? MAX_FLOAT : Number.MAX_VALUE;
    for (;;) {
      const byte = scanner.peek();
      if (byte !== Char.minus && (byte < Char.zero || byte > Char.nine)) return false;
      const start = scanner.pos;
      number.read(scanner, single);
      const { value } = number;
      const size = Math.abs(value);
      if (number.isInteger ? size > largest : size > most) {
        scanner.pos = start;
        return false;
      }
      sink.reserve(sink.count + 1, single ? 4 : 8);
      if (single) sink.float32[sink.count++] = value;
      else sink.float64[sink.count++] = value;
      const next = scanner.peek();
      if (next === Char.close) {
        scanner.pos++;
        counts[level]++;
        return true;
      }
      scanner.expect(Char.comma, JsonSyntax.elementEnd);
      counts[level]++;
    }
  }

  private readElement(byte: number): void {
    const { sink, dtype } = this;
    if (sink.count >= MAX_ELEMENTS) throw new JsonError('too_large', `more than ${MAX_ELEMENTS} elements`);
    switch (dtype) {
      case DataType.STRING:
        this.readString(byte);
        return;
      case DataType.BOOL:
        if (byte !== 0x74 && byte !== 0x66) this.failType(byte);
        this.scanner.passValue();
        sink.reserve(sink.count + 1, 1);
        sink.cells8[sink.count++] = byte === 0x74 ? 1 : 0;
        return;
      case DataType.FLOAT:
      case DataType.DOUBLE:
      case DataType.HALF:
        this.readDecimal(byte);
        return;
      case DataType.INT64:
      case DataType.UINT64:
        this.readLong(byte);
        return;
      case DataType.INT8:
      case DataType.UINT8:
      case DataType.INT16:
      case DataType.UINT16:
      case DataType.INT32:
      case DataType.UINT32:
        this.readInteger(byte);
        return;
      default:
        throw new JsonError('unsupported', `Conversion of JSON Value: ${this.valueText()} to type: ${typeName(dtype)}`);
    }
  }

  private readDecimal(byte: number): void {
    const { sink, scanner, dtype } = this;
    const start = scanner.pos;
    this.readNumber(byte);
    const { value } = number;
    if (Number.isFinite(value) && isLossy(dtype, value, number.isInteger && !this.rounds)) {
      scanner.pos = start;
      const text = this.valueText();
      failValue(`Cannot convert JSON value: ${text} to ${typeName(dtype)} without loss of precision.`);
    }
    sink.reserve(sink.count + 1, dtypeBytes(dtype));
    if (dtype === DataType.FLOAT) sink.float32[sink.count++] = value;
    else if (dtype === DataType.DOUBLE) sink.float64[sink.count++] = value;
    else sink.float16[sink.count++] = value;
  }

  private readLong(byte: number): void {
    const { sink, scanner } = this;
    const start = scanner.pos;
    this.readNumber(byte);
    if (this.dtype === DataType.INT64 ? !number.fitsInt64 : !number.fitsUint64) {
      scanner.pos = start;
      this.failType(byte);
    }
    sink.reserve(sink.count + 1, 8);
    sink.cells32[sink.count * 2] = number.lo;
    sink.cells32[sink.count * 2 + 1] = number.hi;
    sink.count++;
  }

  private readInteger(byte: number): void {
    const { sink, scanner, dtype } = this;
    const start = scanner.pos;
    this.readNumber(byte);
    const { value } = number;
    if (!number.isInteger || value < MIN_INTEGER[dtype] || value > MAX_INTEGER[dtype]) {
      scanner.pos = start;
      this.failType(byte);
    }
    const size = dtypeBytes(dtype);
    sink.reserve(sink.count + 1, size);
    if (size === 4) sink.cells32[sink.count++] = value;
    else if (size === 2) sink.cells16[sink.count++] = value;
    else sink.cells8[sink.count++] = value;
  }

  private readNumber(byte: number): void {
    const isNumber = byte === Char.minus || (byte >= Char.zero && byte <= Char.nine) || byte === 0x4e || byte === 0x49;
    if (!isNumber) this.failType(byte);
    number.read(this.scanner);
  }

  private readString(byte: number): void {
    const { scanner, sink } = this;
    if (byte === Char.quote) {
      scanner.passString();
      if (scanner.stringEscaped) sink.putText(scanner.stringText());
      else sink.putString(scanner.buf, scanner.stringStart, scanner.stringEnd);
      return;
    }
    if (byte !== Char.openObject) this.failType(byte);
    if (!isBase64Object(scanner)) failValue(`JSON Value: ${this.valueText()} not formatted correctly for base64 data`);
    this.readBase64();
  }

  /** `{"b64": "..."}`, known to be one. */
  private readBase64(): void {
    const { scanner, sink } = this;
    scanner.pos++;
    scanner.passKey();
    scanner.peek();
    scanner.passString();
    const text = scanner.stringText();
    if (!isBase64(text)) failValue('Unable to base64 decode');
    const bytes = Buffer.from(text, 'base64');
    sink.putString(bytes, 0, bytes.length);
    scanner.expect(Char.closeObject, JsonSyntax.memberEnd);
  }

  private failType(byte: number): never {
    const text = this.valueText();
    const expected = typeName(this.dtype);
    return failValue(`JSON Value: ${text} Type: ${jsonTypeName(byte)} is not of expected type: ${expected}`);
  }

  private failLevel(level: number, rank: number): never {
    const text = this.valueText();
    return failValue(
      `JSON Value: ${text} found at incorrect level: ${level + 1} in the JSON DOM. Expected at level: ${rank}`,
    );
  }

  private valueText(): string {
    return jsonValueText(this.scanner.buf, this.scanner.pos, this.scanner.end);
  }
}

/** Whether the object at `pos` is `{"b64": STRING}` and nothing else. Leaves the position. */
export function isBase64Object(scanner: JsonScanner): boolean {
  const { pos } = scanner;
  const is = passesBase64Object(scanner);
  scanner.pos = pos;
  return is;
}

function passesBase64Object(scanner: JsonScanner): boolean {
  if (scanner.peek() !== Char.openObject) return false;
  scanner.pos++;
  if (scanner.peek() !== Char.quote) return false;
  scanner.passKey();
  const { buf, stringStart, stringEnd } = scanner;
  if (stringEnd - stringStart !== 3 || B64_KEY.compare(buf, stringStart, stringEnd) !== 0) return false;
  if (scanner.peek() !== Char.quote) return false;
  scanner.passString();
  return scanner.peek() === Char.closeObject;
}

/** Standard alphabet, padded or not. */
function isBase64(text: string): boolean {
  const body = text.length - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);
  if (body % 4 === 1 || (body !== text.length && text.length % 4 !== 0)) return false;
  for (let i = 0; i < body; i++) if (BASE64[text.charCodeAt(i) & 0x7f] === 0 || text.charCodeAt(i) > 0x7f) return false;
  return true;
}
const BASE64 = new Uint8Array(128);
for (const byte of Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')) BASE64[byte] = 1;

/** TensorFlow Serving's rule: whole numbers must be exact in the type, others need only be within its range. */
function isLossy(dtype: number, value: number, isInteger: boolean): boolean {
  const size = Math.abs(value);
  if (dtype === DataType.DOUBLE) return isInteger && size <= 2 ** 64 && size > MAX_DOUBLE_INTEGER;
  if (dtype === DataType.FLOAT) return isInteger && size <= 2 ** 64 ? size > MAX_FLOAT_INTEGER : size > MAX_FLOAT;
  return isInteger ? size > MAX_HALF_INTEGER : size > MAX_HALF;
}

const MIN_INTEGER: number[] = [];
const MAX_INTEGER: number[] = [];
for (const [dtype, bits, signed] of [
  [DataType.INT8, 8, true],
  [DataType.UINT8, 8, false],
  [DataType.INT16, 16, true],
  [DataType.UINT16, 16, false],
  [DataType.INT32, 32, true],
  [DataType.UINT32, 32, false],
] as const) {
  MIN_INTEGER[dtype] = signed ? -(2 ** (bits - 1)) : 0;
  MAX_INTEGER[dtype] = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
}

/** TensorFlow's spelling: `float`, `int64`. */
function typeName(dtype: number): string {
  return dtypeName(dtype).replace(/^DT_/, '').toLowerCase();
}
