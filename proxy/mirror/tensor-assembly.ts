/**
 * Tensors put together from what a message says in another form (examples, JSON): columns are filled value by value and
 * become tensors in one buffer, so that whatever compares `TensorView`s compares these too. Used again for every message.
 *
 * Numbers become doubles, or 64-bit integers where every one of a column was written as a whole number: text has no other
 * types. A column whose parts contradict each other in shape or type is `ragged`; who fills it decides what that means.
 */
import { DataType } from '../../proto/tensor/dtype.ts';
import { MAX_TENSORS, TensorList, TensorView } from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { MAX_READ_ELEMENTS } from './element-reader.ts';

const STRING_FIELD = 8;
const STRING_TAG = 0x42;
const MAX_RANK = 32;

/** Values of one column so far. */
export class Column {
  name = '';
  dtype: number = DataType.INVALID;
  count = 0;
  numbers = new Float64Array(16);
  readonly texts: string[] = [];
  /** Shape of one part (a row, or the whole), once the first was complete. */
  rank = -1;
  readonly dims: number[] = [];
  /** Parts added. */
  parts = 0;
  ragged = false;
  /** Every number was written as a whole one. */
  whole = true;

  reset(name: string): void {
    this.name = name;
    this.dtype = DataType.INVALID;
    this.count = 0;
    this.texts.length = 0;
    this.rank = -1;
    this.dims.length = 0;
    this.parts = 0;
    this.ragged = false;
    this.whole = true;
  }

  /** Adds a number; `whole` where it was written without a fraction. */
  putNumber(value: number, whole: boolean): void {
    this.note(DataType.DOUBLE);
    if (this.count > this.numbers.length) this.numbers = grown(this.numbers);
    this.numbers[this.count - 1] = value;
    if (!whole || !Number.isSafeInteger(value)) this.whole = false;
  }

  putBoolean(value: boolean): void {
    this.note(DataType.BOOL);
    if (this.count > this.numbers.length) this.numbers = grown(this.numbers);
    this.numbers[this.count - 1] = value ? 1 : 0;
  }

  putText(value: string): void {
    this.note(DataType.STRING);
    this.texts[this.count - 1] = value;
  }

  /** The values since the last call were one part of this shape. */
  endPart(dims: readonly number[], rank: number): void {
    this.parts++;
    if (this.rank < 0) {
      this.rank = rank;
      for (let i = 0; i < rank; i++) this.dims[i] = dims[i]!;
      return;
    }
    if (rank !== this.rank) this.ragged = true;
    for (let i = 0; i < rank && !this.ragged; i++) if (dims[i] !== this.dims[i]) this.ragged = true;
  }

  private note(dtype: number): void {
    if (++this.count > MAX_READ_ELEMENTS) {
      throw new WireError('too_large', this.name, `more than ${MAX_READ_ELEMENTS} elements`);
    }
    if (this.dtype === DataType.INVALID) this.dtype = dtype;
    else if (this.dtype !== dtype) this.ragged = true;
  }
}

function grown(numbers: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(numbers.length * 4);
  larger.set(numbers);
  return larger;
}

/** Columns by name, and the tensors they become. */
export class TensorAssembly {
  readonly list = new TensorList();
  buffer = Buffer.alloc(4096);
  private length = 0;
  private readonly columns: Column[] = [];
  private count = 0;
  private readonly places = new Map<string, number>();

  /** Forgets everything. */
  clear(): void {
    this.list.count = 0;
    this.length = 0;
    this.count = 0;
    this.places.clear();
  }

  /** The column of that name, made where there is none. @throws WireError `too_large` for too many */
  column(name: string): Column {
    const known = this.places.get(name);
    if (known !== undefined) return this.columns[known]!;
    if (this.count >= MAX_TENSORS) throw new WireError('too_large', name, `more than ${MAX_TENSORS} tensors`);
    if (this.count === this.columns.length) this.columns.push(new Column());
    const column = this.columns[this.count]!;
    column.reset(name);
    this.places.set(name, this.count++);
    return column;
  }

