/**
 * What an upstream answers, judged as it comes: head, data, end or reset. A good answer is delivered; a bad one is tried
 * again at another endpoint, replaced by a fallback's, or told as it is. Nothing is replaced once a byte of it went out.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { ProxyErrors } from '../../base/proxy-error.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import type { Http1Exchange } from '../../proto/http1/exchange.ts';
import { withoutHopByHop } from '../../proto/http1/hop-by-hop.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { RetryOn } from '../config/snapshot.ts';
import { breakerOutcome, judgeStatus } from '../policy/answer-judgement.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { answerStatus, askedWaitMs, ResponseTraits } from '../routing/response-traits.ts';
import { recordLatency } from '../stats/histogram.ts';
import { AnswerReason, ClusterSlot, RequestEnd, RequestOutcome } from '../stats/slots.ts';
import { adaptFallback, adaptPrimary, countTooLarge, heldLimit, mustChange } from './answer-adaptation.ts';
import { commit, deliver } from './answer-delivery.ts';
import { connectFailed } from './attempts.ts';
import { isBadAnswer } from './bad-answer.ts';
import { acquireBody, type BodyBuffer } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import type { Attempt, Exchange } from './exchange.ts';
import { canFallBack, failAsPrimary, fallBack, hedgeFailed, keepFailure, refused } from './fallback.ts';
import { changePlaces } from './hedge.ts';
import { failRequest, finishRequest, settleAttempt } from './request-ends.ts';
import { canResend, tryAgain } from './retrying.ts';

/** Most room made for an answer whose prefix promises more, bytes. */
const MAX_RESERVED_BYTES = 4 * 1024 * 1024;

/** An answer's head, informational ones included. */
export function answerHead(
  plane: DataPlane,
  exchange: Exchange,
  attempt: Attempt,
  head: HeaderList,
  endStream: boolean,
): void {
  if (!attempt.stream!.headReceived) {
    if (exchange.tunnel !== null && head.get(':status') === '101') openTunnel(plane, exchange, attempt, head);
    else relayInformational(exchange, head);
    return;
  }
  if (exchange.http1 && exchange.traits!.isConnect && head.get(':status')!.startsWith('2')) {
    openTunnel(plane, exchange, attempt, head);
    return;
  }
  if (!exchange.down.takesSection(head)) {
    if (attempt !== exchange.attempt) changePlaces(exchange, exchange.hedge!);
    settleAttempt(plane, exchange, attempt, RequestOutcome.CALLER_ERROR, Outcome.IGNORED, -1);
    if (!hedgeFailed(plane, exchange)) failRequest(plane, exchange, ProxyErrors.answerHeadTooLarge);
    return;
  }
  attempt.responseHead = head;
  if (endStream) answerEnd(plane, exchange, attempt, head);
  else if (!exchange.holds) commit(plane, exchange, attempt);
}

/** Both sides have agreed to leave HTTP. */
function openTunnel(plane: DataPlane, exchange: Exchange, attempt: Attempt, head: HeaderList): void {
  const { cluster } = attempt;
  exchange.status = GrpcStatus.OK;
  exchange.httpStatus = ResponseTraits.of(head).httpStatus;
  exchange.committed = true;
  settleAttempt(plane, exchange, attempt, RequestOutcome.OK, Outcome.SUCCESS, GrpcStatus.OK);
  plane.cells[cluster.config.statsBase + ClusterSlot.ANSWERS + attempt.reason]! += 1;
  plane.tunnels.join(exchange.down as Http1Exchange, attempt.stream as Http1Exchange, head, cluster.name);
  finishRequest(plane, exchange);
}

