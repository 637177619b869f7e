/**
 * What a leg of ModelStreamInfer brings: answers, errors in answers, its own end. Each message is settled with its cluster
 * here, once per attempt, and is then answered or moves on.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { StreamAnswerView, withAnswerParameters } from '../../proto/tensor/oip-stream-message.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { ACCESS_FLAG_FALLBACK, ACCESS_FLAG_HEDGE } from '../access-log.ts';
import type { MeshCluster } from '../mesh.ts';
import { servedFrom } from '../outlier-guard.ts';
import { breakerOutcome, judgeStatus } from '../policy/answer-judgement.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { SERVED_BY, servedByValues } from '../request/answer-reasons.ts';
import { isBadStreamAnswer } from '../request/bad-answer.ts';
import { answerStatus, askedWaitMs, ResponseTraits } from '../routing/response-traits.ts';
import { recordLatency } from '../stats/histogram.ts';
import { AnswerReason, ClusterRefusal, ClusterSlot, HedgeEvent, RequestOutcome } from '../stats/slots.ts';
import { Served } from '../upstream/balancer.ts';
import { Unavailable } from '../upstream/wait-queue.ts';
import type { ModelStream } from './model-stream.ts';
import { adaptStreamAnswer } from './stream-adaptation.ts';
import { framedCopy, NO_TRAILERS } from './stream-answers.ts';
import { giveUp, hasNextStep, moveOn } from './stream-dispatch.ts';
import { closeHedge, faceLeg, hedgeFailed } from './stream-hedge.ts';
import type { StreamLeg } from './stream-leg.ts';
import { type StreamMessage, settle, settleSuspect, suspectPrimary } from './stream-message.ts';
import { answerShown, failShown } from './stream-mirroring.ts';

/** A worker's reason for RESOURCE_EXHAUSTED. */
const OUT_OF_MEMORY = 'device_out_of_memory';

const view = new StreamAnswerView();

/** One answer of a leg, without its prefix; valid only during the call. */
export function takeAnswer(
  stream: ModelStream,
  leg: StreamLeg,
  buffer: Buffer,
  start: number,
  end: number,
  compressed: boolean,
): void {
  let readable = !compressed;
  try {
    if (readable) view.read(buffer, start, end);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    readable = false;
  }
  const message = leg.take(readable ? view.id : '');
  if (message === null) {
    if (leg.isIdle && leg.step > 0) stream.dropLeg(leg);
    return;
  }
  // Nobody asked: an answer of a decoupled model, whose place in the order nobody knows.
  if (message === undefined) {
    if (leg.step === 0) stream.outbox.relay(framedCopy(buffer, start, end, compressed));
    return;
  }
  faceLeg(message, leg);
  if (readable && view.errorMessage !== '') {
    failShown(stream.plane, message, view.status);
    takeErrorAnswer(stream, message, buffer, start, end);
    return;
  }
  answerShown(stream.plane, message, buffer, view.responseStart, readable ? view.responseEnd : 0);
  // A fallback's answer is judged as its caller will see it.
  const isPrimary = message.attempt.reason === AnswerReason.PRIMARY;
  const adapted = isPrimary ? undefined : adapt(stream, message, buffer, readable);
  const shown = adapted ?? buffer;
  if (adapted === null || isBad(stream, message, readable, compressed, shown)) {
    settle(stream.plane, message, RequestOutcome.BAD_OUTPUT, Outcome.FAILURE, GrpcStatus.OK);
    moveOn(stream, message, AnswerReason.BAD_OUTPUT, ProxyErrors.badOutput);
  } else {
    const { cluster, startedMs } = message.attempt;
    settle(stream.plane, message, RequestOutcome.OK, Outcome.SUCCESS, GrpcStatus.OK);
    const { statsBase } = cluster!.config;
    recordLatency(stream.plane.cells, statsBase + ClusterSlot.LATENCY, stream.plane.clock.nowMs() - startedMs);
    settleSuspect(stream.plane, message, true);
    const own = isPrimary ? (adaptPrimary(stream, cluster!, buffer, readable) ?? undefined) : adapted;
    const answer =
      own === undefined
        ? answerOf(stream, message, cluster!, buffer, start, end, compressed)
        : answerOf(stream, message, cluster!, own, 0, own.length, false);
    stream.give(message, answer);
  }
}

