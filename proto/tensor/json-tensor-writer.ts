/** Writes the elements of a tensor as JSON: one element, a flat list, or lists in lists on one line or indented. */
import type { ByteSink } from './byte-sink.ts';
import { DataType, type ElementArray } from './dtype.ts';
import { elementBits } from './element-bits.ts';
import { putDouble, putFloat, putInteger, putLong } from './json-number-text.ts';
import type { TensorData } from './tensor-writer.ts';

/** Elements `[from, from + count)` of `data`, in the shape `dims`. */
export interface JsonOutput {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly data: TensorData;
  readonly from: number;
  readonly count: number;
}

const halfBits = new Uint16Array(1);
const halfValue = new Float16Array(halfBits.buffer);

/** Spaces per level of the indented form. */
const INDENT = 4;

export function putIndent(sink: ByteSink, level: number): void {
  sink.putByte(0x0a);
  for (let i = level * INDENT; i > 0; i--) sink.putByte(0x20);
}

/** Appends a JSON string. */
export function putJsonString(sink: ByteSink, text: string): void {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Quotes, backslashes and control characters are escaped; a lone surrogate has no UTF-8 form.
    if (unit < 0x20 || unit === 0x22 || unit === 0x5c || (unit >= 0xd800 && unit <= 0xdfff)) {
      sink.putText(JSON.stringify(text));
      return;
    }
  }
  sink.putByte(0x22);
  sink.putText(text);
  sink.putByte(0x22);
}

/** Appends one element. Numbers of 16-bit floats are shown as the float32 they equal. */
export function putElement(sink: ByteSink, dtype: number, data: TensorData, index: number): void {
  switch (dtype) {
    case DataType.FLOAT:
      putFloat(sink, (data as Float32Array)[index]);
      return;
    case DataType.DOUBLE:
      putDouble(sink, (data as Float64Array)[index]);
      return;
    case DataType.HALF:
      halfBits[0] = elementBits(data as ElementArray).cells[index];
      putFloat(sink, halfValue[0]);
      return;
    case DataType.INT64:
    case DataType.UINT64: {
      const { cells } = elementBits(data as ElementArray);
      putLong(sink, cells[index * 2], cells[index * 2 + 1], dtype === DataType.INT64);
      return;
    }
    case DataType.BOOL:
      sink.putAscii((data as Uint8Array)[index] !== 0 ? 'true' : 'false');
      return;
    case DataType.STRING:
      putJsonString(sink, (data as readonly string[])[index]);
      return;
    default:
      putInteger(sink, (data as Int32Array)[index]);
  }
}

/** Appends all elements as one flat list without spaces. */
export function putFlatList(sink: ByteSink, output: JsonOutput): void {
  const { dtype, data, from, count } = output;
  sink.putByte(0x5b);
  for (let i = from; i < from + count; i++) {
    if (i > from) sink.putByte(0x2c);
    putElement(sink, dtype, data, i);
  }
  sink.putByte(0x5d);
}

/** Writes nested lists in the two layouts TensorFlow Serving answers in. */
export class JsonTensorWriter {
  private readonly sink: ByteSink;
  private output!: JsonOutput;
  private asBytes = false;
  private next = 0;

  constructor(sink: ByteSink) {
    this.sink = sink;
  }

  /** Starts on an output; strings as `{"b64": ...}` where `asBytes`. */
  begin(output: JsonOutput, asBytes: boolean): void {
    this.output = output;
    this.asBytes = asBytes;
    this.next = output.from;
  }

  /** Appends the next part of the output, from dimension `dim` on, on one line. `level` is its depth in the document. */
  putInline(dim: number, level: number): void {
    const { sink, output } = this;
    if (dim >= output.dims.length) {
      this.putNext(level);
      return;
    }
    sink.putByte(0x5b);
    for (let i = 0; i < output.dims[dim]; i++) {
      if (i > 0) sink.putAscii(', ');
      this.putInline(dim + 1, level + 1);
    }
    sink.putByte(0x5d);
  }

  /** As `putInline` with every element and list on a line of its own. */
  putIndented(dim: number, level: number): void {
    const { sink, output } = this;
    if (dim >= output.dims.length) {
      this.putNext(level);
      return;
    }
    sink.putByte(0x5b);
    for (let i = 0; i < output.dims[dim]; i++) {
      if (i > 0) sink.putByte(0x2c);
      putIndent(sink, level + 1);
      this.putIndented(dim + 1, level + 1);
    }
    if (output.dims[dim] > 0) putIndent(sink, level);
    sink.putByte(0x5d);
  }

  private putNext(level: number): void {
    const { sink, output } = this;
    const index = this.next++;
    if (!this.asBytes) {
      putElement(sink, output.dtype, output.data, index);
      return;
    }
    const text = (output.data as readonly string[])[index];
    sink.putByte(0x7b);
    putIndent(sink, level + 1);
    sink.putAscii(`"b64": "${Buffer.from(text).toString('base64')}"`);
    putIndent(sink, level);
    sink.putByte(0x7d);
  }
}
