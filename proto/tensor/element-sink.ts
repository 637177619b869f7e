/**
 * Memory that grows while the elements of one tensor are appended to it, in the layout a `TensorView` can point at:
 * numbers as `tensor_content`, strings as a `string_val` list. Reused from request to request; what a large request made
 * it grow to is let go again.
 */
import { DataType, dtypeBytes } from './dtype.ts';
import { JsonError } from './json-error.ts';
import type { TensorView } from './tensor-proto.ts';
import { putBytes, putVarint, varintBytes } from './wire-writer.ts';

const FIRST_BYTES = 4096;
/** Kept between requests. */
const KEPT_BYTES = 1024 * 1024;
/** No tensor read from text is larger. */
export const MAX_SINK_BYTES = 1024 * 1024 * 1024;
const TAG_STRING_VAL = 0x42;
const STRING_FIELD = 8;

export class ElementSink {
  /** All of the memory; elements are written to the views, which share it. */
  bytes!: Buffer;
  float32!: Float32Array;
  float64!: Float64Array;
  float16!: Float16Array;
  /** Integer elements of 1, 2 and 4 bytes; 8-byte ones are two cells, low half first. */
  cells8!: Uint8Array;
  cells16!: Uint16Array;
  cells32!: Int32Array;
  /** Elements appended. */
  count = 0;
  /** Bytes of strings, names and other things appended by `putText` and `putRaw`; numbers do not move it. */
  length = 0;

  constructor() {
    this.resize(FIRST_BYTES);
  }

  /** Forgets the elements. */
  clear(): void {
    this.count = 0;
    this.length = 0;
    if (this.bytes.length > KEPT_BYTES) this.resize(FIRST_BYTES);
  }

  /** Room for elements up to index `count - 1` of `size` bytes. @throws JsonError `too_large` */
  reserve(count: number, size: number): void {
    if (count * size > this.bytes.length) this.grow(count * size);
  }

  /** Appends a string element. */
  putString(source: Buffer, start: number, end: number): void {
    const length = end - start;
    this.putHead(length);
    this.length = putBytes(this.bytes, this.length, source, start, end);
    this.count++;
  }

  /** Appends a string element given as text. */
  putText(text: string): void {
    this.putHead(Buffer.byteLength(text));
    this.length += this.bytes.write(text, this.length);
    this.count++;
  }

  /** Appends bytes that are no element, such as a name; returns where they begin. */
  putRaw(source: Buffer, at: number): number {
    if (at + source.length > this.bytes.length) this.grow(at + source.length);
    source.copy(this.bytes, at);
    return at;
  }

  /** Bytes the elements take. */
  elementBytes(dtype: number): number {
    return dtype === DataType.STRING ? this.length : this.count * dtypeBytes(dtype);
  }

  /** Points `view` at elements that begin at `start` of whatever buffer they lie in. */
  describe(view: TensorView, dtype: number, start: number): void {
    const end = start + this.elementBytes(dtype);
    view.resetValue(start, end);
    view.dtype = dtype;
    if (dtype !== DataType.STRING) {
      view.contentStart = start;
      view.contentEnd = end;
    } else if (this.count > 0) {
      view.listField = STRING_FIELD;
      view.listScattered = true;
    }
  }

  private putHead(length: number): void {
    const size = 1 + varintBytes(length) + length;
    if (this.length + size > this.bytes.length) this.grow(this.length + size);
    this.bytes[this.length] = TAG_STRING_VAL;
    this.length = putVarint(this.bytes, this.length + 1, length);
  }

  private grow(needed: number): void {
    if (needed > MAX_SINK_BYTES) throw new JsonError('too_large', `tensor larger than ${MAX_SINK_BYTES} bytes`);
    this.resize(Math.max(needed, this.bytes.length * 2));
  }

  private resize(bytes: number): void {
    const memory = new ArrayBuffer((bytes + 7) & ~7);
    const previous = this.bytes;
    this.bytes = Buffer.from(memory);
    if (previous !== undefined && bytes > previous.length) previous.copy(this.bytes);
    this.float32 = new Float32Array(memory);
    this.float64 = new Float64Array(memory);
    this.float16 = new Float16Array(memory);
    this.cells8 = new Uint8Array(memory);
    this.cells16 = new Uint16Array(memory);
    this.cells32 = new Int32Array(memory);
  }
}
