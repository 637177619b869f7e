/** Failures as TensorFlow Serving's REST front answers them: a status by gRPC code and the text under `error`. */
import { GrpcStatus, httpStatusFor } from '../../../base/grpc-status.ts';
import { JsonError } from '../../../proto/tensor/json-error.ts';
import { restErrorView } from '../../../proto/tensor/rest-error.ts';
import { WireError } from '../../../proto/tensor/wire-error.ts';
import { WorkerError } from '../../worker-error.ts';
import { REASON_TRAILER } from '../replies.ts';
import { type HttpCall, JSON_TYPE, type ReplyFields } from './http-call.ts';

/** What a caller is told of a failure of ours that is no operating error. */
const INTERNAL_TEXT = 'internal error';

/** The error as its gRPC code says it, or null for what is no operating error. */
export function asWorkerError(error: unknown): WorkerError | null {
  if (error instanceof WorkerError) return error;
  if (error instanceof JsonError) {
    const code = error.reason === 'unsupported' ? GrpcStatus.UNIMPLEMENTED : GrpcStatus.INVALID_ARGUMENT;
    return new WorkerError(code, error.message);
  }
  if (error instanceof WireError) return new WorkerError(GrpcStatus.INVALID_ARGUMENT, error.message);
  return null;
}

export function internalError(cause: unknown): WorkerError {
  return new WorkerError(GrpcStatus.INTERNAL, INTERNAL_TEXT, undefined, cause);
}

/** Answers the call with the failure. */
export function replyFailure(call: HttpCall, error: WorkerError): void {
  call.reply(httpStatusFor(error.code), JSON_TYPE, restErrorView(error.message), reasonFields(error));
}

/** The reason a proxy acts on, where the failure has one. */
export function reasonFields({ reason }: WorkerError): ReplyFields {
  return reason === undefined ? [] : [[REASON_TRAILER, reason]];
}
