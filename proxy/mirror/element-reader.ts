/** Elements of parsed tensors as numbers or labels, in scratch arrays that are used again: no allocation per pair. */
import { allocateElements, DataType, dtypeBytes, dtypeName, type ElementArray } from '../../proto/tensor/dtype.ts';
import { copyStringsInto, copyTensorInto, type TensorView } from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';

/** Elements of one tensor that are read at most; a shape may claim far more than its bytes hold. */
export const MAX_READ_ELEMENTS = 1 << 20;
const FIRST_ELEMENTS = 256;

export type Floats = Float32Array | Float64Array;
export type Labels = ArrayLike<number | bigint | string>;

/** Whether differences of the type's values are distances: float, double, half, bfloat16. */
export function isFloat(dtype: number): boolean {
  return (
    dtype === DataType.FLOAT || dtype === DataType.DOUBLE || dtype === DataType.HALF || dtype === DataType.BFLOAT16
  );
}

/** Whether the type's values can name classes: strings, integers, booleans. */
export function isLabel(dtype: number): boolean {
  return dtype === DataType.STRING || (dtypeBytes(dtype) > 0 && !isFloat(dtype));
}

/** Reads one side's tensors. What it returns is valid until it reads the next tensor, and may be longer than asked for. */
export class ElementReader {
  /** By dtype. */
  private readonly scratch: (ElementArray | null)[] = new Array(32).fill(null);
  private widened = new Float32Array(0);
  private readonly strings: string[] = [];

  /**
   * The first `count` elements of a float tensor.
   * @throws WireError where the tensor contradicts itself or `count` exceeds MAX_READ_ELEMENTS.
   */
  floats(buf: Buffer, tensor: TensorView, count: number): Floats {
    const raw = this.fixed(buf, tensor, count);
    if (raw instanceof Float32Array || raw instanceof Float64Array) return raw;
    if (this.widened.length < count) this.widened = new Float32Array(raw.length);
    const toNumber = tensor.dtype === DataType.HALF ? halfValue : brainValue;
    for (let i = 0; i < count; i++) this.widened[i] = toNumber(raw[i] as number);
    return this.widened;
  }

  /** The first `count` elements of a tensor of any type; throws as `floats` does. */
  values(buf: Buffer, tensor: TensorView, count: number): Labels {
    if (isFloat(tensor.dtype)) return this.floats(buf, tensor, count);
    if (tensor.dtype !== DataType.STRING) return this.fixed(buf, tensor, count);
    checkCount(count);
    copyStringsInto(buf, tensor, this.strings, 0, count);
    return this.strings;
  }

  private fixed(buf: Buffer, tensor: TensorView, count: number): ElementArray {
    checkCount(count);
    let room = this.scratch[tensor.dtype] ?? null;
    if (room === null || room.length < count) {
      room = allocateElements(tensor.dtype, Math.max(FIRST_ELEMENTS, 2 ** Math.ceil(Math.log2(count))));
      if (room === null) throw new WireError('tensor', 'TensorProto', `${dtypeName(tensor.dtype)} is not compared`);
      this.scratch[tensor.dtype] = room;
    }
    copyTensorInto(buf, tensor, room, 0, count);
    return room;
  }
}

function checkCount(count: number): void {
  if (count <= MAX_READ_ELEMENTS) return;
  throw new WireError('too_large', 'TensorProto', `more than ${MAX_READ_ELEMENTS} elements`);
}

/** IEEE 754 binary16. */
function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** bfloat16 is the upper half of a binary32. */
function brainValue(bits: number): number {
  singleBits[0] = bits << 16;
  return single[0]!;
}
