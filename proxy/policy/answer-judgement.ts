/** What an answer's status says about the upstream: pure, the same for primaries, fallbacks and shadows. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { RequestOutcome } from '../stats/slots.ts';
import { Outcome } from './circuit-breaker.ts';

/** What a status says about whom: `RequestOutcome`. */
export function judgeStatus(status: number, reason: string): number {
  if (reason === 'batch_queue_full') return RequestOutcome.OVERLOADED;
  switch (status) {
    case GrpcStatus.UNAVAILABLE:
    case GrpcStatus.INTERNAL:
    case GrpcStatus.UNKNOWN:
    case GrpcStatus.DATA_LOSS:
    case GrpcStatus.DEADLINE_EXCEEDED:
      return RequestOutcome.UPSTREAM_ERROR;
    case GrpcStatus.RESOURCE_EXHAUSTED:
      return reason === 'device_out_of_memory' ? RequestOutcome.UPSTREAM_ERROR : RequestOutcome.CALLER_ERROR;
    default:
      return RequestOutcome.CALLER_ERROR;
  }
}

/** Caller errors prove that the upstream works; its own shedding proves nothing. */
export function breakerOutcome(result: number): number {
  if (result === RequestOutcome.UPSTREAM_ERROR) return Outcome.FAILURE;
  return result === RequestOutcome.OVERLOADED ? Outcome.IGNORED : Outcome.SUCCESS;
}
