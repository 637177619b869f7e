/** The deadlines of ModelStreamInfer: one timer for the stream, its messages with their clusters, and their hedges. */
import { ProxyErrors } from '../../base/proxy-error.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { AnswerReason, RequestOutcome } from '../stats/slots.ts';
import type { ModelStream } from './model-stream.ts';
import { answerError, moveOn } from './stream-dispatch.ts';
import { expireRival } from './stream-hedge.ts';
import { startMessageHedge } from './stream-hedging.ts';
import { type StreamMessage, settle } from './stream-message.ts';

/** The stream's timer ran out: of messages with their clusters and of hedges, then of the stream itself. */
export function streamDue(stream: ModelStream, nowMs: number): void {
  stream.armedForMs = Number.POSITIVE_INFINITY;
  const { deadlineMs } = stream.exchange;
  if (deadlineMs > 0 && nowMs >= deadlineMs) {
    const waits = stream.messages.length > 0;
    for (const message of stream.messages) {
      settle(stream.plane, message, RequestOutcome.DEADLINE, Outcome.FAILURE, -1);
      if (message.rival !== null) expireRival(stream, message);
    }
    stream.failWith(waits ? ProxyErrors.deadlineUpstream : ProxyErrors.deadlineCaller);
    return;
  }
  for (const message of [...stream.messages]) {
    if (message.answer !== null || stream.ended) continue;
    watchHedge(stream, message, nowMs);
    const { leg, dueMs } = message.attempt;
    if (dueMs === 0) continue;
    if (nowMs < dueMs) {
      stream.armBy(dueMs);
      continue;
    }
    settle(stream.plane, message, RequestOutcome.DEADLINE, Outcome.FAILURE, -1);
    leg?.abandon(message);
    if (leg?.isIdle) stream.dropLeg(leg);
    const late = message.dueMs > 0 && nowMs >= message.dueMs;
    if (late && message.rival !== null) expireRival(stream, message);
    if (late) answerError(stream, message, message.failure ?? ProxyErrors.deadlineUpstream);
    else moveOn(stream, message, AnswerReason.DEADLINE_BUDGET, ProxyErrors.deadlineBudget);
  }
  if (deadlineMs > 0 && !stream.ended) stream.armBy(deadlineMs);
}

/** Begins a hedge whose time has come, and ends one that has had its time. */
function watchHedge(stream: ModelStream, message: StreamMessage, nowMs: number): void {
  const { hedgeDueMs } = message;
  if (hedgeDueMs > 0 && nowMs >= hedgeDueMs) startMessageHedge(stream, message, nowMs);
  else stream.armBy(hedgeDueMs);
  const due = message.rival === null ? 0 : message.rival.dueMs;
  if (due > 0 && nowMs >= due) expireRival(stream, message);
  else stream.armBy(due);
}
