/**
 * A message of ModelStreamInfer with two tries: its primary's and a hedge's. The message's own fields are one of them,
 * `message.rival` the other; the one that ends first is put into the message (`changeTries`) and judged like any other.
 * Rules: a hedge that was begun is counted as won, lost, failed or cancelled exactly once; the try that is not needed is
 * forgotten by its leg, which is reset when nothing else waits on it, and counts against nobody.
 */

import { Outcome } from '../policy/circuit-breaker.ts';
import { endRequest } from '../request/request-accounts.ts';
import { AnswerReason, ClusterSlot, HedgeEvent, RequestOutcome } from '../stats/slots.ts';
import type { ModelStream } from './model-stream.ts';
import type { StreamLeg } from './stream-leg.ts';
import type { StreamMessage, StreamTry } from './stream-message.ts';

/** Something came on this leg: the try that is with it is the message's own now. */
export function faceLeg(message: StreamMessage, leg: StreamLeg): void {
  if (message.rival !== null && message.rival.leg === leg) changeTries(message);
}

function changeTries(message: StreamMessage): void {
  const { step, reason, leg, cluster, verdict, epoch, startedMs, stepDueMs } = message;
  resume(message, message.rival!);
  message.rival = { step, reason, leg, cluster, verdict, epoch, startedMs, stepDueMs };
}

/** The message is this try from now on. */
function resume(message: StreamMessage, one: StreamTry): void {
  message.step = one.step;
  message.reason = one.reason;
  message.leg = one.leg;
  message.cluster = one.cluster;
  message.verdict = one.verdict;
  message.epoch = one.epoch;
  message.startedMs = one.startedMs;
  message.stepDueMs = one.stepDueMs;
}

/** Whether the message's own try is the hedge while its primary is still under way. */
export function isHedgeFirst(message: StreamMessage): boolean {
  return message.rival !== null && message.reason === AnswerReason.HEDGE;
}

/** The message's own try gave no good answer. True if it was the hedge: its primary goes on. */
export function hedgeFailed(stream: ModelStream, message: StreamMessage): boolean {
  if (!isHedgeFirst(message)) return false;
  closeHedge(stream, message, HedgeEvent.FAILED);
  resume(message, message.rival!);
  message.rival = null;
  waitForPrimary(stream, message);
  return true;
}

/** The primary goes on alone, with all the time there is when nobody else is left to ask. */
function waitForPrimary(stream: ModelStream, message: StreamMessage): void {
  if (message.hedgedStep >= stream.model.fallbacks.length) message.stepDueMs = message.dueMs;
  stream.armBy(message.stepDueMs);
}

/** The primary failed. True if its hedge is under way, which is then the message's try. */
export function hedgeTakesOver(stream: ModelStream, message: StreamMessage, reason: number): boolean {
  const { rival } = message;
  if (rival === null) return false;
  message.failedFor = reason;
  message.rival = null;
  resume(message, rival);
  stream.armBy(message.stepDueMs);
  return true;
}

/** The message has its answer, and its other try is not needed. */
export function dropRival(stream: ModelStream, message: StreamMessage): void {
  const { rival } = message;
  if (rival !== null) {
    settleRival(stream, message, RequestOutcome.CANCELLED, Outcome.IGNORED);
    if (rival.reason === AnswerReason.HEDGE) closeHedge(stream, message, HedgeEvent.LOST);
  }
  closeHedge(stream, message, HedgeEvent.FAILED);
}

/** The time of the other try is over. */
export function expireRival(stream: ModelStream, message: StreamMessage): void {
  settleRival(stream, message, RequestOutcome.DEADLINE, Outcome.FAILURE);
  closeHedge(stream, message, HedgeEvent.FAILED);
  waitForPrimary(stream, message);
}

/** The stream ends before the message has an answer. */
export function cancelHedge(stream: ModelStream, message: StreamMessage): void {
  if (message.rival !== null) settleRival(stream, message, RequestOutcome.CANCELLED, Outcome.IGNORED);
  closeHedge(stream, message, HedgeEvent.CANCELLED);
}

/** What became of the hedge is known; later words are not heard. */
export function closeHedge(stream: ModelStream, message: StreamMessage, event: number): void {
  if (!message.hedgeOpen) return;
  message.hedgeOpen = false;
  countHedge(stream, event);
}

export function countHedge({ plane, cluster }: ModelStream, event: number): void {
  plane.cells[cluster.config.statsBase + ClusterSlot.HEDGES + event]! += 1;
}

function settleRival(stream: ModelStream, message: StreamMessage, result: number, outcome: number): void {
  const { cluster, verdict, epoch, startedMs, step, leg } = message.rival!;
  message.rival = null;
  const nowMs = stream.plane.clock.nowMs();
  const tookMs = nowMs - startedMs;
  if (cluster !== null) {
    endRequest(stream.plane.cells, cluster, verdict, epoch, result, outcome, -1, tookMs, nowMs);
    if (step === 0) message.gate?.record(result, false, false, tookMs, nowMs);
    if (step === 0) message.timing?.observe(result, tookMs);
  }
  if (leg === null || leg.ended) return;
  leg.abandon(message);
  if (leg.isIdle) stream.dropLeg(leg);
}
