/** What an answer's status says about the upstream: pure, the same for primaries, fallbacks and shadows. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { ProxyErrors } from '../../base/proxy-error.ts';
import { RequestOutcome } from '../stats/slots.ts';
import { Outcome } from './circuit-breaker.ts';

/** Reasons with which a worker or another proxy of ours says that it shed the request. */
const SHED: ReadonlySet<string> = new Set([
  'batch_queue_full',
  ...Object.values(ProxyErrors)
    .filter(({ origin }) => origin === 'proxy')
    .map(({ code }) => code),
]);

/** What a status that is not OK says about whom: `RequestOutcome`. `reason` is the answer's `x-understudy-reason`, or ''. */
export function judgeStatus(status: number, reason: string): number {
  if (reason !== '' && SHED.has(reason)) return RequestOutcome.OVERLOADED;
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
