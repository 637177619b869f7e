/**
 * Whether an Open Inference answer's numbers can be believed: one that cannot be read, or holds a float that is not finite
 * in its typed contents or its raw bytes, is no answer. The sibling of output-check.ts, with its rules and its bounds.
 */
import { DataType, dtypeFromOip } from '../../proto/tensor/dtype.ts';
import { WireReader, WireType } from '../../proto/tensor/wire.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { rangeIsFinite } from './output-check.ts';

const TAG_OUTPUT = 0x2a;
const TAG_RAW = 0x32;
const TAG_DATATYPE = 0x12;
const TAG_CONTENTS = 0x2a;
const FP32_FIELD = 6;
const FP64_FIELD = 7;

const outer = new WireReader();
const inner = new WireReader();
const list = new WireReader();
/** Types of the outputs met so far, in order: raw contents follow them in the same order. */
const types: number[] = [];

/** True when the ModelInferResponse at `[start, end)` is malformed or holds a float that is not finite. */
export function isBadInferResponse(buffer: Buffer, start: number, end: number): boolean {
  try {
    return !answerIsFinite(buffer, start, end);
  } catch (error) {
    if (error instanceof WireError) return true;
    throw error;
  } finally {
    outer.release();
    inner.release();
    list.release();
  }
}

function answerIsFinite(buffer: Buffer, start: number, end: number): boolean {
  types.length = 0;
  // Raw contents may stand before the outputs they belong to: types first, elements in a second pass.
  outer.reset(buffer, start, end, 'ModelInferResponse');
  while (outer.pos < end) {
    const tag = outer.readTag();
    if (tag !== TAG_OUTPUT) {
      outer.skip(tag);
      continue;
    }
    const fieldEnd = outer.readPayloadEnd();
    if (!contentsAreFinite(buffer, outer.pos, fieldEnd)) return false;
    outer.pos = fieldEnd;
  }
  outer.reset(buffer, start, end, 'ModelInferResponse');
  for (let index = 0; outer.pos < end; ) {
    const tag = outer.readTag();
    if (tag !== TAG_RAW) {
      outer.skip(tag);
      continue;
    }
    const fieldEnd = outer.readPayloadEnd();
    const dtype = types[index++] ?? 0;
    if (isFloatType(dtype) && !rangeIsFinite(buffer, outer.pos, fieldEnd, dtype)) return false;
    outer.pos = fieldEnd;
  }
  return true;
}

/** One InferOutputTensor: notes its type and looks at its typed contents. */
function contentsAreFinite(buffer: Buffer, start: number, end: number): boolean {
  let dtype = 0;
  inner.reset(buffer, start, end, 'InferOutputTensor');
  while (inner.pos < end) {
    const tag = inner.readTag();
    if (tag !== TAG_DATATYPE && tag !== TAG_CONTENTS) {
      inner.skip(tag);
      continue;
    }
    const fieldEnd = inner.readPayloadEnd();
    if (tag === TAG_DATATYPE) dtype = dtypeFromOip(buffer.toString('latin1', inner.pos, fieldEnd));
    else if (!listsAreFinite(buffer, inner.pos, fieldEnd)) return false;
    inner.pos = fieldEnd;
  }
  types.push(dtype);
  return true;
}

function listsAreFinite(buffer: Buffer, start: number, end: number): boolean {
  list.reset(buffer, start, end, 'InferTensorContents');
  while (list.pos < end) {
    const tag = list.readTag();
    const field = tag >>> 3;
    if (field !== FP32_FIELD && field !== FP64_FIELD) {
      list.skip(tag);
      continue;
    }
    const dtype = field === FP32_FIELD ? DataType.FLOAT : DataType.DOUBLE;
    const from = list.pos;
    if ((tag & 7) === WireType.bytes) {
      const fieldEnd = list.readPayloadEnd();
      if (!rangeIsFinite(buffer, list.pos, fieldEnd, dtype)) return false;
      list.pos = fieldEnd;
    } else {
      list.skip(tag);
      if (!rangeIsFinite(buffer, from, list.pos, dtype)) return false;
    }
  }
  return true;
}

function isFloatType(dtype: number): boolean {
  return (
    dtype === DataType.FLOAT || dtype === DataType.DOUBLE || dtype === DataType.HALF || dtype === DataType.BFLOAT16
  );
}