/** Bytes of an answer: held while it may be replaced, else on to the caller. */
export function answerData(
  plane: DataPlane,
  exchange: Exchange,
  attempt: Attempt,
  buffer: Buffer,
  start: number,
  end: number,
  endStream: boolean,
): void {
  const stream = attempt.stream!;
  if (exchange.committed) {
    exchange.answerBytes += end - start;
    stream.consume(exchange.down.sendData(buffer, start, end, endStream));
  } else {
    const held = heldOf(exchange, attempt);
    if (held.length === 0) reserveFor(exchange, attempt, held, buffer, start, end);
    plane.bodies.appendAnswer(exchange, held, buffer, start, end);
    stream.consume(end - start);
    if (held.length > heldLimit(exchange, attempt)) {
      if (attempt !== exchange.attempt) changePlaces(exchange, exchange.hedge!);
      if (!letGo(plane, exchange, attempt)) return;
    }
  }
  if (endStream) answerEnd(plane, exchange, attempt, null);
}

/** Room for a gRPC message as long as its prefix says, so that a large answer leaves no outgrown buffers behind. */
function reserveFor(
  exchange: Exchange,
  attempt: Attempt,
  held: BodyBuffer,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  if (!exchange.traits!.grpc || end - start < PREFIX_BYTES) return;
  const bytes = buffer.readUInt32BE(start + 1) + PREFIX_BYTES;
  if (bytes > end - start) held.reserve(Math.min(bytes, heldLimit(exchange, attempt), MAX_RESERVED_BYTES));
}

/** More of an answer has come than is held: it goes on as it is, unless that may not be; false where it does not. */
function letGo(plane: DataPlane, exchange: Exchange, attempt: Attempt): boolean {
  if (!mustChange(exchange, attempt)) {
    commit(plane, exchange, attempt);
    return true;
  }
  countTooLarge(plane, attempt);
  settleAttempt(plane, exchange, attempt, RequestOutcome.BAD_OUTPUT, Outcome.FAILURE, -1);
  attempt.stream!.reset(ErrorCode.CANCEL);
  refused(plane, exchange, AnswerReason.BAD_OUTPUT, ProxyErrors.badOutput);
  return false;
}

/** The answer is complete: `last` is its trailers, its only header section, or null when it ended with DATA. */
export function answerEnd(plane: DataPlane, exchange: Exchange, attempt: Attempt, last: HeaderList | null): void {
  if (attempt !== exchange.attempt) changePlaces(exchange, exchange.hedge!);
  if (exchange.trace !== null) exchange.trace.answer = last ?? attempt.responseHead;
  const { grpc, rest } = exchange.traits!;
  const status = answerStatus(attempt.responseHead!, last, grpc, rest !== null && exchange.model !== null);
  const { reason, forbidsRetry } = ResponseTraits.of(last ?? attempt.responseHead!);
  exchange.status = status;
  const nowMs = plane.clock.nowMs();
  // A fallback's answer is judged as its caller will see it.
  if (status === GrpcStatus.OK && (!adaptFallback(plane, exchange, attempt) || isBadAnswer(exchange, attempt))) {
    settleAttempt(plane, exchange, attempt, RequestOutcome.BAD_OUTPUT, Outcome.FAILURE, status, nowMs);
    refused(plane, exchange, AnswerReason.BAD_OUTPUT, ProxyErrors.badOutput);
    return;
  }
  if (status === GrpcStatus.OK) {
    settleAttempt(plane, exchange, attempt, RequestOutcome.OK, Outcome.SUCCESS, status, nowMs);
    recordLatency(plane.cells, attempt.cluster.config.statsBase + ClusterSlot.LATENCY, nowMs - attempt.startedMs);
    adaptPrimary(plane, exchange, attempt);
    deliver(plane, exchange, attempt, last);
    return;
  }
  const fault = judgeStatus(status, reason);
  const outcome = breakerOutcome(fault);
  attempt.outOfMemory = reason === 'device_out_of_memory' && fault === RequestOutcome.UPSTREAM_ERROR;
  // It may say how long it wants to be left alone.
  if (outcome === Outcome.FAILURE || fault === RequestOutcome.OVERLOADED)
    attempt.askedWaitMs = askedWaitMs(attempt.responseHead!, last);
  if (outcome === Outcome.FAILURE) attempt.cluster.breaker.pushBack(attempt.askedWaitMs, nowMs);
  const isElsewhere = attempt.askedWaitMs === 0 || attempt.cluster.endpoints.length > 1;
  if (
    status === GrpcStatus.UNAVAILABLE &&
    isElsewhere &&
    !forbidsRetry &&
    tryAgain(plane, exchange, attempt, RetryOn.UNAVAILABLE, fault, status, nowMs)
  )
    return;
  settleAttempt(plane, exchange, attempt, fault, outcome, status, nowMs);
  if (hedgeFailed(plane, exchange)) return;
  const { model } = exchange;
  const replaceable = model !== null && status < 32 && (model.fallbackStatusBits & (1 << status)) !== 0;
  if (replaceable && canFallBack(exchange)) {
    if (exchange.failure === null && exchange.failedAnswer === null) keepFailure(exchange, attempt, last);
    fallBack(plane, exchange, AnswerReason.STATUS);
  } else if (hasFailed(exchange) && attempt.reason !== AnswerReason.PRIMARY && !exchange.committed) {
    failAsPrimary(plane, exchange, ProxyErrors.upstreamStatus);
  } else {
    deliver(plane, exchange, attempt, last);
  }
}

