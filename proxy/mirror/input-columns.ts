/**
 * The inputs of a model as columns of numbers, for the slice finder: which tensors and elements they are is settled by the
 * first request that can be read, and later requests fill them as far as they fit.
 *
 * Numbers are what they are, strings become numbers in the order in which they were met. Wide tensors are images or
 * embeddings, whose single elements say nothing, and are left out.
 */
import { DataType } from '../../proto/tensor/dtype.ts';
import type { TensorView } from '../../proto/tensor/tensor-view.ts';
import { type BodyForm, BodyTensors } from './body-tensors.ts';
import { MAX_ROWS } from './comparison.ts';
import { ElementReader } from './element-reader.ts';
import { Fault } from './fault-kinds.ts';
import { faultOf } from './message-bytes.ts';

/** Elements of a row beyond which a tensor is left out. */
const MAX_WIDTH = 64;
/** Different strings of a column that are told apart; further ones have no number. */
const MAX_TEXTS = 256;
const MAX_TEXT_LENGTH = 64;

/** One element of one input tensor's row. */
interface InputColumn {
  readonly tensor: string;
  readonly element: number;
  readonly width: number;
  /** Strings by their number; null for a column of numbers. */
  readonly texts: string[] | null;
  readonly numbers: Map<string, number>;
}

/** Reads requests; shared by all comparisons, since nothing of a request is kept. */
export class InputReader {
  readonly tensors = new BodyTensors();
  readonly elements = new ElementReader();

  /** Parses a captured request; false where it is none. */
  open(request: Uint8Array, form: BodyForm): boolean {
    return request.length > 0 && this.tensors.openRequest(request, form) === Fault.NONE;
  }
}

export class InputColumns {
  readonly columns: readonly InputColumn[];

  private constructor(columns: readonly InputColumn[]) {
    this.columns = columns;
  }

  /** The columns of the request that `reader` has open, in the order of tensor names, at most `max` of them. */
  static of(reader: InputReader, rows: number, max: number): InputColumns {
    const { list: inputs } = reader.tensors;
    const columns: InputColumn[] = [];
    for (const index of namesInOrder(reader)) {
      const tensor = inputs.tensors[index]!;
      const width = rowWidth(tensor, rows);
      if (width === 0 || width > MAX_WIDTH) continue;
      const name = inputs.nameAt(reader.tensors.buffer, index);
      for (let element = 0; element < width && columns.length < max; element++) {
        const texts = tensor.dtype === DataType.STRING ? [] : null;
        columns.push({ tensor: name, element, width, texts, numbers: new Map() });
      }
    }
    return new InputColumns(columns);
  }

  /** Whether each column's numbers are names. */
  get categorical(): boolean[] {
    return this.columns.map(({ texts }) => texts !== null);
  }

  /** How a column is called: `age`, or `features[3]` where the row has several elements. */
  nameOf(column: number): string {
    const { tensor, element, width } = this.columns[column]!;
    return width === 1 ? tensor : `${tensor}[${element}]`;
  }

  /**
   * Fills `out[row * columns + column]` for the first `taken` of `rows` rows; NaN where the request does not say.
   */
  fill(reader: InputReader, rows: number, taken: number, out: Float64Array): void {
    const count = this.columns.length;
    out.fill(Number.NaN, 0, taken * count);
    for (let column = 0; column < count; ) {
      const { tensor: name, width } = this.columns[column]!;
      let end = column + 1;
      while (end < count && this.columns[end]!.tensor === name) end++;
      const tensor = reader.tensors.list.find(reader.tensors.buffer, name);
      if (tensor !== null && rowWidth(tensor, rows) === width) this.fillTensor(reader, tensor, column, end, taken, out);
      column = end;
    }
  }

  private fillTensor(
    reader: InputReader,
    tensor: TensorView,
    first: number,
    end: number,
    taken: number,
    out: Float64Array,
  ): void {
    const { width } = this.columns[first]!;
    try {
      const values = reader.elements.values(reader.tensors.buffer, tensor, taken * width);
      for (let row = 0; row < taken; row++) {
        for (let column = first; column < end; column++) {
          const value = values[row * width + this.columns[column]!.element]!;
          out[row * this.columns.length + column] = this.numberOf(column, value);
        }
      }
    } catch (error) {
      faultOf(error);
    }
  }

  private numberOf(column: number, value: number | bigint | string): number {
    const { texts, numbers } = this.columns[column]!;
    if (texts === null || typeof value !== 'string') return texts === null ? Number(value) : Number.NaN;
    const text = value.slice(0, MAX_TEXT_LENGTH);
    const known = numbers.get(text);
    if (known !== undefined) return known;
    if (texts.length >= MAX_TEXTS) return Number.NaN;
    numbers.set(text, texts.length);
    return texts.push(text) - 1;
  }
}

/** Elements of each row; 0 for a tensor that is not divided into rows. */
function rowWidth(tensor: TensorView, rows: number): number {
  if (tensor.problem !== '' || tensor.elementCount === 0) return 0;
  const first = tensor.rank === 0 ? 1 : tensor.dims[0]!;
  if (Math.min(first, MAX_ROWS) !== rows) return rows === 1 && tensor.rank <= 1 ? tensor.elementCount : 0;
  return tensor.elementCount / first;
}

function namesInOrder(reader: InputReader): number[] {
  const { list: inputs } = reader.tensors;
  const names = Array.from({ length: inputs.count }, (_, i) => inputs.nameAt(reader.tensors.buffer, i));
  return [...names.keys()].sort((a, b) => (names[a]! < names[b]! ? -1 : 1));
}
