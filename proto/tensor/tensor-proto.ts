/**
 * A TensorProto parsed in place: what it is and where its elements lie, with nothing copied.
 *
 * A tensor that contradicts itself (a negative dimension, too many elements) is still parsed to its end, because a
 * server checks names and counts first; `problem` says what is wrong, and reading its elements throws.
 */
import { dtypeField } from './dtype.ts';
import { int64Number, type WireReader } from './wire.ts';

/** TensorFlow's own limit. */
export const MAX_RANK = 254;
/** More elements than this are refused whatever their type: 2^31 - 1. */
export const MAX_ELEMENTS = 2147483647;

/** Where the elements are. */
export const ElementPlace = { none: 0, content: 1, packed: 2, scattered: 3 } as const;

/** Reusable view of one tensor. Ranges are offsets in the buffer it was parsed from. */
export class TensorView {
  nameStart = 0;
  nameEnd = 0;
  /** The TensorProto message. */
  start = 0;
  end = 0;
  /** TensorFlow DataType number, 0 where the message has none. */
  dtype = 0;
  /** `dims` holds `rank` valid entries, outermost first; the rest is left over from earlier tensors. */
  rank = 0;
  readonly dims: number[] = [0, 0, 0, 0, 0, 0];
  /** Product of the dimensions, 1 for a scalar. Bound allocations by what you expect, not by this number alone. */
  elementCount = 0;
  /** Empty, or why the tensor is invalid. */
  problem = '';
  /** `tensor_content`; empty where the elements are in a list. */
  contentStart = 0;
  contentEnd = 0;
  /** The first run of a `*_val` list met, its field number, and whether it is all there is. */
  listField = 0;
  listStart = 0;
  listEnd = 0;
  listScattered = false;

  /** Forgets everything, including the name. */
  reset(): void {
    this.nameStart = 0;
    this.nameEnd = 0;
    this.resetValue(0, 0);
  }

  /** Forgets the tensor but keeps the name: a map entry may hold its value before its key. */
  resetValue(start: number, end: number): void {
    this.start = start;
    this.end = end;
    this.dtype = 0;
    this.rank = 0;
    this.elementCount = 1;
    this.problem = '';
    this.contentStart = 0;
    this.contentEnd = 0;
    this.listField = 0;
    this.listStart = 0;
    this.listEnd = 0;
    this.listScattered = false;
  }

  /** One of `ElementPlace`. A list of another type than `dtype` counts as none. */
  get place(): number {
    if (this.contentEnd > this.contentStart) return ElementPlace.content;
    if (this.listField === 0) return ElementPlace.none;
    if (this.listScattered) return ElementPlace.scattered;
    return this.listField === dtypeField(this.dtype) ? ElementPlace.packed : ElementPlace.none;
  }
}

const TAG_DTYPE = 0x08;
const TAG_SHAPE = 0x12;
const TAG_CONTENT = 0x22;
const TAG_DIM = 0x12;
const TAG_DIM_SIZE = 0x08;

/** Reads a TensorProto that fills the reader's range into `view`. Lists may be packed, unpacked, split and in any order. */
export function parseTensor(reader: WireReader, view: TensorView): void {
  view.resetValue(reader.pos, reader.end);
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag === TAG_DTYPE) {
      view.dtype = reader.readVarint();
    } else if (tag === TAG_SHAPE) {
      const outerEnd = reader.end;
      reader.end = reader.readPayloadEnd();
      parseShape(reader, view);
      reader.end = outerEnd;
    } else if (tag === TAG_CONTENT) {
      view.contentEnd = reader.readPayloadEnd();
      view.contentStart = reader.pos;
      reader.pos = view.contentEnd;
    } else if (isListField(tag >>> 3)) {
      noteList(reader, view, tag);
    } else {
      reader.skip(tag);
    }
  }
}

/** Lists of the types we carry: float 5, double 6, int 7, string 8, int64 10, bool 11, half 13, uint32 16, uint64 17. */
function isListField(field: number): boolean {
  return field >= 5 && field <= 17 && ((1 << field) & LIST_FIELDS) !== 0;
}
const LIST_FIELDS =
  (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 11) | (1 << 13) | (1 << 16) | (1 << 17);

function noteList(reader: WireReader, view: TensorView, tag: number): void {
  const field = tag >>> 3;
  const packed = (tag & 7) === 2 && field !== 8;
  if (view.listField === 0) view.listField = field;
  else view.listScattered = true;
  if (!packed) {
    view.listScattered = true;
    reader.skip(tag);
    return;
  }
  view.listEnd = reader.readPayloadEnd();
  view.listStart = reader.pos;
  reader.pos = view.listEnd;
}

/** A second shape in one tensor adds its dimensions to the first, as protobuf merges messages. */
function parseShape(reader: WireReader, view: TensorView): void {
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag !== TAG_DIM) {
      reader.skip(tag);
      continue;
    }
    const outerEnd = reader.end;
    reader.end = reader.readPayloadEnd();
    addDimension(view, readDimension(reader));
    reader.end = outerEnd;
  }
}

function readDimension(reader: WireReader): number {
  let size = 0;
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag === TAG_DIM_SIZE) {
      reader.readVarint();
      size = int64Number(reader.lo, reader.hi);
    } else {
      reader.skip(tag);
    }
  }
  return size;
}

function addDimension(view: TensorView, size: number): void {
  if (view.problem !== '') return;
  if (view.rank >= MAX_RANK) {
    view.problem = `more than ${MAX_RANK} dimensions`;
  } else if (size < 0) {
    view.problem = 'negative dimension';
  } else if (size > MAX_ELEMENTS || view.elementCount * size > MAX_ELEMENTS) {
    view.problem = `more than ${MAX_ELEMENTS} elements`;
  } else {
    view.dims[view.rank++] = size;
    view.elementCount *= size;
    return;
  }
  view.elementCount = 0;
}
