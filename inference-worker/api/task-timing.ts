/**
 * Queue and compute time of one call, told to callers that ask for it with the request header `x-understudy-timing`: in
 * the trailers of a unary gRPC call, in the head of an HTTP answer. Whole microseconds. A stream of calls has one trailing
 * section for all of them and tells none.
 */
import { HeaderList } from '../../proto/http2/header-list.ts';
import type { ReplyFields } from './rest/http-call.ts';

/** Request header that asks for it, whatever its value. */
export const TIMING_HEADER = 'x-understudy-timing';
/** From acceptance to the start of the run that the call was part of. */
export const QUEUE_FIELD = 'x-understudy-queue-us';
/** That run. Parts of a task that was split are added up. */
export const COMPUTE_FIELD = 'x-understudy-compute-us';

/** In milliseconds. */
export interface TaskTiming {
  readonly queueMs: number;
  readonly computeMs: number;
}

/** The trailers of a call that succeeded. */
export function timingTrailers({ queueMs, computeMs }: TaskTiming): HeaderList {
  return HeaderList.of(['grpc-status', '0'], [QUEUE_FIELD, micros(queueMs)], [COMPUTE_FIELD, micros(computeMs)]);
}

/** The fields of an HTTP answer to a request with these `headers`; none if it did not ask. */
export function timingFields(headers: HeaderList, { queueMs, computeMs }: TaskTiming): ReplyFields {
  if (headers.get(TIMING_HEADER) === undefined) return NO_FIELDS;
  return [
    [QUEUE_FIELD, micros(queueMs)],
    [COMPUTE_FIELD, micros(computeMs)],
  ];
}

const NO_FIELDS: ReplyFields = [];

function micros(ms: number): string {
  return String(Math.round(ms * 1000));
}
