/** Turning a failure's row into an answer: the one place where the proxy speaks to a caller in its own name. */
import { httpStatusFor } from '../../base/grpc-status.ts';
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { LocalReply } from '../stats/slots.ts';
import type { CallerStream } from './exchange.ts';

interface Answers {
  /** Trailers-only response (gRPC over HTTP/2, "Responses"). */
  readonly grpc: HeaderList;
  /** After a head has been sent. */
  readonly trailers: HeaderList;
  readonly http: HeaderList;
}

const made = new Map<ProxyError, Answers>();

function answersFor(error: ProxyError): Answers {
  let answers = made.get(error);
  if (answers === undefined) {
    const status: [string, string][] = [
      ['grpc-status', String(error.grpcStatus)],
      ['grpc-message', encodeURI(error.message)],
      ['x-understudy-reason', error.code],
    ];
    const head: [string, string][] = [
      [':status', '200'],
      ['content-type', 'application/grpc'],
    ];
    if (error.code === 'unknown_encoding') status.push(['grpc-accept-encoding', 'identity,deflate,gzip']);
    answers = {
      grpc: HeaderList.of(...head, ...status),
      trailers: HeaderList.of(...status),
      http: HeaderList.of(
        [':status', String(error.httpStatus || httpStatusFor(error.grpcStatus))],
        ['content-type', 'application/json'],
        ['x-understudy-reason', error.code],
      ),
    };
    made.set(error, answers);
  }
  return answers;
}

/** Answers a request with a failure, whatever was sent of its answer before, and stops its body. */
export function respondError(stream: CallerStream, error: ProxyError, grpc: boolean): void {
  if (stream.dead) return;
  const answers = answersFor(error);
  if (stream.headSent) {
    if (grpc) stream.sendHeaders(answers.trailers, true);
    else stream.reset(ErrorCode.INTERNAL_ERROR);
  } else if (grpc) {
    stream.sendHeaders(answers.grpc, true);
  } else {
    const body = Buffer.from(JSON.stringify({ error: error.message }));
    stream.sendHeaders(answers.http, false);
    stream.sendData(body, 0, body.length, true);
  }
  stopBody(stream);
}

/** The answer is complete: a caller that still sends its request is told to stop (RFC 9113, section 8.1). */
export function stopBody(stream: CallerStream): void {
  if (stream.localEnded && !stream.remoteEnded && !stream.dead) stream.reset(ErrorCode.NO_ERROR);
}

/** Which slot of `LocalReply` counts a failure's answers. */
const LOCAL_REPLY_SLOTS: ReadonlyMap<ProxyError, number> = new Map([
  [ProxyErrors.routeNotFound, LocalReply.ROUTE_NOT_FOUND],
  [ProxyErrors.methodNotAllowed, LocalReply.UNIMPLEMENTED],
  [ProxyErrors.badRequest, LocalReply.BAD_REQUEST],
  [ProxyErrors.missingModel, LocalReply.BAD_REQUEST],
  [ProxyErrors.requestTooLarge, LocalReply.TOO_LARGE],
  [ProxyErrors.messageTooLarge, LocalReply.TOO_LARGE],
  [ProxyErrors.pipelineTooLarge, LocalReply.TOO_LARGE],
  [ProxyErrors.streamOverflow, LocalReply.OVERFLOW],
  [ProxyErrors.memoryOverflow, LocalReply.OVERFLOW],
  [ProxyErrors.headTooLarge, LocalReply.TOO_LARGE],
  [ProxyErrors.answerHeadTooLarge, LocalReply.TOO_LARGE],
  [ProxyErrors.unknownEncoding, LocalReply.UNIMPLEMENTED],
  [ProxyErrors.breakerOpen, LocalReply.BREAKER_OPEN],
  [ProxyErrors.admissionOverflow, LocalReply.OVERFLOW],
  [ProxyErrors.pendingOverflow, LocalReply.OVERFLOW],
  [ProxyErrors.connectFailed, LocalReply.CONNECT_FAILED],
  [ProxyErrors.upstreamReset, LocalReply.RESET],
  [ProxyErrors.deadlineUpstream, LocalReply.DEADLINE],
  [ProxyErrors.deadlineCaller, LocalReply.DEADLINE],
  [ProxyErrors.deadlineBudget, LocalReply.DEADLINE],
  [ProxyErrors.draining, LocalReply.DRAINING],
  [ProxyErrors.rateLimited, LocalReply.RATE_LIMITED],
]);

export function localReplySlot(error: ProxyError): number {
  // Injected faults have the statuses they are configured with, so each is a row of its own.
  if (error.code === ProxyErrors.faultInjected.code) return LocalReply.FAULT;
  return LOCAL_REPLY_SLOTS.get(error) ?? LocalReply.INTERNAL;
}
