/** A pipeline as the snapshot carries it: plain data, steps in an order in which each comes after those it waits for. */

/** Where a tensor comes from: output `name` of step `step`, or the request's input of that name where `step` is -1. */
export interface TensorSource {
  readonly step: number;
  readonly name: string;
}

/** A tensor of the pipeline's signature. */
export interface PipelineTensor {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  /** -1 for any size. */
  readonly shape: readonly number[];
}

/** An output that stands in for a step's. */
export interface DefaultOutput extends PipelineTensor {
  /** One element for all, or those of one row (of all where the first dimension is fixed). */
  readonly values: readonly string[];
}

export interface PipelineStepSnapshot {
  readonly name: string;
  /** Name of the configured model that is called. */
  readonly model: string;
  /** What it is called in. */
  readonly protocol: 'tensorflow-serving' | 'open-inference';
  readonly inputs: readonly { readonly name: string; readonly from: TensorSource }[];
  /** Outputs that are used. */
  readonly outputs: readonly string[];
  /** Share of the remaining deadline, 0..1. */
  readonly budgetFraction: number;
  /** Null for none. */
  readonly defaults: readonly DefaultOutput[] | null;
  /** First of its statistics slots. */
  readonly statsBase: number;
}

export interface PipelineSnapshot {
  readonly name: string;
  readonly version: string;
  /** For callers without a deadline, milliseconds; 0 is unlimited. */
  readonly timeoutMs: number;
  readonly inputs: readonly PipelineTensor[];
  readonly steps: readonly PipelineStepSnapshot[];
  readonly outputs: readonly (PipelineTensor & { readonly from: TensorSource })[];
  /** Requests under way per data thread. */
  readonly maxConcurrent: number;
  /** Bytes one request may hold. */
  readonly maxBytes: number;
  /** First of its statistics slots. */
  readonly statsBase: number;
}
