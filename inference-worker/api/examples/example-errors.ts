/** Refusals of Classify, Regress and MultiInference in TensorFlow Serving's words. No other place spells them. */
import { GrpcStatus } from '../../../base/grpc-status.ts';
import { WorkerError } from '../../worker-error.ts';

function invalid(message: string): WorkerError {
  return new WorkerError(GrpcStatus.INVALID_ARGUMENT, message);
}

/** A model without a signature file: an ONNX graph does not say how examples become its inputs. */
export function examplesUnimplemented(model: string, version: bigint): WorkerError {
  return new WorkerError(
    GrpcStatus.UNIMPLEMENTED,
    `model ${model} version ${version} takes Predict only: no signatures.yaml says how a tf.Example becomes its inputs`,
  );
}

/** `wanted` and `is` are full method names, such as `tensorflow/serving/classify`. */
export function wrongMethodName(wanted: string, is: string): WorkerError {
  const kind = wanted.endsWith('classify') ? 'classification' : 'regression';
  return invalid(`Expected ${kind} signature method_name to be ${wanted}. Was: ${is}`);
}

export function unsupportedMethod(name: string): WorkerError {
  return new WorkerError(GrpcStatus.UNIMPLEMENTED, `Unsupported signature method_name: ${name}`);
}

export function emptyTaskModelName(): WorkerError {
  return invalid('Found ModelSpec with an empty model name.');
}

export function differentModels(): WorkerError {
  return invalid('All ModelSpecs in a MultiInferenceRequest must access the same model name.');
}

export function duplicateSignature(signature: string): WorkerError {
  return invalid(`Duplicate evaluation of signature: ${signature}`);
}

export function differentExampleInputs(): WorkerError {
  return invalid('Input tensor must be the same for all Signatures.');
}

/** `kind` is `float`, `int64` or `string`. */
export function featureMissing(name: string, kind: string): WorkerError {
  return invalid(`Name: <unknown>, Feature: ${name} (data type: ${kind}) is required but could not be found.`);
}

export function featureTypeMismatch(name: string, sent: string, expected: string): WorkerError {
  return invalid(
    `Name: <unknown>, Key: ${name}, Index: 0.  Data types don't match. Data type: ${sent} but expected type: ${expected}`,
  );
}

export function featureCount(name: string, kind: string, values: number, tail: readonly number[]): WorkerError {
  return invalid(
    `Name: <unknown>, Key: ${name}, Index: 0.  Number of ${kind} values != expected.  ` +
      `values size: ${values} but output shape: [${tail.join(',')}]`,
  );
}

export function featureValueOutOfRange(name: string, value: string): WorkerError {
  return invalid(`input ${name}: ${value} does not fit its type`);
}

export function rowShapeUnknown(name: string, shape: readonly number[]): WorkerError {
  return invalid(
    `input ${name}: a row of shape [${shape.slice(1).join(',')}] cannot be told from its number of values`,
  );
}

/** The outputs of a run are not what Classify or Regress promise. */
export function invalidOutput(detail: string): WorkerError {
  return invalid(detail);
}
