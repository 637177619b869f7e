/**
 * The one table of failures the proxy answers for: what the caller is told, who is to blame, and what follows from it.
 *
 * A failure is a row, not an exception: rows are constants, so refusing a request allocates nothing. `respond.ts`
 * turns a row into an answer; the data plane reads `fallback` and `breakerCounts` from it and decides nothing twice.
 */
import { GrpcStatus } from './grpc-status.ts';

/** Who caused a failure. */
export type FailureOrigin = 'caller' | 'proxy' | 'upstream';

export interface ProxyError {
  /** Stable code: log field, metric label, `x-understudy-reason`. */
  readonly code: string;
  readonly grpcStatus: number;
  readonly httpStatus: number;
  /** Two or three letters for the access log, in the manner of Envoy's response flags. */
  readonly flag: string;
  readonly origin: FailureOrigin;
  /** Whether a fallback may answer instead (never after a byte of the answer was committed). */
  readonly fallback: boolean;
  /** Whether the cluster's breaker counts it as a failure. */
  readonly breakerCounts: boolean;
  readonly message: string;
}

function row(
  code: string,
  grpcStatus: number,
  httpStatus: number,
  flag: string,
  origin: FailureOrigin,
  fallback: boolean,
  breakerCounts: boolean,
  message: string,
): ProxyError {
  return Object.freeze({ code, grpcStatus, httpStatus, flag, origin, fallback, breakerCounts, message });
}

const S = GrpcStatus;

export const ProxyErrors = {
  routeNotFound: row('route_not_found', S.NOT_FOUND, 404, 'NR', 'caller', false, false, 'no route claims this request'),
  methodNotAllowed: row(
    'method_not_allowed',
    S.UNIMPLEMENTED,
    405,
    'BR',
    'caller',
    false,
    false,
    'CONNECT is not allowed here',
  ),
  badRequest: row('bad_request', S.INVALID_ARGUMENT, 400, 'BR', 'caller', false, false, 'the request is malformed'),
  missingModel: row('missing_model', S.INVALID_ARGUMENT, 400, 'BR', 'caller', false, false, 'Missing ModelSpec'),
  requestTooLarge: row(
    'request_too_large',
    S.RESOURCE_EXHAUSTED,
    413,
    'TL',
    'caller',
    false,
    false,
    'the part of the request that names its model lies too far into it',
  ),
  messageTooLarge: row(
    'message_too_large',
    S.RESOURCE_EXHAUSTED,
    413,
    'TL',
    'caller',
    false,
    false,
    'a message of the stream is larger than what is kept of one',
  ),
  streamOverflow: row(
    'stream_overflow',
    S.RESOURCE_EXHAUSTED,
    429,
    'UO',
    'caller',
    false,
    false,
    'too much of the stream waits for an answer',
  ),
  pipelineTooLarge: row(
    'pipeline_too_large',
    S.RESOURCE_EXHAUSTED,
    413,
    'TL',
    'caller',
    false,
    false,
    'the request is larger than the pipeline takes',
  ),
  memoryOverflow: row(
    'memory_overflow',
    S.RESOURCE_EXHAUSTED,
    503,
    'OM',
    'proxy',
    false,
    false,
    'too much is held here for slow requests',
  ),
  headTooLarge: row(
    'head_too_large',
    S.RESOURCE_EXHAUSTED,
    431,
    'HL',
    'caller',
    false,
    false,
    'the header section is larger than the upstream takes',
  ),
  answerHeadTooLarge: row(
    'answer_head_too_large',
    S.INTERNAL,
    502,
    'HL',
    'caller',
    false,
    false,
    'the header section of the answer is larger than the caller takes',
  ),
  unknownEncoding: row(
    'unknown_encoding',
    S.UNIMPLEMENTED,
    415,
    'UE',
    'caller',
    false,
    false,
    'grpc-encoding is not supported',
  ),
  admissionOverflow: row(
    'admission_overflow',
    S.UNAVAILABLE,
    503,
    'UO',
    'proxy',
    true,
    false,
    'too many requests in flight to this model',
  ),
  pendingOverflow: row(
    'pending_overflow',
    S.UNAVAILABLE,
    503,
    'UO',
    'proxy',
    true,
    false,
    'too many requests wait for a connection',
  ),
  rateLimited: row(
    'rate_limited',
    S.RESOURCE_EXHAUSTED,
    429,
    'RL',
    'proxy',
    false,
    false,
    'too many requests in this time',
  ),
  faultInjected: row(
    'fault_injected',
    S.UNAVAILABLE,
    503,
    'FI',
    'proxy',
    true,
    false,
    'a fault was injected for a drill',
  ),
  breakerOpen: row('breaker_open', S.UNAVAILABLE, 503, 'UB', 'proxy', true, false, 'the breaker of this model is open'),
  connectFailed: row(
    'connect_failed',
    S.UNAVAILABLE,
    503,
    'UF',
    'upstream',
    true,
    true,
    'the upstream cannot be connected to',
  ),
  noHealthyEndpoint: row(
    'no_healthy_endpoint',
    S.UNAVAILABLE,
    503,
    'UH',
    'upstream',
    true,
    false,
    'no endpoint of the upstream is healthy',
  ),
  upstreamReset: row(
    'upstream_reset',
    S.UNAVAILABLE,
    502,
    'UR',
    'upstream',
    true,
    true,
    'the upstream ended the request',
  ),
  upstreamStatus: row(
    'upstream_status',
    S.UNAVAILABLE,
    502,
    'US',
    'upstream',
    true,
    true,
    'the upstream answered with an error',
  ),
  badOutput: row(
    'bad_output',
    S.INTERNAL,
    502,
    'BO',
    'upstream',
    true,
    true,
    'the upstream answered with invalid outputs',
  ),
  deadlineUpstream: row(
    'deadline_exceeded',
    S.DEADLINE_EXCEEDED,
    504,
    'UT',
    'upstream',
    false,
    true,
    'the deadline passed while the upstream held the request',
  ),
  deadlineCaller: row(
    'deadline_exceeded',
    S.DEADLINE_EXCEEDED,
    504,
    'DT',
    'caller',
    false,
    false,
    'the deadline passed before the request had arrived',
  ),
  deadlineBudget: row(
    'deadline_budget',
    S.DEADLINE_EXCEEDED,
    504,
    'UT',
    'upstream',
    true,
    true,
    'the primary used up its share of the deadline',
  ),
  draining: row('draining', S.UNAVAILABLE, 503, 'DR', 'proxy', false, false, 'the proxy is shutting down'),
  callerCancelled: row('caller_cancelled', S.CANCELLED, 499, 'DC', 'caller', false, false, 'the caller went away'),
} as const;
