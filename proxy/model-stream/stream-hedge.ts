/**
 * A message of ModelStreamInfer with two attempts: its primary's and a hedge's. One is in `message.attempt`, the other in
 * `message.rival`; the one that ends first is put in `attempt` (`faceLeg`) and judged like any other.
 * Rules: a hedge that was begun is counted as won, lost, failed or cancelled exactly once; the attempt that is not needed is
 * forgotten by its leg, which is reset when nothing else waits on it, and counts against nobody.
 */

import { Outcome } from '../policy/circuit-breaker.ts';
import { AnswerReason, ClusterSlot, HedgeEvent, RequestOutcome } from '../stats/slots.ts';
import type { ModelStream } from './model-stream.ts';
import type { StreamLeg } from './stream-leg.ts';
import { type StreamMessage, settleAttempt } from './stream-message.ts';

/** Something came on this leg: the attempt that is with it is the message's own now. */
export function faceLeg(message: StreamMessage, leg: StreamLeg): void {
  const { attempt, rival } = message;
  if (rival === null || rival.leg !== leg) return;
  message.attempt = rival;
  message.rival = attempt;
}

/** Whether the message's own attempt is the hedge while its primary is still under way. */
export function isHedgeFirst(message: StreamMessage): boolean {
  return message.rival !== null && message.attempt.reason === AnswerReason.HEDGE;
}

/** The message's own attempt gave no good answer. True if it was the hedge: its primary goes on. */
export function hedgeFailed(stream: ModelStream, message: StreamMessage): boolean {
  if (!isHedgeFirst(message)) return false;
  closeHedge(stream, message, HedgeEvent.FAILED);
  message.attempt = message.rival!;
  message.rival = null;
  waitForPrimary(stream, message);
  return true;
}

/** The primary goes on alone, with all the time there is when nobody else is left to ask. */
function waitForPrimary(stream: ModelStream, message: StreamMessage): void {
  if (message.hedgedStep >= stream.model.fallbacks.length) message.attempt.dueMs = message.dueMs;
  stream.armBy(message.attempt.dueMs);
}

/** The primary failed. True if its hedge is under way, which is then the message's attempt. */
export function hedgeTakesOver(stream: ModelStream, message: StreamMessage, reason: number): boolean {
  const { rival } = message;
  if (rival === null) return false;
  message.failedFor = reason;
  message.rival = null;
  message.attempt = rival;
  stream.armBy(rival.dueMs);
  return true;
}

/** The message has its answer, and its other attempt is not needed. */
export function dropRival(stream: ModelStream, message: StreamMessage): void {
  const { rival } = message;
  if (rival !== null) {
    settleRival(stream, message, RequestOutcome.CANCELLED, Outcome.IGNORED);
    if (rival.reason === AnswerReason.HEDGE) closeHedge(stream, message, HedgeEvent.LOST);
  }
  closeHedge(stream, message, HedgeEvent.FAILED);
}

/** The time of the other attempt is over. */
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
  const rival = message.rival!;
  const { leg } = rival;
  message.rival = null;
  settleAttempt(stream.plane, message, rival, result, outcome, -1);
  if (leg === null || leg.ended) return;
  leg.abandon(message);
  if (leg.isIdle) stream.dropLeg(leg);
}
