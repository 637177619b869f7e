/**
 * When a message of ModelStreamInfer is hedged, and with whom: as for single calls (`hedging.ts`), message by message, with
 * a fallback only. A policy that asks for another endpoint does not reach streams: all messages of one share its leg.
 */

import { Verdict } from '../policy/circuit-breaker.ts';
import { admit } from '../request/admission.ts';
import { AnswerReason, HedgeEvent } from '../stats/slots.ts';
import type { ModelStream } from './model-stream.ts';
import { hasNextStep, sendOn } from './stream-dispatch.ts';
import { countHedge } from './stream-hedge.ts';
import { StreamAttempt, type StreamMessage } from './stream-message.ts';

/** The message is about to go to its primary: the hedge's time begins. */
export function armMessageHedge(stream: ModelStream, message: StreamMessage): void {
  const { model, exchange, cluster } = stream;
  const { hedgeTiming, config } = model;
  if (hedgeTiming === null || !config.hedge!.toFallback || !exchange.governed || message.withheld) return;
  message.timing = hedgeTiming;
  cluster.hedgeBudget.request(message.arrivedMs);
  if (hedgeTiming.afterMs < 0) return;
  message.hedgeDueMs = message.arrivedMs + hedgeTiming.afterMs;
  stream.armBy(message.hedgeDueMs);
}

/** The primary has had its time for itself. */
export function startMessageHedge(stream: ModelStream, message: StreamMessage, nowMs: number): void {
  message.hedgeDueMs = 0;
  const { model, cluster: primary } = stream;
  const { step, cluster, reason, verdict } = message.attempt;
  const withPrimary = step === 0 && cluster !== null && reason === AnswerReason.PRIMARY;
  if (!withPrimary || verdict === Verdict.PROBE || !hasNextStep(stream, message)) return;
  const { budgetFraction, budgetFloor } = model.config.hedge!;
  if (!primary.hedgeBudget.take(nowMs, budgetFraction, budgetFloor)) {
    countHedge(stream, HedgeEvent.OVER_BUDGET);
    return;
  }
  // A step that asks nobody would always be first.
  for (let step = 1; step <= model.fallbacks.length && model.locals[step - 1] === null; step++) {
    if (tryStep(stream, message, step, nowMs)) return;
  }
  countHedge(stream, HedgeEvent.REFUSED);
}

function tryStep(stream: ModelStream, message: StreamMessage, step: number, nowMs: number): boolean {
  const { plane, model } = stream;
  const cluster = model.fallbacks[step - 1]!;
  const share = step === model.fallbacks.length ? 1 : model.config.fallbacks[step - 1]!.budgetFraction;
  const dueMs = message.dueMs === 0 ? 0 : nowMs + (message.dueMs - nowMs) * share;
  const verdict = admit(plane, cluster, dueMs, nowMs);
  if (verdict < 0) return false;
  const rival = new StreamAttempt(step, AnswerReason.HEDGE);
  rival.begin(plane.cells, cluster, verdict, nowMs);
  rival.dueMs = dueMs;
  message.rival = rival;
  message.hedgedStep = step;
  message.hedgeOpen = true;
  stream.exchange.hedged = true;
  countHedge(stream, HedgeEvent.STARTED);
  stream.armBy(dueMs);
  sendOn(stream, message, rival, cluster);
  return true;
}
