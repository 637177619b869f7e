/** One Predict asked for with plain values: what goes in, what comes out, and the call in between. */
import type { TensorData } from '../../proto/tensor/tensor-view.ts';
import { type OutputView, PredictCall, Priority } from '../batching/batcher.ts';
import type { WorkerError } from '../worker-error.ts';
import type { PredictTarget } from './predict-target.ts';
import type { TaskTiming } from './task-timing.ts';
import type { RequestTensor } from './tensor-request.ts';

export interface PredictArguments {
  readonly inputs: readonly RequestTensor[];
  /** Aliases of the outputs wanted; empty or absent means all. */
  readonly outputFilter?: readonly string[];
  /** When the caller stops waiting, on the worker's clock; Infinity when absent. */
  readonly deadlineMs?: number;
  /** One of `Priority`; primary when absent. */
  readonly priority?: number;
}

/** One output of an answer: elements `[from, from + count)` of `data`, in the shape `dims`. */
export interface AnswerTensor {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly data: TensorData;
  readonly from: number;
  readonly count: number;
}

export interface PredictAnswer extends TaskTiming {
  /** Who answered: servable, version and signature. */
  readonly target: PredictTarget;
  readonly outputs: readonly AnswerTensor[];
}

/** Told how a Predict ended: one of the two, once. The answer's data is valid only during the call. */
export interface PredictReceiver {
  onAnswer(answer: PredictAnswer): void;
  onFailure(error: WorkerError): void;
}

export class PredictOperation extends PredictCall {
  readonly target: PredictTarget;
  private readonly filter: readonly number[];
  private readonly receiver: PredictReceiver;

  constructor(target: PredictTarget, filter: readonly number[], request: PredictArguments, receiver: PredictReceiver) {
    super(target.signature);
    this.target = target;
    this.filter = filter;
    this.receiver = receiver;
    this.deadlineMs = request.deadlineMs ?? Number.POSITIVE_INFINITY;
    this.priority = request.priority ?? Priority.primary;
  }

  /** Nobody waits any more: the task leaves its queue, and the receiver hears CANCELLED. */
  cancel(): void {
    this.cancelled = true;
  }

  onOutputs(outputs: readonly OutputView[], rowStart: number, rowCount: number): void {
    const { target } = this;
    const answer = this.filter.map((position) => {
      const output = outputs[target.graphOutputs[position]!]!;
      return answerTensor(output, target.outputNames[position]!, rowStart, rowCount);
    });
    const { queueMs, batchMs, computeMs } = this;
    this.receiver.onAnswer({ target, outputs: answer, queueMs, batchMs, computeMs });
  }

  onFailure(error: WorkerError): void {
    this.receiver.onFailure(error);
  }
}

function answerTensor(output: OutputView, name: string, rowStart: number, rowCount: number): AnswerTensor {
  const { spec, data, dims, batched, rowElements } = output;
  if (!batched) return { name, dtype: spec.dtype, dims: [...dims], data, from: 0, count: rowElements };
  return {
    name,
    dtype: spec.dtype,
    dims: [rowCount, ...dims.slice(1)],
    data,
    from: rowStart * rowElements,
    count: rowCount * rowElements,
  };
}
