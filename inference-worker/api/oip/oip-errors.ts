/**
 * Refusals of the Open Inference Protocol in the words its clients know (Triton's), and the translation of the core's own
 * failures into them. The builders below are the only place that spells them.
 */
import { GrpcStatus } from '../../../base/grpc-status.ts';
import type { OipInferRequest } from '../../../proto/tensor/oip-infer-request.ts';
import { taskTooLarge, unequalBatchDimensions, WorkerError } from '../../worker-error.ts';

function invalid(message: string): WorkerError {
  return new WorkerError(GrpcStatus.INVALID_ARGUMENT, message);
}

export function unknownModel(model: string): WorkerError {
  return invalid(`Request for unknown model: '${model}' is not found`);
}

export function unknownVersion(model: string, version: string): WorkerError {
  return new WorkerError(GrpcStatus.NOT_FOUND, `Request for unknown model: '${model}' version ${version} is not found`);
}

export function noVersions(model: string): WorkerError {
  return new WorkerError(GrpcStatus.NOT_FOUND, `Request for unknown model: '${model}' has no available versions`);
}

export function malformedVersion(version: string): WorkerError {
  return invalid(
    `failed to get model version from specified version string '${version}', version should be an integral value > 0`,
  );
}

export function modelNotReady(): WorkerError {
  return invalid('Model version not ready');
}

export function requestExpired(): WorkerError {
  return new WorkerError(GrpcStatus.UNAVAILABLE, 'Request timeout expired');
}

/** There is one repository, and it has no name. */
export function repositoryUnsupported(): WorkerError {
  return new WorkerError(GrpcStatus.UNIMPLEMENTED, "'repository_name' specification is not supported");
}

/** A model is loaded as its directory has it; to ignore a configuration or files sent along would be to load another. */
export function loadParameterUnsupported(parameter: string): WorkerError {
  return new WorkerError(GrpcStatus.UNIMPLEMENTED, `load parameter '${parameter}' is not supported`);
}

/** A tensor that lies, or is wanted, in memory this server cannot reach. */
export function sharedMemoryUnsupported(): WorkerError {
  return invalid('shared memory regions are not supported');
}

/** How Triton begins what it says about one request. */
function requestTag(id: string): string {
  return `[request id: ${id === '' ? '<id_unknown>' : id}] `;
}

export function inputCount(request: OipInferRequest, expected: readonly string[]): WorkerError {
  const got: string[] = [];
  for (let i = 0; i < request.inputCount; i++) got.push(request.inputs[i].name);
  const missing = expected.filter((name) => !got.includes(name));
  const list = (names: readonly string[]): string => `[${names.map((name) => `'${name}'`).join(',')}]`;
  return invalid(
    `${requestTag(request.id)}expected ${expected.length} inputs but got ${got.length} inputs for model ` +
      `'${request.modelName}'. Got input(s) ${list([...got].sort())}, but missing required input(s) ${list(missing)}. ` +
      'Please provide all required input(s).',
  );
}

export function unexpectedInput(request: OipInferRequest, name: string): WorkerError {
  return invalid(`unexpected inference input '${name}' for model '${request.modelName}'`);
}

export function unexpectedOutput(request: OipInferRequest, name: string): WorkerError {
  return invalid(`unexpected inference output '${name}' for model '${request.modelName}'`);
}

export function inputDatatype(request: OipInferRequest, name: string, sent: string, expected: string): WorkerError {
  const model = `model '${request.modelName}' expects '${expected}'`;
  return invalid(`inference input '${name}' data-type is '${sent}', but ${model}`);
}

export function inputShape(
  request: OipInferRequest,
  name: string,
  expected: readonly number[],
  sent: readonly number[],
): WorkerError {
  return invalid(
    `unexpected shape for input '${name}' for model '${request.modelName}'. ` +
      `Expected [${expected.join(',')}], got [${sent.join(',')}]. `,
  );
}

/** A failure of the core, for a caller of this protocol. */
export function translate(error: WorkerError, request: OipRequestName): WorkerError {
  if (error.reason === 'batch_queue_full') {
    return new WorkerError(GrpcStatus.UNAVAILABLE, 'Exceeds maximum queue size', 'batch_queue_full');
  }
  if (error.code === GrpcStatus.DEADLINE_EXCEEDED) return requestExpired();
  if (error.code !== GrpcStatus.INVALID_ARGUMENT) return error;
  const size = TASK_TOO_LARGE.exec(error.message);
  if (size !== null) return invalid(`inference request batch-size must be <= ${size[1]} for '${request.modelName}'`);
  if (error.message === UNEQUAL_BATCHES) {
    return invalid(`input batch size does not match other inputs for '${request.modelName}'`);
  }
  return error;
}

/** What is kept of a request until it is answered. */
export interface OipRequestName {
  readonly modelName: string;
  readonly id: string;
}

/** The core's texts, which have the numbers that the texts here need. */
const TASK_TOO_LARGE = new RegExp(`^${taskTooLarge(0, 0).message.replace('0', '\\d+').replace(/0$/, '(\\d+)')}$`);
const UNEQUAL_BATCHES = unequalBatchDimensions().message;
