/**
 * Hedging: when the primary has not answered for a while, its request goes to the next fallback as well, or to another
 * endpoint of the same cluster, within a budget. The first good answer is the caller's and the other attempt is cancelled,
 * which counts against nobody; if one fails the other one's answer is awaited (`fallback.ts`); if both do, the primary's
 * failure stands.
 *
 * Not hedged: a request whose body is not complete or not kept, and the one that probes a half-open breaker, whose own
 * outcome has to be known. Streams of messages: `stream-hedging.ts`.
 */
import { ProxyErrors } from '../../base/proxy-error.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { MeshCluster } from '../mesh.ts';
import { Outcome, Verdict } from '../policy/circuit-breaker.ts';
import { AnswerReason, HedgeEvent, RequestOutcome } from '../stats/slots.ts';
import type { Balanced } from '../upstream/balancer.ts';
import { admit } from './admission.ts';
import type { DataPlane } from './data-plane.ts';
import { Attempt, type Exchange, Stage } from './exchange.ts';
import { refused } from './fallback.ts';
import { changePlaces, Hedge } from './hedge.ts';
import { beginRequest } from './request-accounts.ts';
import { settleAttempt } from './request-ends.ts';

/** The request is about to go to its primary: the hedge's time begins, and what it would need is kept. */
export function armHedge(plane: DataPlane, exchange: Exchange, cluster: MeshCluster): void {
  const { config, hedgeTiming } = exchange.model!;
  const nowMs = plane.clock.nowMs();
  cluster.hedgeBudget.request(nowMs);
  exchange.keepsBody = true;
  exchange.holds = true;
  const hedge = new Hedge(exchange, cluster, config.hedge!, hedgeTiming!);
  exchange.hedge = hedge;
  if (hedge.timing.afterMs >= 0) plane.wheel.arm(hedge, nowMs + hedge.timing.afterMs);
}

/** The hedge's timer ran out: the primary's time for itself, or the hedge's own. */
export function hedgeDue(plane: DataPlane, hedge: Hedge, nowMs: number): void {
  const { exchange } = hedge;
  if (exchange.stage === Stage.DONE || exchange.committed) return;
  if (hedge.started) {
    if (hedge.rival !== null) endLateHedge(plane, hedge, nowMs);
    return;
  }
  const { attempt } = exchange;
  const { afterMs } = hedge.timing;
  if (exchange.nextFallback > 0 || attempt?.settled) return;
  // The primary's time is from when it could have had the whole request.
  const fromMs = attempt === null || !exchange.bodyEnded ? nowMs : attempt.askedMs;
  const isLate = attempt !== null && attempt.askedMs > attempt.startedMs;
  if (fromMs === nowMs || (isLate && nowMs < fromMs + afterMs)) {
    plane.wheel.arm(hedge, fromMs + Math.max(afterMs, 1));
    return;
  }
  if (attempt!.verdict === Verdict.PROBE || (exchange.body === null && exchange.bodyBytes > 0)) return;
  startHedge(plane, hedge, attempt!, nowMs);
}

function startHedge(plane: DataPlane, hedge: Hedge, primary: Attempt, nowMs: number): void {
  const { exchange, policy, cluster } = hedge;
  if (!cluster.hedgeBudget.take(nowMs, policy.budgetFraction, policy.budgetFloor)) {
    hedge.count(plane.cells, HedgeEvent.OVER_BUDGET);
    return;
  }
  if (!policy.toFallback) {
    hedge.dueMs = exchange.dueMs;
    if (!tryHedge(plane, hedge, primary.cluster, primary.endpoint, nowMs)) hedge.count(plane.cells, HedgeEvent.REFUSED);
    return;
  }
  const { fallbacks, locals, config } = exchange.model!;
  // A step that asks nobody would always be first.
  for (let step = 0; step < fallbacks.length && locals[step] === null; step++) {
    const share = step === fallbacks.length - 1 ? 1 : config.fallbacks[step]!.budgetFraction;
    hedge.dueMs = exchange.deadlineMs === 0 ? 0 : nowMs + (exchange.deadlineMs - nowMs) * share;
    exchange.nextFallback = step + 1;
    if (tryHedge(plane, hedge, fallbacks[step]!, null, nowMs)) return;
  }
  // Refused a moment ago, they may be asked again when the primary fails.
  exchange.nextFallback = 0;
  hedge.count(plane.cells, HedgeEvent.REFUSED);
}

/** A second attempt with this cluster, away from the endpoint `avoid`; false when it is not admitted. */
function tryHedge(
  plane: DataPlane,
  hedge: Hedge,
  cluster: MeshCluster,
  avoid: Balanced<unknown> | null,
  nowMs: number,
): boolean {
  const { exchange } = hedge;
  const verdict = admit(plane, cluster, hedge.dueMs, nowMs);
  if (verdict < 0) return false;
  const rival = new Attempt(exchange, cluster, AnswerReason.HEDGE, verdict, cluster.breaker.epoch, nowMs);
  rival.left = avoid;
  hedge.begin(plane.cells, rival);
  beginRequest(plane.cells, cluster);
  if (hedge.dueMs > 0 && hedge.dueMs < exchange.deadlineMs) plane.wheel.arm(hedge, hedge.dueMs);
  cluster.request(rival, exchange.http1);
  return true;
}

/** The hedge has had its share of the time; the primary goes on. */
function endLateHedge(plane: DataPlane, hedge: Hedge, nowMs: number): void {
  const { exchange } = hedge;
  const rival = hedge.rival!;
  changePlaces(exchange, hedge);
  settleAttempt(plane, exchange, rival, RequestOutcome.DEADLINE, Outcome.FAILURE, -1, nowMs);
  rival.stream?.reset(ErrorCode.CANCEL);
  refused(plane, exchange, AnswerReason.DEADLINE_BUDGET, ProxyErrors.deadlineBudget);
}
