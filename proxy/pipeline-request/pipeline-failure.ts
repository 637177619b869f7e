/** A step's failure as the pipeline's caller is told it. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { ProxyErrors } from '../../base/proxy-error.ts';
import type { RunFailure } from '../pipeline/run.ts';

/** Names the step in the text, and gives it a status that cannot be taken for a word on the pipeline itself. */
export function callerFailure(failure: RunFailure): RunFailure {
  const { step, message, grpcStatus } = failure;
  if (step === '') return failure;
  return { ...failure, message: `step ${step}: ${message}`, grpcStatus: statusForCaller(grpcStatus) };
}

/** The deadline passed while these steps ran (comma-separated). */
export function deadlineFailure(running: string): RunFailure {
  const { grpcStatus, code, message } = ProxyErrors.deadlineUpstream;
  return { grpcStatus, message, reason: code, step: running.split(', ', 1)[0]! };
}

/** What says that a model is not there, or cannot be called so, would be taken for the pipeline; so would a cancellation. */
function statusForCaller(status: number): number {
  switch (status) {
    case GrpcStatus.NOT_FOUND:
    case GrpcStatus.CANCELLED:
      return GrpcStatus.UNAVAILABLE;
    case GrpcStatus.UNIMPLEMENTED:
      return GrpcStatus.INTERNAL;
    default:
      return status;
  }
}
