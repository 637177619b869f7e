/**
 * Tensors of TensorFlow Serving's REST bodies where nobody has said their types: rows (`instances`, `predictions`) and
 * columns (`inputs`, `outputs`), of requests and of answers. Types are what the text shows: 64-bit integers (exact) where
 * every number is written without fraction and exponent, doubles otherwise, booleans, strings. `{"b64": ...}` is a string.
 *
 * One tensor may come without a name; it is then called ''.
 */
import { DataType, type ElementArray } from './dtype.ts';
import { ElementSink } from './element-sink.ts';
import { failValue, JsonError } from './json-error.ts';
import type { JsonPredictFormat } from './json-predict-request.ts';
import { Char, checkDocument, JsonScanner } from './json-scanner.ts';
import { isBase64Object, JsonTensorReader } from './json-tensor-reader.ts';
import type { JsonOutput } from './json-tensor-writer.ts';
import { MAX_TENSORS } from './predict-message.ts';
import type { TensorData } from './tensor-writer.ts';
import { readText } from './text.ts';
import { WireReader } from './wire.ts';

export interface JsonColumns {
  readonly format: JsonPredictFormat;
  /** Rows of the row format; of columns the first one's. */
  readonly rows: number;
  readonly columns: readonly JsonOutput[];
}

/** Rows of one body; each costs a place for each of its tensors. */
const MAX_ROWS = 1 << 20;

interface Column {
  readonly name: string;
  /** Where its values begin, one for each row. */
  readonly at: number[];
}

export class JsonColumnReader {
  private readonly scanner = new JsonScanner();
  private readonly tensors = new JsonTensorReader();
  private readonly sink = new ElementSink();
  private readonly strings = new WireReader();

  /**
   * Reads `[start, end)`: the member `rowKey` or `columnKey`, the first of them.
   * @throws JsonError; WireError where a string is not UTF-8
   */
  read(buf: Buffer, start: number, end: number, rowKey: string, columnKey: string): JsonColumns {
    const { scanner } = this;
    try {
      checkDocument(scanner, buf, start, end);
      scanner.reset(buf, start, end);
      if (scanner.peek() !== Char.openObject) failValue('the body is no object');
      scanner.pos++;
      while (scanner.peek() !== Char.closeObject) {
        scanner.passKey();
        if (scanner.stringIs(rowKey)) return this.readRows();
        if (scanner.stringIs(columnKey)) return this.readColumns();
        scanner.passValue();
        if (scanner.peek() === Char.comma) scanner.pos++;
      }
      return failValue(`neither ${rowKey} nor ${columnKey}`);
    } finally {
      scanner.release();
      this.sink.clear();
    }
  }

