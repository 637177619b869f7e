/**
 * Queue, batch and compute time of one call, told to callers that ask for it with the request header `x-understudy-timing`: in
 * the trailers of a unary gRPC call, in the head of an HTTP answer. Whole microseconds. A stream of calls has one trailing
 * section for all of them and tells none.
 */
import { HeaderList } from '../../proto/http2/header-list.ts';
import type { ReplyFields } from './rest/http-call.ts';

/** Request header that asks for it, whatever its value. */
export const TIMING_HEADER = 'x-understudy-timing';
/** From acceptance until its batch was taken out of the queue. */
export const QUEUE_FIELD = 'x-understudy-queue-us';
/** From there to the start of the run: the batch is padded, handed over, and waits for one before it. */
export const BATCH_FIELD = 'x-understudy-batch-us';
/** That run. Parts of a task that was split are added up. */
export const COMPUTE_FIELD = 'x-understudy-compute-us';

/** In milliseconds. `queueMs` is the whole wait for the run, of which `batchMs` is the part after the queue. */
export interface TaskTiming {
  readonly queueMs: number;
  readonly batchMs: number;
  readonly computeMs: number;
}

/** The trailers of a call that succeeded. */
export function timingTrailers(timing: TaskTiming): HeaderList {
  return HeaderList.of(['grpc-status', '0'], ...fieldsOf(timing));
}

/** The fields of an HTTP answer to a request with these `headers`; none if it did not ask. */
export function timingFields(headers: HeaderList, timing: TaskTiming): ReplyFields {
  return headers.get(TIMING_HEADER) === undefined ? NO_FIELDS : fieldsOf(timing);
}

function fieldsOf({ queueMs, batchMs, computeMs }: TaskTiming): [string, string][] {
  return [
    [QUEUE_FIELD, micros(queueMs - batchMs)],
    [BATCH_FIELD, micros(batchMs)],
    [COMPUTE_FIELD, micros(computeMs)],
  ];
}

const NO_FIELDS: ReplyFields = [];

function micros(ms: number): string {
  return String(Math.round(ms * 1000));
}
