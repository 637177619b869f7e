/** What stands in for the outputs of a step that nobody answered: constants whose first dimension follows the batch. */
import { DataType, type ElementArray } from '../../proto/tensor/dtype.ts';
import { putStrings, stringsBytes } from '../../proto/tensor/value-list.ts';
import { constantElements } from '../config/constant-elements.ts';
import type { DefaultOutput } from '../config/pipeline-snapshot.ts';
import { type PassedTensor, tensorOfElements } from './passed-tensor.ts';

/** One output: a row as bytes, to be repeated. */
class DefaultTensor {
  private readonly config: DefaultOutput;
  /** Bytes of one row, or of the whole tensor where its first dimension is fixed. */
  private readonly row: Buffer;
  private last: PassedTensor | null = null;

  constructor(config: DefaultOutput) {
    this.config = config;
    const { dtype, shape, values } = config;
    const count = shape.reduce((product, dim) => product * (dim < 0 ? 1 : dim), 1);
    const elements = constantElements(dtype, values)!;
    this.row = dtype === DataType.STRING ? stringRow(elements as readonly string[], count) : numberRow(elements, count);
  }

  bytes(batch: number): number {
    return this.row.length * this.repeats(batch);
  }

  tensor(batch: number): PassedTensor {
    const { dtype, shape } = this.config;
    const dims = shape.map((dim) => (dim < 0 ? batch : dim));
    const { last } = this;
    // Batches mostly have the size of the one before.
    if (last !== null && last.dims[0] === dims[0]) return last;
    const bytes = Buffer.allocUnsafe(this.bytes(batch));
    for (let at = 0; at < bytes.length; at += this.row.length) this.row.copy(bytes, at);
    this.last = tensorOfElements(dtype, dims, bytes);
    return this.last;
  }

  private repeats(batch: number): number {
    return this.config.shape[0] === -1 ? batch : 1;
  }
}

export class DefaultOutputs {
  private readonly tensors: readonly DefaultTensor[];

  /** `names` are the step's outputs, in the order in which `make` gives them. */
  constructor(names: readonly string[], defaults: readonly DefaultOutput[]) {
    this.tensors = names.map((name) => new DefaultTensor(defaults.find((output) => output.name === name)!));
  }

  /** Bytes `make` would hold. */
  bytes(batch: number): number {
    return this.tensors.reduce((sum, tensor) => sum + tensor.bytes(batch), 0);
  }

  make(batch: number): PassedTensor[] {
    return this.tensors.map((tensor) => tensor.tensor(batch));
  }
}

/** The first dimension of the first tensor that has one; 1 without. */
export function batchOf(inputs: readonly PassedTensor[]): number {
  for (const { dims } of inputs) if (dims.length > 0) return dims[0]!;
  return 1;
}

function stringRow(values: readonly string[], count: number): Buffer {
  const all = values.length === 1 ? new Array<string>(count).fill(values[0]!) : values;
  const bytes = Buffer.allocUnsafe(stringsBytes(all, 0, count));
  putStrings(bytes, 0, all, 0, count);
  return bytes;
}

function numberRow(values: ElementArray | readonly string[], count: number): Buffer {
  const { buffer, byteOffset, byteLength, BYTES_PER_ELEMENT } = values as ElementArray;
  const given = Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  const row = Buffer.allocUnsafe(count * BYTES_PER_ELEMENT);
  for (let at = 0; at < row.length; at += given.length) given.copy(row, at);
  return row;
}
