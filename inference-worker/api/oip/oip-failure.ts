/** Whatever reading a request of the Open Inference Protocol may throw, as the failure its caller is told. */
import { GrpcStatus } from '../../../base/grpc-status.ts';
import { OipError } from '../../../proto/tensor/oip-error.ts';
import { WireError } from '../../../proto/tensor/wire-error.ts';
import { WorkerError } from '../../worker-error.ts';

/** Null for what is no operating error. */
export function asOipFailure(error: unknown): WorkerError | null {
  if (error instanceof WorkerError) return error;
  if (error instanceof OipError) return new WorkerError(GrpcStatus.INVALID_ARGUMENT, error.message);
  if (!(error instanceof WireError)) return null;
  const code = error.reason === 'too_large' ? GrpcStatus.RESOURCE_EXHAUSTED : GrpcStatus.INVALID_ARGUMENT;
  return new WorkerError(code, error.message);
}
