/**
 * What a model takes and gives, in TensorFlow Serving's terms. ONNX has no signatures, so one is made from the session's
 * metadata: `serving_default`, method `tensorflow/serving/predict`, aliases equal to the graph's input and output names.
 */

/** The only signature a model has unless a manifest names more. */
export const DEFAULT_SIGNATURE_NAME = 'serving_default';
export const PREDICT_METHOD_NAME = 'tensorflow/serving/predict';

/** One input or output. `shape` holds -1 for a dimension the model leaves open; an empty shape is a scalar. */
export interface TensorSpec {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  /** onnxruntime's name of the same type: `float32`, `int64`, `string` ... */
  readonly ortType: string;
  readonly shape: readonly number[];
}

/** Inputs and outputs in the graph's order, which is the order of the views handed to `PredictCall.onOutputs`. */
export interface Signature {
  readonly name: string;
  readonly methodName: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

/** What was found out about an output besides its spec. */
export interface ModelOutput {
  /** False when warm-up saw another shape than the graph declares: then onnxruntime allocates the output. */
  readonly shapeIsCertain: boolean;
}
