/**
 * Copies the elements of a parsed tensor into typed arrays or strings, by TensorFlow's rules: `tensor_content` must fit
 * the shape exactly; a list shorter than the shape repeats its last value, an empty one means zeros, a longer one is cut.
 */
import { assert } from '../../base/assert.ts';
import { dtypeBytes, dtypeField, dtypeForm, dtypeName, type ElementArray, ValueForm } from './dtype.ts';
import { type ElementBits, elementBits } from './element-bits.ts';
import { ElementPlace, type TensorView } from './tensor-proto.ts';
import { WireReader, WireType } from './wire.ts';
import { WireError } from './wire-error.ts';
import { putBytes } from './wire-writer.ts';

const reader = new WireReader();

/**
 * Writes elements `[fromElement, fromElement + count)` of `tensor`, whose bytes are in `buf`, to `dest` from `destOffset`.
 * `dest` must have elements of the tensor's size: `Uint8Array` for bool, `Uint16Array` (or `Float16Array`) for half.
 * @throws WireError where the tensor contradicts itself, its list is malformed, or its type has no fixed-size elements.
 */
export function copyTensorInto(
  buf: Buffer,
  tensor: TensorView,
  dest: ElementArray,
  destOffset: number,
  count: number,
  fromElement = 0,
): void {
  const size = checkTensor(tensor, count, fromElement);
  if (size === 0) throw new WireError('tensor', 'TensorProto', `${dtypeName(tensor.dtype)} has no numeric elements`);
  assert(dest.BYTES_PER_ELEMENT === size, 'the destination has elements of another size');
  assert(destOffset >= 0 && destOffset + count <= dest.length, 'the destination is too short');
  if (count === 0) return;
  const bits = elementBits(dest);
  const place = tensor.place;
  const at = destOffset * size;
  if (place === ElementPlace.content) {
    if (tensor.contentEnd - tensor.contentStart !== tensor.elementCount * size) failContent(tensor, size);
    const from = tensor.contentStart + fromElement * size;
    putBytes(bits.bytes, at, buf, from, from + count * size);
  } else if (place === ElementPlace.none) {
    bits.bytes.fill(0, at, at + count * size);
  } else if (place === ElementPlace.packed && dtypeForm(tensor.dtype) === ValueForm.fixed) {
    copyFixedRun(buf, tensor, bits, size, destOffset, count, fromElement);
  } else {
    copyList(buf, tensor, bits, size, destOffset, count, fromElement);
  }
}

/** Checks what holds for every tensor; returns the element size. */
function checkTensor(tensor: TensorView, count: number, fromElement: number): number {
  if (tensor.problem !== '') throw new WireError('tensor', 'TensorProto', tensor.problem);
  assert(fromElement >= 0 && count >= 0 && fromElement + count <= tensor.elementCount, 'elements outside the tensor');
  return dtypeBytes(tensor.dtype);
}

function failContent(tensor: TensorView, size: number): never {
  const have = tensor.contentEnd - tensor.contentStart;
  throw new WireError(
    'tensor',
    'TensorProto',
    `tensor_content has ${have} bytes, the shape needs ${tensor.elementCount * size}`,
  );
}

/** A packed list of floats or doubles lies in memory as `tensor_content` does. */
function copyFixedRun(
  buf: Buffer,
  tensor: TensorView,
  bits: ElementBits,
  size: number,
  destOffset: number,
  count: number,
  fromElement: number,
): void {
  const length = tensor.listEnd - tensor.listStart;
  if (length % size !== 0) {
    throw new WireError(
      'malformed',
      'TensorProto',
      'packed list ends inside an element',
      tensor.listEnd - tensor.start,
    );
  }
  const have = length / size;
  const taken = Math.max(0, Math.min(count, have - fromElement));
  const from = tensor.listStart + fromElement * size;
  if (taken > 0) putBytes(bits.bytes, destOffset * size, buf, from, from + taken * size);
  if (taken === count) return;
  reader.reset(buf, have === 0 ? tensor.listEnd : tensor.listEnd - size, tensor.listEnd, 'TensorProto');
  let lo = 0;
  let hi = 0;
  if (have > 0) {
    if (size === 8) reader.readFixed64();
    else reader.readFixed32();
    lo = reader.lo;
    hi = reader.hi;
  }
  reader.release();
  fillCells(bits.cells, size, destOffset + taken, destOffset + count, lo, hi);
}

