/**
 * Copies the elements of a string tensor into JavaScript strings, by the same short-list rule as numbers. ONNX strings are
 * UTF-8, so elements that are not are refused instead of being damaged.
 */
import { assert } from '../../base/assert.ts';
import { DataType, dtypeName } from './dtype.ts';
import { ElementPlace, type TensorView } from './tensor-proto.ts';
import { readText } from './text.ts';
import { WireReader } from './wire.ts';
import { WireError } from './wire-error.ts';

const TAG_STRING_VAL = 0x42;
const reader = new WireReader();
/** A second cursor: the lengths of a string `tensor_content` come before all bytes. */
const lengths = new WireReader();

/**
 * Writes elements `[fromElement, fromElement + count)` of a DT_STRING tensor to `dest` from `destOffset`.
 * @throws WireError where the tensor is not a string tensor, contradicts itself, or an element is not UTF-8.
 */
export function copyStringsInto(
  buf: Buffer,
  tensor: TensorView,
  dest: string[],
  destOffset: number,
  count: number,
  fromElement = 0,
): void {
  if (tensor.problem !== '') throw new WireError('tensor', 'TensorProto', tensor.problem);
  if (tensor.dtype !== DataType.STRING) {
    throw new WireError('tensor', 'TensorProto', `${dtypeName(tensor.dtype)} has no string elements`);
  }
  assert(fromElement >= 0 && count >= 0 && fromElement + count <= tensor.elementCount, 'elements outside the tensor');
  if (tensor.place === ElementPlace.content) copyContent(buf, tensor, dest, destOffset, count, fromElement);
  else copyList(buf, tensor, dest, destOffset, count, fromElement);
}

function copyContent(
  buf: Buffer,
  tensor: TensorView,
  dest: string[],
  destOffset: number,
  count: number,
  fromElement: number,
): void {
  lengths.reset(buf, tensor.contentStart, tensor.contentEnd, 'TensorProto');
  let total = 0;
  // Every length takes a byte at least, so a shape far beyond the bytes ends here and not in a long loop.
  for (let i = 0; i < tensor.elementCount; i++) {
    total += lengths.readVarint() >>> 0;
    if (lengths.hi !== 0) lengths.fail('string length over 4 GiB');
  }
  let at = lengths.pos;
  if (total !== tensor.contentEnd - at) {
    throw new WireError(
      'tensor',
      'TensorProto',
      `strings of ${total} bytes in a tensor_content of ${tensor.contentEnd - at}`,
    );
  }
  lengths.reset(buf, tensor.contentStart, at, 'TensorProto');
  for (let i = 0; i < fromElement + count; i++) {
    const end = at + (lengths.readVarint() >>> 0);
    if (i >= fromElement) dest[destOffset + i - fromElement] = readText(buf, at, end, 'string element');
    at = end;
  }
  lengths.release();
}

function copyList(
  buf: Buffer,
  tensor: TensorView,
  dest: string[],
  destOffset: number,
  count: number,
  fromElement: number,
): void {
  let next = destOffset;
  const limit = destOffset + count;
  let toSkip = fromElement;
  let lastStart = 0;
  let lastEnd = 0;
  reader.reset(buf, tensor.start, tensor.end, 'TensorProto');
  while (reader.pos < reader.end && next < limit) {
    const tag = reader.readTag();
    if (tag !== TAG_STRING_VAL) {
      reader.skip(tag);
      continue;
    }
    lastEnd = reader.readPayloadEnd();
    lastStart = reader.pos;
    reader.pos = lastEnd;
    if (toSkip > 0) toSkip--;
    else dest[next++] = readText(buf, lastStart, lastEnd, 'string element');
  }
  reader.release();
  if (next === limit) return;
  const last = readText(buf, lastStart, lastEnd, 'string element');
  // Not `fill`, which stops at the length the array has.
  while (next < limit) dest[next++] = last;
}
