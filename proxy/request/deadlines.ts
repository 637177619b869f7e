/**
 * A request's one timer: its deadline, before it the share of the cluster it is with, before that the time of a single try.
 */
import { ProxyErrors } from '../../base/proxy-error.ts';
import { formatGrpcTimeout } from '../../proto/grpc/timeout.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { RetryOn } from '../config/snapshot.ts';
import type { MeshCluster } from '../mesh.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { withValue } from '../routing/request-traits.ts';
import { AnswerReason, HedgeEvent, RequestOutcome } from '../stats/slots.ts';
import type { DataPlane } from './data-plane.ts';
import { type Exchange, Stage } from './exchange.ts';
import { refused } from './fallback.ts';
import type { Hedge } from './hedge.ts';
import { failRequest, settleAttempt } from './request-ends.ts';
import { tryAgain } from './retrying.ts';

/** Time spent here above which the upstream's timeout is shortened, milliseconds; below it the head goes on as it is. */
const WORTH_TELLING_MS = 1;

/** Arms the deadline: the caller's or the cluster's, and before it the primary's share when a fallback waits. */
export function limitTime(plane: DataPlane, exchange: Exchange, cluster: MeshCluster, replaceable: boolean): void {
  const { requestTimeoutMs } = cluster.config;
  if (exchange.deadlineMs === 0 && requestTimeoutMs > 0) exchange.deadlineMs = exchange.startedMs + requestTimeoutMs;
  if (exchange.deadlineMs === 0) return;
  const { model } = exchange;
  let due = exchange.deadlineMs;
  if (replaceable && exchange.governed && model !== null && model.fallbacks.length > 0) {
    due = exchange.startedMs + (due - exchange.startedMs) * model.config.primaryBudgetFraction;
  }
  exchange.dueMs = due;
  plane.wheel.arm(exchange, due);
}

/** Arms the timer for one try where another may follow, and counts the first for the retry budget. */
export function limitTry(
  plane: DataPlane,
  exchange: Exchange,
  cluster: MeshCluster,
  attempts: number,
  nowMs: number,
): void {
  const { perTryTimeoutMs } = cluster.config.retry;
  if (exchange.retries === 0) cluster.retryBudget.request(nowMs);
  if (perTryTimeoutMs === 0) return;
  const tryMs = exchange.retries < attempts ? nowMs + perTryTimeoutMs : exchange.dueMs;
  if (tryMs > 0) plane.wheel.arm(exchange, exchange.dueMs > 0 ? Math.min(tryMs, exchange.dueMs) : tryMs);
}

/** The upstream is told the time that is left, once some of it is gone: to a fallback, after a wait, or in a step. */
export function withTimeLeft(plane: DataPlane, exchange: Exchange, head: HeaderList): HeaderList {
  const nowMs = plane.clock.nowMs();
  if (nowMs - exchange.startedMs < WORTH_TELLING_MS && !exchange.isStep) return head;
  return withValue(head, 'grpc-timeout', formatGrpcTimeout(exchange.deadlineMs - nowMs));
}

/** One try has had its time. When no other may follow it keeps what time the request has. */
function tryTimedOut(plane: DataPlane, exchange: Exchange, nowMs: number): void {
  const { attempt, dueMs } = exchange;
  const limited = attempt !== null && !attempt.settled && attempt.cluster.config.retry.perTryTimeoutMs > 0;
  if (limited && tryAgain(plane, exchange, attempt, RetryOn.PER_TRY_TIMEOUT, RequestOutcome.DEADLINE, -1, nowMs))
    return;
  if (dueMs > 0) plane.wheel.arm(exchange, dueMs);
}

/** The request's timer ran out: of the try, of the cluster's share, or of the deadline itself. */
export function deadlinePassed(plane: DataPlane, exchange: Exchange, nowMs: number): void {
  const { attempt } = exchange;
  if (exchange.stage === Stage.DONE) return;
  if (exchange.dueMs === 0 || nowMs < exchange.dueMs) {
    tryTimedOut(plane, exchange, nowMs);
    return;
  }
  const early = nowMs < exchange.deadlineMs;
  const caller = callerHolds(exchange);
  if (!early && exchange.hedge !== null && exchange.hedge.rival !== null) hedgeLate(plane, exchange, exchange.hedge);
  if (attempt !== null && !attempt.settled) {
    if (caller) settleAttempt(plane, exchange, attempt, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
    else settleAttempt(plane, exchange, attempt, RequestOutcome.DEADLINE, Outcome.FAILURE, -1);
    attempt.stream?.reset(ErrorCode.CANCEL);
  }
  if (early) refused(plane, exchange, AnswerReason.DEADLINE_BUDGET, ProxyErrors.deadlineBudget);
  else failRequest(plane, exchange, caller ? ProxyErrors.deadlineCaller : ProxyErrors.deadlineUpstream);
}

/** The request's deadline is the hedge's too. */
function hedgeLate(plane: DataPlane, exchange: Exchange, hedge: Hedge): void {
  const rival = hedge.rival!;
  hedge.rival = null;
  hedge.close(plane.cells, HedgeEvent.FAILED);
  settleAttempt(plane, exchange, rival, RequestOutcome.DEADLINE, Outcome.FAILURE, -1);
  rival.stream?.reset(ErrorCode.CANCEL);
}

/** The caller has not sent its whole request, and the upstream has taken all there is: time passes at the caller's cost. */
function callerHolds(exchange: Exchange): boolean {
  if (exchange.bodyEnded) return false;
  const { attempt } = exchange;
  return attempt === null || exchange.waitsForBody || (attempt.stream !== null && attempt.stream.queuedBytes === 0);
}
