/**
 * PredictRequest and PredictResponse parsed in place into reusable views: a model spec and named tensors.
 *
 * Fields may come in any order. A repeated map key replaces the earlier tensor, a repeated model_spec merges, and so does
 * a tensor's value repeated in one map entry replace the earlier one.
 */
import { ModelSpecView, parseModelSpec } from './model-spec-view.ts';
import { parseTensor, TensorView } from './tensor-proto.ts';
import { rangesEqual, readText, textEquals } from './text.ts';
import { WireReader } from './wire.ts';
import { WireError } from './wire-error.ts';

/** Tensors in one message; more is `too_large`. */
export const MAX_TENSORS = 512;
/** Entries of `output_filter` in one request; more is `too_large`. */
export const MAX_FILTERS = 512;

const TAG_1 = 0x0a;
const TAG_2 = 0x12;
const TAG_3 = 0x1a;

/** Named tensors: `tensors[0 .. count)` are valid, the rest waits for reuse. */
export class TensorList {
  readonly tensors: TensorView[] = [];
  count = 0;

  /** The tensor of that name, or null. */
  find(buf: Buffer, name: string): TensorView | null {
    for (let i = 0; i < this.count; i++) {
      const tensor = this.tensors[i];
      if (textEquals(buf, tensor.nameStart, tensor.nameEnd, name)) return tensor;
    }
    return null;
  }

  /** Name of the tensor at `index`, which must be below `count`. */
  nameAt(buf: Buffer, index: number): string {
    const tensor = this.tensors[index];
    return readText(buf, tensor.nameStart, tensor.nameEnd, 'tensor name');
  }

  /** Parses one map entry that fills the reader's range. */
  parseEntry(reader: WireReader): void {
    if (this.count === this.tensors.length) this.grow(reader);
    const tensor = this.tensors[this.count];
    tensor.reset();
    while (reader.pos < reader.end) {
      const tag = reader.readTag();
      if (tag === TAG_1) {
        tensor.nameEnd = reader.readPayloadEnd();
        tensor.nameStart = reader.pos;
        reader.pos = tensor.nameEnd;
      } else if (tag === TAG_2) {
        const outerEnd = reader.end;
        reader.end = reader.readPayloadEnd();
        parseTensor(reader, tensor);
        reader.end = outerEnd;
      } else {
        reader.skip(tag);
      }
    }
    this.settle(reader.buf, tensor);
  }

  /** Counts the new tensor, in the place of an earlier one of the same name if there is one. */
  private settle(buf: Buffer, tensor: TensorView): void {
    for (let i = 0; i < this.count; i++) {
      const earlier = this.tensors[i];
      if (rangesEqual(buf, earlier.nameStart, earlier.nameEnd, tensor.nameStart, tensor.nameEnd)) {
        this.tensors[i] = tensor;
        this.tensors[this.count] = earlier;
        return;
      }
    }
    this.count++;
  }

  private grow(reader: WireReader): void {
    // One more than may stay, because the last may turn out to be a repetition.
    if (this.count >= MAX_TENSORS) {
      throw new WireError('too_large', reader.what, `more than ${MAX_TENSORS} tensors`, reader.pos - reader.base);
    }
    this.tensors.push(new TensorView());
  }
}

/** Reusable view of a PredictRequest. */
export class PredictRequestView {
  readonly modelSpec = new ModelSpecView();
  readonly inputs = new TensorList();
  /** `output_filter`: start and end of entry `i` at `2 * i` and `2 * i + 1`. */
  readonly filterRanges: number[] = [];
  filterCount = 0;

  filterAt(buf: Buffer, index: number): string {
    return readText(buf, this.filterRanges[index * 2], this.filterRanges[index * 2 + 1], 'output_filter');
  }
}

/** Reusable view of a PredictResponse. */
export class PredictResponseView {
  readonly modelSpec = new ModelSpecView();
  readonly outputs = new TensorList();
}

const reader = new WireReader();

/**
 * Parses `[start, end)` of `buf` into `view`, whose earlier content is forgotten. Nothing is copied: the view is good for
 * as long as the bytes are.
 * @throws WireError (`malformed`, `too_large`). A tensor that contradicts itself is no error here: see `TensorView.problem`.
 */
export function parsePredictRequest(view: PredictRequestView, buf: Buffer, start: number, end: number): void {
  view.modelSpec.reset();
  view.inputs.count = 0;
  view.filterCount = 0;
  reader.reset(buf, start, end, 'PredictRequest');
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag === TAG_1 || tag === TAG_2) {
      reader.end = reader.readPayloadEnd();
      if (tag === TAG_1) parseModelSpec(reader, view.modelSpec);
      else view.inputs.parseEntry(reader);
      reader.end = end;
    } else if (tag === TAG_3) {
      const filterEnd = reader.readPayloadEnd();
      addFilter(view, reader.pos, filterEnd);
      reader.pos = filterEnd;
    } else {
      reader.skip(tag);
    }
  }
  reader.release();
}

/** As `parsePredictRequest`, for a PredictResponse. */
export function parsePredictResponse(view: PredictResponseView, buf: Buffer, start: number, end: number): void {
  view.modelSpec.reset();
  view.outputs.count = 0;
  reader.reset(buf, start, end, 'PredictResponse');
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag === TAG_1 || tag === TAG_2) {
      reader.end = reader.readPayloadEnd();
      if (tag === TAG_1) view.outputs.parseEntry(reader);
      else parseModelSpec(reader, view.modelSpec);
      reader.end = end;
    } else {
      reader.skip(tag);
    }
  }
  reader.release();
}

function addFilter(view: PredictRequestView, start: number, end: number): void {
  if (view.filterCount >= MAX_FILTERS) {
    throw new WireError('too_large', 'PredictRequest', `more than ${MAX_FILTERS} output filters`, start - reader.base);
  }
  view.filterRanges[view.filterCount * 2] = start;
  view.filterRanges[view.filterCount * 2 + 1] = end;
  view.filterCount++;
}
