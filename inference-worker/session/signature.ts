/**
 * What a model takes and gives, in TensorFlow Serving's terms. ONNX has no signatures, so one is made from the session's
 * metadata: `serving_default`, method `tensorflow/serving/predict`, aliases equal to the graph's input and output names.
 */

/** The only signature a model has unless a manifest names more. */
export const DEFAULT_SIGNATURE_NAME = 'serving_default';
export const PREDICT_METHOD_NAME = 'tensorflow/serving/predict';
export const CLASSIFY_METHOD_NAME = 'tensorflow/serving/classify';
export const REGRESS_METHOD_NAME = 'tensorflow/serving/regress';
/** Aliases that Classify and Regress look for among the outputs of a signature. */
export const CLASSES_OUTPUT = 'classes';
export const SCORES_OUTPUT = 'scores';
export const VALUES_OUTPUT = 'outputs';

/** One input or output. `shape` holds -1 for a dimension the model leaves open; an empty shape is a scalar. */
export interface TensorSpec {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  /** onnxruntime's name of the same type: `float32`, `int64`, `string` ... */
  readonly ortType: string;
  readonly shape: readonly number[];
}

/**
 * Inputs are all of the graph's, in its order, under the aliases of this signature. Outputs are those of the graph unless
 * `graphOutputs` says which; a call is handed the graph's outputs whatever its signature.
 */
export interface Signature {
  readonly name: string;
  readonly methodName: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** Position in the graph of each of `outputs`; absent when they are the graph's own, in its order. */
  readonly graphOutputs?: readonly number[];
  /** How tf.Examples become inputs and outputs become classes or values; absent where only Predict is meant. */
  readonly examples?: ExampleMapping;
}

/** How the features of a tf.Example fill the inputs of a signature, one row per example. */
export interface ExampleMapping {
  /** In the order of the signature's inputs. */
  readonly features: readonly FeatureMapping[];
  /** Names of the classes, by position, where no output holds them; empty without. */
  readonly labels: readonly string[];
}

/** Where one input's rows come from. */
export interface FeatureMapping {
  /** Names of the features whose values, one after another, make a row. */
  readonly from: readonly string[];
  /** A row for examples without the features: numbers, or strings; null when they must be there. */
  readonly fallback: readonly (number | bigint | string)[] | null;
}

/** What was found out about an output besides its spec. */
export interface ModelOutput {
  /** False when warm-up saw another shape than the graph declares: then onnxruntime allocates the output. */
  readonly shapeIsCertain: boolean;
  /** Per dimension, the input dimension the graph gives the same symbolic name; null without one. Absent: none. */
  readonly followed?: readonly (InputAxis | null)[];
}

/** A dimension of an input, by their positions. */
export interface InputAxis {
  readonly input: number;
  readonly axis: number;
}
