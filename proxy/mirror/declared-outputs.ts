/**
 * Whether an answer's tensors are what its model declares: there, of the type, of the shape, within the range. Every
 * element of an output with a range is looked at, so the cost is that of reading the answer once; outputs that nothing is
 * declared of are passed over.
 */
import { DataType, dtypeBytes } from '../../proto/tensor/dtype.ts';
import type { TensorView } from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { OutputSnapshot } from '../config/snapshot.ts';
import { BadOutput } from '../stats/slots.ts';
import type { BodyTensors } from './body-tensors.ts';
import { ElementReader, isFloat } from './element-reader.ts';

/** Nothing is wrong. */
export const NO_FAULT = -1;
/** What TensorFlow Serving's REST calls an output without a name. */
const UNNAMED: readonly string[] = ['predictions', 'outputs'];

const elements = new ElementReader();

/**
 * What is wrong with the answer `tensors` has open, a `BadOutput`, or `NO_FAULT`. `typed` is false where the answer's form
 * has no element types of its own: then only texts, truth values, whole numbers and numbers are told apart.
 */
export function declaredFault(outputs: readonly OutputSnapshot[], tensors: BodyTensors, typed: boolean): number {
  for (const output of outputs) {
    const tensor = tensors.list.find(tensors.buffer, output.name) ?? (typed ? null : unnamed(outputs, tensors));
    if (tensor === null) {
      if (output.required) return BadOutput.MISSING;
      continue;
    }
    const fault = tensorFault(output, tensors.buffer, tensor, typed);
    if (fault !== NO_FAULT) return fault;
  }
  return NO_FAULT;
}

/** The only output of an answer that leaves its name out. */
function unnamed(outputs: readonly OutputSnapshot[], { list, buffer }: BodyTensors): TensorView | null {
  if (outputs.length !== 1 || list.count !== 1) return null;
  return UNNAMED.includes(list.nameAt(buffer, 0)) ? list.tensors[0]! : null;
}

function tensorFault(output: OutputSnapshot, buffer: Buffer, tensor: TensorView, typed: boolean): number {
  if (tensor.problem !== '') return BadOutput.SHAPE;
  const { dtype, shape, min, max } = output;
  if (dtype !== 0 && !(typed ? tensor.dtype === dtype : isWrittenAs(tensor, dtype))) return BadOutput.DTYPE;
  if (shape !== null && !hasShape(tensor, shape)) return BadOutput.SHAPE;
  const { contentStart, contentEnd, elementCount } = tensor;
  const contentBytes = contentEnd - contentStart;
  if (contentBytes > 0 && contentBytes !== elementCount * dtypeBytes(tensor.dtype)) return BadOutput.SHAPE;
  if (min === null && max === null) return NO_FAULT;
  if (tensor.dtype === DataType.STRING) return BadOutput.DTYPE;
  return isWithin(buffer, tensor, min ?? Number.NEGATIVE_INFINITY, max ?? Number.POSITIVE_INFINITY);
}

function hasShape(tensor: TensorView, shape: readonly number[]): boolean {
  if (tensor.rank !== shape.length) return false;
  for (let i = 0; i < shape.length; i++) if (shape[i] !== -1 && shape[i] !== tensor.dims[i]) return false;
  return true;
}

/** Whether what text calls a number, a whole number, a text or a truth value can be of the type. */
function isWrittenAs(tensor: TensorView, dtype: number): boolean {
  if (tensor.elementCount === 0) return true;
  if (isFloat(dtype)) return isFloat(tensor.dtype) || tensor.dtype === DataType.INT64;
  if (dtype === DataType.STRING || dtype === DataType.BOOL) return tensor.dtype === dtype;
  return tensor.dtype === DataType.INT64;
}

/** NaN is within no range. */
function isWithin(buffer: Buffer, tensor: TensorView, min: number, max: number): number {
  const { elementCount } = tensor;
  try {
    const values = elements.values(buffer, tensor, elementCount) as ArrayLike<number | bigint>;
    for (let i = 0; i < elementCount; i++) if (!(values[i]! >= min && values[i]! <= max)) return BadOutput.RANGE;
    return NO_FAULT;
  } catch (error) {
    if (error instanceof WireError) return error.reason === 'too_large' ? BadOutput.SHAPE : BadOutput.MALFORMED;
    throw error;
  }
}