/** Any list: varints, and whatever is unpacked, split or mixed with other lists. */
function copyList(
  buf: Buffer,
  tensor: TensorView,
  bits: ElementBits,
  size: number,
  destOffset: number,
  count: number,
  fromElement: number,
): void {
  const form = dtypeForm(tensor.dtype);
  list.begin(bits.cells, size, form, destOffset, count, fromElement);
  if (tensor.place === ElementPlace.packed) {
    reader.reset(buf, tensor.listStart, tensor.listEnd, 'TensorProto');
    readRun(form, size);
  } else {
    reader.reset(buf, tensor.start, tensor.end, 'TensorProto');
    const field = dtypeField(tensor.dtype);
    while (reader.pos < reader.end) {
      const tag = reader.readTag();
      if (tag >>> 3 !== field) {
        reader.skip(tag);
      } else if ((tag & 7) === WireType.bytes) {
        const outerEnd = reader.end;
        reader.end = reader.readPayloadEnd();
        readRun(form, size);
        reader.end = outerEnd;
      } else if (isElementTag(tag & 7, form, size)) {
        readElement(form, size);
        list.put(reader.lo, reader.hi);
      } else {
        reader.skip(tag);
      }
    }
  }
  reader.release();
  list.finish();
}

function isElementTag(wireType: number, form: number, size: number): boolean {
  if (form !== ValueForm.fixed) return wireType === WireType.varint;
  return wireType === (size === 8 ? WireType.fixed64 : WireType.fixed32);
}

function readRun(form: number, size: number): void {
  while (reader.pos < reader.end) {
    readElement(form, size);
    list.put(reader.lo, reader.hi);
  }
}

function readElement(form: number, size: number): void {
  if (form !== ValueForm.fixed) reader.readVarint();
  else if (size === 8) reader.readFixed64();
  else reader.readFixed32();
}

/** Where the values of a list go. One for all copies: a copy never waits. */
class ListSink {
  private cells: ElementBits['cells'] = new Uint8Array(0);
  private size = 0;
  private isBool = false;
  private next = 0;
  private limit = 0;
  private toSkip = 0;
  private lastLo = 0;
  private lastHi = 0;

  begin(
    cells: ElementBits['cells'],
    size: number,
    form: number,
    destOffset: number,
    count: number,
    skip: number,
  ): void {
    this.cells = cells;
    this.size = size;
    this.isBool = form === ValueForm.bool;
    this.next = destOffset;
    this.limit = destOffset + count;
    this.toSkip = skip;
    this.lastLo = 0;
    this.lastHi = 0;
  }

  /** Takes the next value. Values beyond the shape are read, so that malformed ones are noticed, and dropped. */
  put(lo: number, hi: number): void {
    if (this.isBool) {
      lo = (lo | hi) !== 0 ? 1 : 0;
      hi = 0;
    }
    if (this.next >= this.limit) return;
    this.lastLo = lo;
    this.lastHi = hi;
    if (this.toSkip > 0) {
      this.toSkip--;
      return;
    }
    if (this.size === 8) {
      this.cells[this.next * 2] = lo;
      this.cells[this.next * 2 + 1] = hi;
    } else {
      this.cells[this.next] = lo;
    }
    this.next++;
  }

  finish(): void {
    fillCells(this.cells, this.size, this.next, this.limit, this.lastLo, this.lastHi);
    this.cells = EMPTY_CELLS;
  }
}
const EMPTY_CELLS = new Uint8Array(0);
const list = new ListSink();

/** Repeats one value over elements `[from, to)`. */
function fillCells(cells: ElementBits['cells'], size: number, from: number, to: number, lo: number, hi: number): void {
  if (from >= to) return;
  if (size !== 8) {
    cells.fill(lo, from, to);
  } else if (lo === hi) {
    cells.fill(lo, from * 2, to * 2);
  } else {
    for (let i = from * 2; i < to * 2; i += 2) {
      cells[i] = lo;
      cells[i + 1] = hi;
    }
  }
}
