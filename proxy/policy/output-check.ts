/**
 * Whether an answer's numbers can be believed at all: a Predict response with a NaN or an infinity in a float output, or
 * one that cannot be read, is no answer for a caller that expects a score. Checked in place, on the exponent bits; only
 * unusually encoded lists (values one by one) are copied out first.
 */
import { DataType } from '../../proto/tensor/dtype.ts';
import {
  copyTensorInto,
  ElementPlace,
  PredictResponseView,
  parsePredictResponse,
  type TensorView,
} from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';

/** Elements of a scattered list that are copied out to be looked at; longer ones are taken on trust. */
const MAX_SCATTERED = 65_536;

const view = new PredictResponseView();

/** True when the PredictResponse at `[start, end)` is malformed or holds a float that is not finite. */
export function isBadPredictResponse(buffer: Buffer, start: number, end: number): boolean {
  try {
    parsePredictResponse(view, buffer, start, end);
    for (let i = 0; i < view.outputs.count; i++) if (!floatsAreFinite(buffer, view.outputs.tensors[i]!)) return true;
    return false;
  } catch (error) {
    if (error instanceof WireError) return true;
    throw error;
  }
}

function floatsAreFinite(buffer: Buffer, tensor: TensorView): boolean {
  if (tensor.problem !== '') return false;
  const { dtype, place } = tensor;
  const isFloat = dtype === DataType.FLOAT || dtype === DataType.DOUBLE;
  const isHalf = dtype === DataType.HALF || dtype === DataType.BFLOAT16;
  if ((!isFloat && !isHalf) || place === ElementPlace.none) return true;
  if (place === ElementPlace.content) return rangeIsFinite(buffer, tensor.contentStart, tensor.contentEnd, dtype);
  // Half values are varints in a list, which is rare enough to be left alone.
  if (isHalf) return true;
  if (place === ElementPlace.packed) return rangeIsFinite(buffer, tensor.listStart, tensor.listEnd, dtype);
  return scatteredIsFinite(buffer, tensor);
}

/** Little-endian elements: all exponent bits set means NaN or infinity. */
export function rangeIsFinite(buffer: Buffer, start: number, end: number, dtype: number): boolean {
  switch (dtype) {
    case DataType.FLOAT:
      for (let at = start + 3; at < end; at += 4) {
        if ((buffer[at]! & 0x7f) === 0x7f && (buffer[at - 1]! & 0x80) !== 0) return false;
      }
      return true;
    case DataType.DOUBLE:
      for (let at = start + 7; at < end; at += 8) {
        if ((buffer[at]! & 0x7f) === 0x7f && (buffer[at - 1]! & 0xf0) === 0xf0) return false;
      }
      return true;
    case DataType.HALF:
      for (let at = start + 1; at < end; at += 2) if ((buffer[at]! & 0x7c) === 0x7c) return false;
      return true;
    default: // bfloat16: the upper half of a float32
      for (let at = start + 1; at < end; at += 2) {
        if ((buffer[at]! & 0x7f) === 0x7f && (buffer[at - 1]! & 0x80) !== 0) return false;
      }
      return true;
  }
}

function scatteredIsFinite(buffer: Buffer, tensor: TensorView): boolean {
  const { elementCount } = tensor;
  if (elementCount > MAX_SCATTERED) return true;
  const values = tensor.dtype === DataType.FLOAT ? new Float32Array(elementCount) : new Float64Array(elementCount);
  copyTensorInto(buffer, tensor, values, 0, elementCount);
  return values.every((value) => Number.isFinite(value));
}
