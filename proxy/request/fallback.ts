/**
 * Stepping in: which cluster is asked when one gave no answer, and what the caller hears when none did. Fallbacks are asked
 * in their order, each with its share of the time that is left; a failure that no fallback mends is the primary's.
 */
import type { ProxyError } from '../../base/proxy-error.ts';
import { withoutHopByHop } from '../../proto/http1/hop-by-hop.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { AnswerReason, HedgeEvent } from '../stats/slots.ts';
import { clearBody } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import type { Attempt, Exchange } from './exchange.ts';
import { changePlaces, type Hedge, isHedgeBeforePrimary } from './hedge.ts';
import { editsRequests } from './request-edits.ts';
import { failRequest, finishRequest } from './request-ends.ts';
import { waitForWhole } from './whole-requests.ts';

/** Head of an answer of which only the trailers were kept. */
const GRPC_HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);

/** This cluster gave no answer: the next fallback, or the failure itself. */
export function refused(plane: DataPlane, exchange: Exchange, reason: number, error: ProxyError): void {
  if (hedgeFailed(plane, exchange)) return;
  if (error.fallback && canFallBack(exchange)) {
    if (exchange.failedAnswer === null) exchange.failure ??= error;
    fallBack(plane, exchange, reason);
  } else {
    failAsPrimary(plane, exchange, error);
  }
}

/** No fallback answered either: the caller gets the primary's failure, which came first. */
export function failAsPrimary(plane: DataPlane, exchange: Exchange, error: ProxyError): void {
  const answer = exchange.failedAnswer;
  if (answer === null || exchange.committed) {
    failRequest(plane, exchange, exchange.failure ?? error);
    return;
  }
  exchange.committed = true;
  const body = exchange.failedBody;
  if (answer.get(':status') === undefined) exchange.down.sendHeaders(GRPC_HEAD, false);
  exchange.down.sendHeaders(answer, body === null);
  exchange.answerBytes += body?.length ?? 0;
  if (body !== null) exchange.down.sendData(body.buffer, 0, body.length, true);
  finishRequest(plane, exchange);
}

/** What the primary answered, in case no fallback does better: trailers say it all in gRPC, head and body in REST. */
export function keepFailure(exchange: Exchange, attempt: Attempt, last: HeaderList | null): void {
  if (exchange.traits!.grpc) {
    exchange.failedAnswer = last;
    return;
  }
  exchange.failedAnswer = withoutHopByHop(attempt.responseHead!);
  exchange.failedBody = exchange.held;
  exchange.held = null;
}

/** Another cluster may be asked: one is left, nothing is out, and the request was kept whole. */
export function canFallBack(exchange: Exchange): boolean {
  const { model } = exchange;
  if (model === null || !exchange.governed || exchange.committed || !exchange.infers) {
    return false;
  }
  if (exchange.hedge?.rival != null) return true;
  const isLeft = exchange.nextFallback < model.fallbacks.length || exchange.withheldFrom !== null;
  return (exchange.body !== null || exchange.bodyBytes === 0) && isLeft;
}

/** Asks the next cluster of the list for an `AnswerReason`; for a withheld primary, that primary comes last. */
export function fallBack(plane: DataPlane, exchange: Exchange, reason: number): void {
  if (exchange.hedge?.rival != null) {
    hedgeTakesOver(plane, exchange, exchange.hedge, reason);
    return;
  }
  const model = exchange.model!;
  const step = exchange.nextFallback++;
  const primary = step < model.fallbacks.length ? null : exchange.withheldFrom;
  if (exchange.held !== null) clearBody(exchange.held);
  exchange.retries = 0;
  exchange.local = null;
  exchange.waitsForBody = false;
  if (exchange.deadlineMs > 0) {
    const nowMs = plane.clock.nowMs();
    const last = exchange.nextFallback >= model.fallbacks.length;
    const share = last ? 1 : model.config.fallbacks[step]!.budgetFraction;
    exchange.dueMs = nowMs + (exchange.deadlineMs - nowMs) * share;
    plane.wheel.arm(exchange, exchange.dueMs);
  }
  if (primary !== null) {
    // Nobody answers for the primary: it is asked after all, and what it says goes to the caller.
    exchange.withheldFrom = null;
    exchange.failure = null;
    exchange.failedAnswer = null;
    plane.attemptWith(exchange, primary, AnswerReason.PRIMARY);
    return;
  }
  // A second fallback still answers for what the primary did.
  const { attempt } = exchange;
  let answersFor = reason;
  if (attempt !== null && attempt.reason === AnswerReason.HEDGE) answersFor = exchange.hedge!.failedFor;
  else if (attempt !== null && attempt.reason !== AnswerReason.PRIMARY) answersFor = attempt.reason;
  const local = model.locals[step]!;
  const cluster = model.fallbacks[step]!;
  const waits = local !== null || (!exchange.bodyEnded && editsRequests(model, cluster, answersFor));
  if (waits) waitForWhole(plane, exchange, cluster, local, answersFor);
  else plane.attemptWith(exchange, cluster, answersFor);
}

/**
 * The exchange's attempt is settled and gave no good answer. True if it was the hedge and the primary is still under way:
 * the primary's answer is awaited, with all the time there is when nobody else is left to ask.
 */
export function hedgeFailed(plane: DataPlane, exchange: Exchange): boolean {
  if (!isHedgeBeforePrimary(exchange)) return false;
  const hedge = exchange.hedge!;
  hedge.close(plane.cells, HedgeEvent.FAILED);
  dropFailed(plane, exchange, hedge);
  if (exchange.deadlineMs > 0 && exchange.nextFallback >= exchange.model!.fallbacks.length) {
    exchange.dueMs = exchange.deadlineMs;
    plane.wheel.arm(exchange, exchange.dueMs);
  }
  return true;
}

/** The primary has failed while the hedge is under way: the hedge is the attempt now, and its time is the exchange's. */
function hedgeTakesOver(plane: DataPlane, exchange: Exchange, hedge: Hedge, reason: number): void {
  hedge.failedFor = reason;
  dropFailed(plane, exchange, hedge);
  exchange.retries = 0;
  exchange.dueMs = hedge.dueMs;
  if (hedge.dueMs > 0) plane.wheel.arm(exchange, hedge.dueMs);
  else plane.wheel.disarm(exchange);
}

/** The rival goes on alone. */
function dropFailed(plane: DataPlane, exchange: Exchange, hedge: Hedge): void {
  changePlaces(exchange, hedge);
  hedge.rival = null;
  if (hedge.held !== null) clearBody(hedge.held);
  plane.wheel.disarm(hedge);
}
