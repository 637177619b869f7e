/**
 * What loading and warming up found out about a model: plain data, sent from the thread that loaded it to the front.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { WorkerError } from '../worker-error.ts';
import { elementTypeOf, isKnownOrtType } from './element-type.ts';
import type { GraphTensor } from './native-session.ts';
import {
  DEFAULT_SIGNATURE_NAME,
  type InputAxis,
  type ModelOutput,
  PREDICT_METHOD_NAME,
  type Signature,
  type TensorSpec,
} from './signature.ts';

export interface ModelInfo {
  readonly signature: Signature;
  readonly outputs: readonly ModelOutput[];
  /** Whether rows of different requests may share one run. */
  readonly batchable: boolean;
  /** Milliseconds loading blocked its thread, those included in which others had its core. */
  readonly loadMs: number;
  /** Milliseconds loading had a core: what it would block a thread for that gives way to nobody. */
  readonly loadCpuMs: number;
  /** Measured milliseconds of a run by rows, increasing rows; empty when the model could not be warmed up. */
  readonly costs: readonly { readonly rows: number; readonly ms: number }[];
}

/** The signature ONNX lacks. Throws a WorkerError naming a tensor no request can carry. */
export function synthesizeSignature(inputs: readonly GraphTensor[], outputs: readonly GraphTensor[]): Signature {
  return {
    name: DEFAULT_SIGNATURE_NAME,
    methodName: PREDICT_METHOD_NAME,
    inputs: inputs.map(tensorSpec),
    outputs: outputs.map(tensorSpec),
  };
}

/**
 * Whether the graph declares one batch axis: every input and output has an open first dimension, and those that are
 * named in the inputs share their name. Warm-up checks that outputs follow it.
 */
export function declaresBatchAxis(inputs: readonly GraphTensor[], outputs: readonly GraphTensor[]): boolean {
  if (inputs.length === 0) return false;
  const names = new Set<string>();
  for (const { shape, symbols } of inputs) {
    if (shape[0] !== -1) return false;
    if (symbols[0] !== '') names.add(symbols[0]);
  }
  return names.size <= 1 && outputs.every(({ shape }) => shape[0] === -1);
}

/** For each dimension of `output` behind the first, the open input dimension of the same name, if there is one. */
export function followedAxes(output: GraphTensor, inputs: readonly GraphTensor[]): (InputAxis | null)[] {
  return output.symbols.map((symbol, dimension) => {
    if (symbol === '' || dimension === 0) return null;
    for (let input = 0; input < inputs.length; input++) {
      const axis = inputs[input].symbols.indexOf(symbol, 1);
      if (axis > 0) return { input, axis };
    }
    return null;
  });
}

function tensorSpec(tensor: GraphTensor): TensorSpec {
  if (!isKnownOrtType(tensor.ortType)) {
    throw new WorkerError(
      GrpcStatus.INVALID_ARGUMENT,
      `tensor ${tensor.name} is of type ${tensor.ortType}, which no request can carry`,
      'model_load_failed',
    );
  }
  return {
    name: tensor.name,
    dtype: elementTypeOf(tensor.ortType).dtype,
    ortType: tensor.ortType,
    shape: tensor.shape,
  };
}