/** Where an answer is held: a hedge's beside the primary's. */
function heldOf(exchange: Exchange, attempt: Attempt): BodyBuffer {
  if (attempt === exchange.attempt) {
    exchange.held ??= acquireBody();
    return exchange.held;
  }
  const hedge = exchange.hedge!;
  hedge.held ??= acquireBody();
  return hedge.held;
}

/** Its stream was reset or its connection died; `unseen`: the upstream promises that it did not look at the request. */
export function answerReset(
  plane: DataPlane,
  exchange: Exchange,
  attempt: Attempt,
  unseen: boolean,
  errorCode: number,
): void {
  if (unseen && attempt.connection!.established && canResend(exchange, attempt)) {
    // The upstream promises that it did not look at it (GOAWAY, REFUSED_STREAM): the same attempt, elsewhere.
    attempt.refusals++;
    attempt.stream = null;
    attempt.responseHead = null;
    attempt.cluster.request(attempt, exchange.http1);
    return;
  }
  if (unseen && !attempt.connection!.established) {
    connectFailed(plane, exchange, attempt);
    return;
  }
  if (attempt !== exchange.attempt) changePlaces(exchange, exchange.hedge!);
  const nowMs = plane.clock.nowMs();
  if (tryAgain(plane, exchange, attempt, RetryOn.RESET, RequestOutcome.UPSTREAM_RESET, -1, nowMs)) return;
  settleAttempt(plane, exchange, attempt, RequestOutcome.UPSTREAM_RESET, Outcome.FAILURE, -1, nowMs);
  if (exchange.model === null && exchange.traits!.call === null && !attempt.connection!.dead) {
    // Traffic we only relay: the caller hears what the upstream said. A connection that died said nothing.
    exchange.down.reset(errorCode === ErrorCode.NO_ERROR ? ErrorCode.CANCEL : errorCode);
    exchange.end = RequestEnd.CUT;
    finishRequest(plane, exchange);
    return;
  }
  refused(plane, exchange, AnswerReason.RESET, ProxyErrors.upstreamReset);
}

/**
 * A 1xx head on its way to the caller. Where an answer may still be replaced it would promise too much; 100 was said here
 * as soon as the caller asked for it, and 101 is no answer to a request that was sent without an upgrade.
 */
function relayInformational(exchange: Exchange, head: HeaderList): void {
  const status = head.get(':status');
  if (exchange.holds || exchange.committed || status === '100' || status === '101') return;
  exchange.down.sendHeaders(withoutHopByHop(head), false);
}

/** The primary's failure is known; it is not where the fallback was asked first. */
function hasFailed(exchange: Exchange): boolean {
  return exchange.failure !== null || exchange.failedAnswer !== null;
}