  /** Turns each column into a tensor with `rows` parts along a new first axis. False where one is ragged; it is left out. */
  finishRows(rows: number): boolean {
    let all = true;
    for (let i = 0; i < this.count; i++) {
      const column = this.columns[i]!;
      if (column.ragged || column.parts !== rows || column.rank < 0) all = false;
      else this.add(column, [rows, ...column.dims.slice(0, column.rank)]);
    }
    return all;
  }

  /** Turns each column, which has one part, into a tensor of that part's shape. */
  finishWhole(): boolean {
    let all = true;
    for (let i = 0; i < this.count; i++) {
      const column = this.columns[i]!;
      if (column.ragged || column.parts !== 1) all = false;
      else this.add(column, column.dims.slice(0, column.rank));
    }
    return all;
  }

  /** Makes doubles of a tensor of whole numbers, in place; the other side of a pair has fractions there. */
  widen(tensor: TensorView): void {
    if (tensor.dtype !== DataType.INT64) return;
    for (let at = tensor.contentStart; at < tensor.contentEnd; at += 8) {
      this.buffer.writeDoubleLE(Number(this.buffer.readBigInt64LE(at)), at);
    }
    tensor.dtype = DataType.DOUBLE;
  }

  private add(column: Column, dims: readonly number[]): void {
    const { list } = this;
    if (dims.length > MAX_RANK) throw new WireError('too_large', column.name, `more than ${MAX_RANK} dimensions`);
    while (list.tensors.length <= list.count) list.tensors.push(new TensorView());
    const tensor = list.tensors[list.count++]!;
    const nameAt = this.putText(column.name);
    const start = this.length;
    let dtype = column.dtype;
    if (dtype === DataType.DOUBLE && column.whole && column.count > 0) dtype = DataType.INT64;
    if (dtype === DataType.INVALID) dtype = DataType.DOUBLE;
    if (dtype === DataType.STRING) this.putStrings(column);
    else this.putNumbers(column, dtype);
    tensor.reset();
    tensor.resetValue(start, this.length);
    tensor.nameStart = nameAt;
    tensor.nameEnd = start;
    tensor.dtype = dtype;
    tensor.rank = dims.length;
    for (let i = 0; i < dims.length; i++) tensor.dims[i] = dims[i]!;
    tensor.elementCount = column.count;
    if (dtype === DataType.STRING) {
      tensor.listField = STRING_FIELD;
      tensor.listScattered = true;
    } else {
      tensor.contentStart = start;
      tensor.contentEnd = this.length;
    }
  }

  private putText(text: string): number {
    const at = this.length;
    this.reserve(text.length * 3);
    this.length += this.buffer.write(text, at);
    return at;
  }

  private putStrings(column: Column): void {
    for (let i = 0; i < column.count; i++) {
      const text = column.texts[i]!;
      let bytes = Buffer.byteLength(text);
      this.reserve(bytes + 6);
      this.buffer[this.length++] = STRING_TAG;
      const end = bytes;
      for (; bytes >= 0x80; bytes >>>= 7) this.buffer[this.length++] = (bytes & 0x7f) | 0x80;
      this.buffer[this.length++] = bytes;
      this.buffer.write(text, this.length);
      this.length += end;
    }
  }

  private putNumbers(column: Column, dtype: number): void {
    this.reserve(column.count * 8);
    for (let i = 0; i < column.count; i++) {
      const value = column.numbers[i]!;
      if (dtype === DataType.BOOL) this.buffer[this.length++] = value;
      else if (dtype === DataType.INT64) this.length = this.buffer.writeBigInt64LE(BigInt(value), this.length);
      else this.length = this.buffer.writeDoubleLE(value, this.length);
    }
  }

  private reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(2 ** Math.ceil(Math.log2(needed)));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }
}