/** A fallback's answer as it should be, read into `view`; see `adaptStreamAnswer`. */
function adapt(
  stream: ModelStream,
  message: StreamMessage,
  buffer: Buffer,
  readable: boolean,
): Buffer | null | undefined {
  const { plane, model } = stream;
  const { cluster, reason } = message.attempt;
  const adapted = adaptStreamAnswer(plane.cells, model, cluster!, reason, buffer, readable, view);
  if (adapted instanceof Buffer) view.read(adapted, 0, adapted.length);
  return adapted;
}

function adaptPrimary(
  stream: ModelStream,
  cluster: MeshCluster,
  buffer: Buffer,
  readable: boolean,
): Buffer | null | undefined {
  return adaptStreamAnswer(stream.plane.cells, stream.model, cluster, AnswerReason.PRIMARY, buffer, readable, view);
}

/** An answer that says the request failed: whose fault it was, if it does not say, a fallback's answer tells. */
function takeErrorAnswer(
  stream: ModelStream,
  message: StreamMessage,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  const { status, reason } = view;
  const answer = framedCopy(buffer, start, end, false);
  const { attempt } = message;
  const unknown = status < 0;
  const replaceable = unknown || (stream.model.fallbackStatusBits & (1 << status)) !== 0;
  const another = message.rival !== null || hasNextStep(stream, message);
  if (unknown && attempt.step === 0 && another) {
    suspectPrimary(message);
  } else {
    attempt.outOfMemory = reason === OUT_OF_MEMORY;
    const result = unknown ? RequestOutcome.CALLER_ERROR : judgeStatus(status, reason);
    settle(stream.plane, message, result, unknown ? Outcome.IGNORED : breakerOutcome(result), status);
  }
  if (hedgeFailed(stream, message)) return;
  if (attempt.step === 0) message.failedAnswer = answer;
  else if (message.failure === null && message.failedAnswer === null) message.failedAnswer = answer;
  if (replaceable) moveOn(stream, message, AnswerReason.STATUS, ProxyErrors.upstreamStatus);
  else giveUp(stream, message);
}

function isBad(
  stream: ModelStream,
  message: StreamMessage,
  readable: boolean,
  compressed: boolean,
  buffer: Buffer,
): boolean {
  const { plane, model } = stream;
  const start = readable ? view.responseStart : -1;
  return isBadStreamAnswer(plane.cells, model, message.attempt.cluster!, compressed, buffer, start, view.responseEnd);
}

/** The answer as the caller gets it: one that is not the primary's says so in its parameters. */
function answerOf(
  stream: ModelStream,
  message: StreamMessage,
  cluster: MeshCluster,
  buffer: Buffer,
  start: number,
  end: number,
  compressed: boolean,
): Buffer {
  const { reason, leg } = message.attempt;
  stream.plane.cells[cluster.config.statsBase + ClusterSlot.ANSWERS + reason]! += 1;
  if (!stream.exchange.committed) stream.outbox.sendHead(leg?.responseHead ?? null, cluster, reason);
  if (reason === AnswerReason.PRIMARY) return framedCopy(buffer, start, end, compressed);
  stream.exchange.flag = reason === AnswerReason.HEDGE ? ACCESS_FLAG_HEDGE : ACCESS_FLAG_FALLBACK;
  if (reason === AnswerReason.HEDGE) closeHedge(stream, message, HedgeEvent.WON);
  if (compressed) return framedCopy(buffer, start, end, compressed);
  return withAnswerParameters(buffer, start, end, view, SERVED_BY, servedByValues(cluster, reason));
}

