/** The first element of an input of a Predict request, as the key of a sticky split. */
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { allocateElements, DataType, type ElementArray } from '../../proto/tensor/dtype.ts';
import {
  copyStringsInto,
  copyTensorInto,
  PredictRequestView,
  parsePredictRequest,
} from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { inflateFramed } from './inflate-framed.ts';

/** Longer messages may be routed before they have come whole, so none of them is looked into: the rule is the same for all. */
export const MAX_KEYED_BYTES: number = 64 * 1024;

const view = new PredictRequestView();
const texts: string[] = [];
const scratch: (ElementArray | null)[] = new Array(32).fill(null);

/**
 * The element as text; undefined where `framed[0 .. length)` is no whole message of at most MAX_KEYED_BYTES with that
 * input and an element in it.
 */
export function firstElement(framed: Buffer, length: number, encoding: string, input: string): string | undefined {
  if (length < PREFIX_BYTES || length > MAX_KEYED_BYTES) return undefined;
  let buffer = framed;
  let end = PREFIX_BYTES + framed.readUInt32BE(1);
  if (end > length) return undefined;
  if (framed[0] === 1) {
    const plain = inflateFramed(framed, end, encoding);
    if (typeof plain === 'number') return undefined;
    buffer = plain;
    end = plain.length;
  }
  try {
    parsePredictRequest(view, buffer, PREFIX_BYTES, end);
    const tensor = view.inputs.find(buffer, input);
    if (tensor === null || tensor.elementCount === 0 || tensor.problem !== '') return undefined;
    if (tensor.dtype === DataType.STRING) {
      copyStringsInto(buffer, tensor, texts, 0, 1);
      return texts[0];
    }
    scratch[tensor.dtype] ??= allocateElements(tensor.dtype, 1);
    const room = scratch[tensor.dtype] ?? null;
    if (room === null) return undefined;
    copyTensorInto(buffer, tensor, room, 0, 1);
    return String(room[0]);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return undefined;
  }
}
