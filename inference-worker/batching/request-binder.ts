/**
 * Checks a Predict request against a signature and finds the tensor for each input, without copying or allocating.
 * Names are checked first, then types, then shapes, in TensorFlow Serving's order and words.
 */
import { DataType } from '../../proto/tensor/dtype.ts';
import type { PredictRequestView, TensorView } from '../../proto/tensor/tensor-view.ts';
import { textEquals } from '../../proto/tensor/text.ts';
import { dtypeInMessage, elementTypeOf } from '../session/element-type.ts';
import type { Signature, TensorSpec } from '../session/signature.ts';
import {
  dtypeMismatch,
  emptyBatch,
  inputCountMismatch,
  inputNotFound,
  shapeMismatch,
  taskTooLarge,
  tensorParsingError,
  tensorTooLarge,
  unequalBatchDimensions,
  type WorkerError,
} from '../worker-error.ts';

/**
 * Short lists repeat their last value, so a few bytes can declare a tensor of gigabytes. Above this size a tensor may be
 * at most this many times larger than its message.
 */
const LARGE_TENSOR_BYTES = 16 * 1024 * 1024;
const MAX_EXPANSION = 16;

export class RequestBinder {
  /** The tensor of each input of the signature, in its order, after `bind` returned null. */
  readonly tensors: TensorView[] = [];
  /** Rows of the request after `bind` returned null; 1 for a model without a batch axis. */
  rows = 0;
  readonly signature: Signature;
  private readonly batchable: boolean;
  private readonly maxBatchSize: number;
  private readonly elementBytes: readonly number[];
  /** Positions of the inputs in the order of their names, in which the first problem is looked for. */
  private readonly byName: readonly number[];

  constructor(signature: Signature, batchable: boolean, maxBatchSize: number) {
    this.signature = signature;
    this.batchable = batchable;
    this.maxBatchSize = maxBatchSize;
    this.elementBytes = signature.inputs.map(({ ortType }) => elementTypeOf(ortType).bytes);
    this.byName = signature.inputs.map((_, i) => i).sort((a, b) => compareNames(signature, a, b));
  }

  /** Null when the request fits the signature; then `tensors` and `rows` describe it until the next call. */
  bind(request: PredictRequestView, buf: Buffer): WorkerError | null {
    const { inputs } = this.signature;
    if (request.inputs.count !== inputs.length) {
      return inputCountMismatch(sentNames(request, buf), inputs.map(nameOf));
    }
    for (let i = 0; i < inputs.length; i++) {
      const index = this.byName[i];
      const tensor = findTensor(request, buf, index, inputs[index].name);
      if (tensor === null) return inputNotFound(inputs[index].name, sentNames(request, buf));
      this.tensors[index] = tensor;
    }
    this.rows = this.batchable && this.tensors[0].rank > 0 ? this.tensors[0].dims[0] : 1;
    for (let i = 0; i < inputs.length; i++) {
      const problem = this.check(inputs[this.byName[i]], this.tensors[this.byName[i]], this.byName[i]);
      if (problem !== null) return problem;
    }
    return this.checkRows();
  }

  private check(spec: TensorSpec, tensor: TensorView, index: number): WorkerError | null {
    if (tensor.problem !== '' || tensor.dtype === DataType.INVALID) return tensorParsingError(spec.name);
    if (tensor.dtype !== spec.dtype) {
      return dtypeMismatch(spec.name, dtypeInMessage(spec.dtype), dtypeInMessage(tensor.dtype));
    }
    if (!shapeFits(spec, tensor)) {
      return shapeMismatch(spec.name, spec.shape, tensor.dims.slice(0, tensor.rank));
    }
    const bytes = tensor.elementCount * this.elementBytes[index];
    if (bytes > LARGE_TENSOR_BYTES && bytes > MAX_EXPANSION * (tensor.end - tensor.start)) {
      return tensorTooLarge(spec.name, bytes);
    }
    return null;
  }

  private checkRows(): WorkerError | null {
    if (!this.batchable) return null;
    for (let i = 1; i < this.signature.inputs.length; i++) {
      if (this.tensors[i].dims[0] !== this.rows) return unequalBatchDimensions();
    }
    if (this.rows === 0) return emptyBatch(this.signature.inputs[0].name);
    if (this.rows > this.maxBatchSize) return taskTooLarge(this.rows, this.maxBatchSize);
    return null;
  }
}

/** Clients mostly send inputs in the signature's order. */
function findTensor(request: PredictRequestView, buf: Buffer, expectedAt: number, name: string): TensorView | null {
  const guess = request.inputs.tensors[expectedAt];
  if (textEquals(buf, guess.nameStart, guess.nameEnd, name)) return guess;
  return request.inputs.find(buf, name);
}

/**
 * An input declared without dimensions takes any shape: onnxruntime reports a scalar and an input of unknown rank alike,
 * and checks the rank itself when it runs.
 */
function shapeFits({ shape }: TensorSpec, tensor: TensorView): boolean {
  if (shape.length === 0) return true;
  if (tensor.rank !== shape.length) return false;
  for (let i = 0; i < shape.length; i++) if (shape[i] !== -1 && shape[i] !== tensor.dims[i]) return false;
  return true;
}

/** Names as sent, for messages; bytes that are no UTF-8 show as replacement characters. */
function sentNames(request: PredictRequestView, buf: Buffer): string[] {
  const names: string[] = [];
  for (let i = 0; i < request.inputs.count; i++) {
    const { nameStart, nameEnd } = request.inputs.tensors[i];
    names.push(buf.toString('utf8', nameStart, nameEnd));
  }
  return names;
}

function nameOf(spec: TensorSpec): string {
  return spec.name;
}

function compareNames(signature: Signature, a: number, b: number): number {
  return Buffer.compare(Buffer.from(signature.inputs[a].name), Buffer.from(signature.inputs[b].name));
}