/** A leg could not be opened. */
export function legUnavailable(stream: ModelStream, leg: StreamLeg, reason: number): void {
  const full = reason === Unavailable.PENDING_FULL;
  if (reason === Unavailable.NO_ENDPOINT) {
    const { statsBase } = leg.cluster.config;
    stream.plane.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.NO_ENDPOINT]! += 1;
    const error = ProxyErrors.noHealthyEndpoint;
    legFailed(stream, leg, RequestOutcome.CONNECT_FAILED, Outcome.IGNORED, AnswerReason.CONNECT_FAILED, error);
    return;
  }
  if (full) stream.plane.cells[leg.cluster.config.statsBase + ClusterSlot.REFUSALS + ClusterRefusal.PENDING]! += 1;
  const result = full ? RequestOutcome.OVERLOADED : RequestOutcome.CONNECT_FAILED;
  const outcome = full ? Outcome.IGNORED : Outcome.FAILURE;
  const error = full ? ProxyErrors.pendingOverflow : ProxyErrors.connectFailed;
  legFailed(stream, leg, result, outcome, full ? AnswerReason.OVERFLOW : AnswerReason.CONNECT_FAILED, error);
}

/** Its stream was reset, or its connection died. */
export function legReset(stream: ModelStream, leg: StreamLeg): void {
  legFailed(stream, leg, RequestOutcome.UPSTREAM_RESET, Outcome.FAILURE, AnswerReason.RESET, ProxyErrors.upstreamReset);
}

/** It sent what is no gRPC, or an answer too large to keep. */
export function legBroken(stream: ModelStream, leg: StreamLeg): void {
  legFailed(stream, leg, RequestOutcome.BAD_OUTPUT, Outcome.FAILURE, AnswerReason.BAD_OUTPUT, ProxyErrors.badOutput);
}

/** A leg has ended by itself, with its trailers, its only header section, or without a word. */
export function legEnded(stream: ModelStream, leg: StreamLeg, last: HeaderList | null): void {
  const status = answerStatus(leg.responseHead!, last, true);
  const waits = leg.takeAll();
  const nowMs = stream.plane.clock.nowMs();
  const waitMs = status === GrpcStatus.OK ? 0 : askedWaitMs(leg.responseHead!, last);
  leg.cluster.leave(leg, status === GrpcStatus.OK ? Served.OK : Served.FAILED, nowMs, waitMs);
  stream.dropLeg(leg);
  if (waits.length === 0) {
    // A server may end the conversation; one that only went away is asked again with the next message.
    if (leg.step === 0 && status === GrpcStatus.OK && stream.messages.length === 0) stream.finish();
    return;
  }
  if (status === GrpcStatus.OK) {
    for (const message of waits) {
      faceLeg(message, leg);
      settle(stream.plane, message, RequestOutcome.UPSTREAM_RESET, Outcome.FAILURE, status);
      if (!stream.ended) moveOn(stream, message, AnswerReason.RESET, ProxyErrors.upstreamReset);
    }
    return;
  }
  const trailers = last ?? NO_TRAILERS;
  const { reason } = ResponseTraits.of(trailers);
  const result = judgeStatus(status, reason);
  for (const message of waits) {
    faceLeg(message, leg);
    message.attempt.outOfMemory = reason === OUT_OF_MEMORY;
  }
  const replaceable = status < 32 && (stream.model.fallbackStatusBits & (1 << status)) !== 0;
  if (breakerOutcome(result) === Outcome.FAILURE) leg.cluster.breaker.pushBack(waitMs, nowMs);
  for (const message of waits) settle(stream.plane, message, result, breakerOutcome(result), status);
  for (const message of waits) {
    if (stream.ended) return;
    if (hedgeFailed(stream, message)) continue;
    if (message.failure === null && message.failedAnswer === null) message.failedTrailers ??= trailers;
    if (replaceable) moveOn(stream, message, AnswerReason.STATUS, ProxyErrors.upstreamStatus);
    else giveUp(stream, message);
  }
}

function legFailed(
  stream: ModelStream,
  leg: StreamLeg,
  result: number,
  outcome: number,
  reason: number,
  error: ProxyError,
): void {
  const waits = leg.takeAll();
  leg.cluster.quit(leg, servedFrom(outcome, result === RequestOutcome.OVERLOADED));
  stream.dropLeg(leg);
  for (const message of waits) {
    faceLeg(message, leg);
    settle(stream.plane, message, result, outcome, -1);
  }
  for (const message of waits) if (!stream.ended) moveOn(stream, message, reason, error);
}