  private readRows(): JsonColumns {
    const { scanner } = this;
    const columns = new Map<string, Column>();
    if (scanner.peek() !== Char.open) failValue('rows are no list');
    scanner.pos++;
    let rows = 0;
    for (; scanner.peek() !== Char.close; rows++) {
      if (rows === MAX_ROWS) throw new JsonError('too_large', `more than ${MAX_ROWS} rows`);
      this.placeValues(columns);
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    return { format: 'row', rows, columns: Array.from(columns.values(), (column) => this.tensor(column, rows)) };
  }

  private readColumns(): JsonColumns {
    const columns = new Map<string, Column>();
    this.placeValues(columns);
    const tensors = Array.from(columns.values(), (column) => this.tensor(column, -1));
    return { format: 'columnar', rows: tensors.find(({ dims }) => dims.length > 0)?.dims[0] ?? 1, columns: tensors };
  }

  /** Notes where the values of one row, or of all columns, are: an object of names, or the one tensor itself. */
  private placeValues(columns: Map<string, Column>): void {
    const { scanner } = this;
    if (scanner.peek() !== Char.openObject || isBase64Object(scanner)) {
      this.place(columns, '');
      return;
    }
    scanner.pos++;
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      this.place(columns, scanner.stringText());
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
  }

  private place(columns: Map<string, Column>, name: string): void {
    let column = columns.get(name);
    if (column === undefined) {
      if (columns.size === MAX_TENSORS) throw new JsonError('too_large', `more than ${MAX_TENSORS} tensors`);
      column = { name, at: [] };
      columns.set(name, column);
    }
    this.scanner.peek();
    column.at.push(this.scanner.pos);
    this.scanner.passValue();
  }

  /** Reads all values of a column; with `rows` (not negative) as the first dimension. */
  private tensor({ name, at }: Column, rows: number): JsonOutput {
    const { scanner, sink, tensors } = this;
    if (at.length !== Math.max(1, rows) && rows !== 0) failValue(`rows without ${name}, or with two of it`);
    const kinds = new Kinds();
    for (const pos of at) {
      scanner.pos = pos;
      kinds.note(scanner);
    }
    const dtype = kinds.dtype();
    sink.clear();
    let dims: number[] = [];
    for (const [i, pos] of at.entries()) {
      scanner.pos = pos;
      tensors.read(scanner, dtype, sink, true);
      const found = tensors.dims.slice(0, tensors.rank);
      if (i > 0 && !sameDims(found, dims)) failValue(`rows of ${name} with different shapes`);
      dims = found;
    }
    const { count } = sink;
    return { name, dtype, dims: rows < 0 ? dims : [rows, ...dims], data: this.elements(dtype), from: 0, count };
  }

  private elements(dtype: number): TensorData {
    const { sink, strings } = this;
    if (dtype !== DataType.STRING) return storage(dtype, sink.bytes.buffer as ArrayBuffer, sink.count);
    const texts: string[] = [];
    strings.reset(sink.bytes, 0, sink.length, 'a string');
    while (strings.pos < strings.end) {
      strings.readTag();
      const end = strings.readPayloadEnd();
      texts.push(readText(sink.bytes, strings.pos, end, 'a string'));
      strings.pos = end;
    }
    strings.release();
    return texts;
  }
}

function storage(dtype: number, memory: ArrayBuffer, count: number): ElementArray {
  if (dtype === DataType.BOOL) return new Uint8Array(memory.slice(0, count));
  const cells = memory.slice(0, count * 8);
  if (dtype === DataType.DOUBLE) return new Float64Array(cells);
  return dtype === DataType.INT64 ? new BigInt64Array(cells) : new BigUint64Array(cells);
}

function sameDims(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

const LEAST_LONG = -(2n ** 63n);
const MOST_LONG = 2n ** 63n - 1n;
const MOST_UNSIGNED = 2n ** 64n - 1n;

/** What kinds of values a column's text shows. */
class Kinds {
  private texts = false;
  private flags = false;
  private numbers = false;
  private fractions = false;
  private negatives = false;
  /** Beyond int64; beyond uint64 too. */
  private large = false;
  private huge = false;

  /** Looks at the value at the scanner's position. */
  note(scanner: JsonScanner): void {
    let depth = 0;
    do {
      const byte = scanner.peek();
      if (byte === Char.open) {
        depth++;
        scanner.pos++;
      } else if (byte === Char.close) {
        depth--;
        scanner.pos++;
      } else if (byte === Char.comma) {
        scanner.pos++;
      } else {
        this.noteScalar(scanner, byte);
      }
    } while (depth > 0);
  }

  dtype(): number {
    if (Number(this.texts) + Number(this.flags) + Number(this.numbers) > 1) failValue('values of different types');
    if (this.texts) return DataType.STRING;
    if (this.flags) return DataType.BOOL;
    if (!this.numbers || this.fractions || this.huge || (this.large && this.negatives)) return DataType.DOUBLE;
    return this.large ? DataType.UINT64 : DataType.INT64;
  }

  private noteScalar(scanner: JsonScanner, byte: number): void {
    const { pos } = scanner;
    if (byte === Char.openObject && !isBase64Object(scanner)) failValue('an object among the values');
    scanner.passValue();
    if (byte === Char.quote || byte === Char.openObject) this.texts = true;
    else if (byte === 0x74 || byte === 0x66) this.flags = true;
    else if (byte === 0x6e) failValue('null among the values');
    else this.noteNumber(scanner.buf, pos, scanner.pos);
  }

  private noteNumber(buf: Buffer, start: number, end: number): void {
    this.numbers = true;
    if (buf[start] === Char.minus) this.negatives = true;
    for (let i = start; i < end; i++) {
      const byte = buf[i]!;
      if (byte !== Char.minus && (byte < Char.zero || byte > Char.nine)) {
        this.fractions = true;
        return;
      }
    }
    if (end - start < 19) return;
    const value = end - start > 20 ? 2n ** 70n : BigInt(buf.toString('latin1', start, end));
    if (value > MOST_LONG || value < LEAST_LONG) this.large = true;
    if (value > MOST_UNSIGNED || value < LEAST_LONG) this.huge = true;
  }
}
