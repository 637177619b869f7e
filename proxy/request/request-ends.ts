/**
 * The ends: of an attempt (`settleAttempt`, exactly once: in-flight, breaker, statistics, the shadow's other half) and of a
 * request (`finishRequest`, exactly once), with the ways that lead there: failed by us, left by its caller, shed.
 */
import { httpStatusFor } from '../../base/grpc-status.ts';
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import { ACCESS_FLAG_CANCELLED } from '../access-log.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import {
  AnswerReason,
  HedgeEvent,
  MemoryVerdict,
  MirrorDrop,
  ProcessSlot,
  RequestEnd,
  RequestOutcome,
} from '../stats/slots.ts';
import { releaseBody } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import { type Attempt, type Exchange, Stage } from './exchange.ts';
import type { Hedge } from './hedge.ts';
import { giveUpCopy } from './replay-copy.ts';
import { countRouted, endRequest, leaveEndpoint } from './request-accounts.ts';
import { localReplySlot, respondError, stopBody } from './respond.ts';

/** The caller's stream is gone: what is under way for it is cancelled and counts against nobody. */
export function callerGone(plane: DataPlane, exchange: Exchange): void {
  const { attempt } = exchange;
  if (exchange.stage === Stage.DONE) {
    // What it had not read of its answer still counts against the upstream connection's window.
    attempt?.stream?.reset(ErrorCode.CANCEL);
    return;
  }
  if (attempt !== null && !attempt.settled) {
    settleAttempt(plane, exchange, attempt, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
    attempt.stream?.reset(ErrorCode.CANCEL);
  }
  exchange.flag = ACCESS_FLAG_CANCELLED;
  exchange.end = RequestEnd.CANCELLED;
  finishRequest(plane, exchange);
}

/** Answers with a failure of our own. */
export function failRequest(plane: DataPlane, exchange: Exchange, error: ProxyError): void {
  if (!exchange.isStep) plane.cells[ProcessSlot.LOCAL_REPLIES + localReplySlot(error)]! += 1;
  exchange.status = error.grpcStatus;
  exchange.httpStatus = error.httpStatus || httpStatusFor(error.grpcStatus);
  exchange.flag = error.flag;
  exchange.end = exchange.committed ? RequestEnd.CUT : RequestEnd.REFUSED;
  respondError(exchange.down, error, exchange.traits!.grpc);
  finishRequest(plane, exchange);
}

/** Closes the books of one attempt: in-flight, breaker, statistics, and the shadow's other half. */
export function settleAttempt(
  plane: DataPlane,
  exchange: Exchange,
  attempt: Attempt,
  result: number,
  outcome: number,
  status: number,
  nowMs: number = plane.clock.nowMs(),
): void {
  attempt.settled = true;
  const { cluster, stream } = attempt;
  const tookMs = nowMs - attempt.askedMs;
  if (exchange.hedge !== null && attempt.reason === AnswerReason.PRIMARY) exchange.hedge.timing.observe(result, tookMs);
  leaveEndpoint(cluster, attempt, result, outcome, nowMs, attempt.askedWaitMs);
  // What is tried again has not failed the cluster yet, only its endpoint: the last try says how the cluster did.
  const judged = attempt.retried ? Outcome.IGNORED : outcome;
  endRequest(plane.cells, cluster, attempt.verdict, attempt.epoch, result, judged, status, tookMs, nowMs);
  const { model } = exchange;
  const gate = model === null ? null : model.gate;
  if (gate !== null && attempt.reason === AnswerReason.PRIMARY && exchange.infers && model!.split.includes(cluster)) {
    gate.record(result, attempt.outOfMemory, false, tookMs, nowMs);
  }
  if (attempt.waitingIn !== null) attempt.waitingIn.forget(attempt);
  if (stream !== null && stream.outstanding > 0 && exchange.committed === false) stream.consume(stream.outstanding);
  if (exchange.mirrored !== null && attempt.reason === AnswerReason.PRIMARY && !attempt.retried && !attempt.outrun) {
    const answer = exchange.committed ? null : exchange.held;
    plane.mirroring.primaryDone(exchange.mirrored, cluster.name, attempt.responseHead, answer, status, tookMs);
  }
}

/**
 * No hedge any more: an answer is going out, or the request has ended. The attempt under way beside it is cancelled, and
 * counts against nobody.
 */
export function endHedge(plane: DataPlane, exchange: Exchange, hedge: Hedge): void {
  const { rival } = hedge;
  plane.wheel.disarm(hedge);
  if (rival !== null) {
    hedge.rival = null;
    rival.outrun = true;
    settleAttempt(plane, exchange, rival, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
    rival.stream?.reset(ErrorCode.CANCEL);
    const answered = exchange.end === RequestEnd.ANSWERED;
    if (rival.reason === AnswerReason.HEDGE)
      hedge.close(plane.cells, answered ? HedgeEvent.LOST : HedgeEvent.CANCELLED);
  } else if (exchange.stage === Stage.DONE) {
    hedge.close(plane.cells, exchange.end === RequestEnd.CANCELLED ? HedgeEvent.CANCELLED : HedgeEvent.FAILED);
  }
  if (hedge.held !== null) releaseBody(hedge.held);
  hedge.held = null;
}

/**
 * The thread holds too much, and this exchange most of it. A copy kept for another attempt or a shadow is given up and
 * the request goes on; one that still needs what it keeps ends.
 */
export function shedRequest(plane: DataPlane, exchange: Exchange): void {
  const { attempt } = exchange;
  if (exchange.stage === Stage.DONE) return;
  const { hedge } = exchange;
  if (hedge !== null && hedge.rival !== null && hedge.rival.stream === null) {
    // It waits for a connection, and would need the copy.
    hedge.close(plane.cells, HedgeEvent.CANCELLED);
    endHedge(plane, exchange, hedge);
  }
  if (exchange.heldBytes === exchange.body?.length && attempt !== null && attempt.stream !== null) {
    plane.cells[ProcessSlot.MEMORY_VERDICTS + MemoryVerdict.COPY_GIVEN_UP]! += 1;
    giveUpCopy(plane, exchange, MirrorDrop.PRESSURE);
    return;
  }
  plane.cells[ProcessSlot.MEMORY_VERDICTS + MemoryVerdict.REQUEST_REFUSED]! += 1;
  if (attempt !== null && !attempt.settled) {
    settleAttempt(plane, exchange, attempt, RequestOutcome.OVERLOADED, Outcome.IGNORED, -1);
    attempt.stream?.reset(ErrorCode.CANCEL);
  }
  failRequest(plane, exchange, ProxyErrors.memoryOverflow);
}

/** Ends the exchange: nothing of it is used again. */
export function finishRequest(plane: DataPlane, exchange: Exchange): void {
  const { down } = exchange;
  if (plane.accessLog !== null && !exchange.isStep) plane.accessLog.request(exchange, plane.clock.nowMs());
  if (exchange.trace !== null) plane.tracer!.end(exchange, plane.clock.nowMs());
  exchange.stage = Stage.DONE;
  if (exchange.hedge !== null) endHedge(plane, exchange, exchange.hedge);
  if (!exchange.isStep) plane.cells[ProcessSlot.REQUEST_ENDS + exchange.end]! += 1;
  countRouted(plane.cells, exchange);
  plane.wheel.disarm(exchange);
  stopBody(down);
  const stream = exchange.attempt?.stream ?? null;
  if (stream !== null && (!stream.closed || down.dead)) {
    stream.reset(stream.remoteEnded ? ErrorCode.NO_ERROR : ErrorCode.CANCEL);
  }
  if (down.outstanding > 0) down.consume(down.outstanding);
  if (exchange.copy !== null) exchange.copy.abandon();
  exchange.copy = null;
  if (exchange.mirrored !== null) plane.mirroring.release(exchange.mirrored);
  exchange.mirrored = null;
  plane.bodies.forget(exchange);
  plane.bodies.drop(exchange);
  if (exchange.held !== null) releaseBody(exchange.held);
  exchange.held = null;
  if (exchange.failedBody !== null) releaseBody(exchange.failedBody);
  exchange.failedBody = null;
  plane.readers.takeBack(exchange);
  if (exchange.isStep) return;
  plane.active--;
  plane.cells[ProcessSlot.STREAMS] = plane.active;
}
