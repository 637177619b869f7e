/**
 * Whether a request that failed may be sent again, to another endpoint of its cluster if there is one: the policy allows
 * it, nothing of an answer is out, the request was kept, and the budget has room. Fallbacks come after, when this says no.
 */
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { MeshCluster } from '../mesh.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { ClusterSlot } from '../stats/slots.ts';
import { clearBody } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import type { Attempt, Exchange } from './exchange.ts';
import { isHedgeBeforePrimary } from './hedge.ts';
import { settleAttempt } from './request-ends.ts';

/** A request the upstream refused unprocessed is sent again this often. */
export const MAX_REFUSALS = 2;

/** How often a request to this cluster may be sent again as far as its policy goes; then its body is worth keeping. */
export function attemptsAfterFirst({ endpoints, config }: MeshCluster): number {
  return endpoints.length > 1 ? config.retry.attempts : config.retry.attemptsAlone;
}

/** Decides about one more try, `condition` being a `RetryOn` bit, and takes it from the budget. */
function mayRetry(
  cells: Float64Array,
  exchange: Exchange,
  attempt: Attempt,
  condition: number,
  nowMs: number,
): boolean {
  const { cluster } = attempt;
  const { retry, statsBase } = cluster.config;
  if ((retry.on & condition) === 0 || exchange.retries >= attemptsAfterFirst(cluster)) return false;
  if (exchange.committed || (exchange.body === null && exchange.bodyBytes > 0)) return false;
  // The primary is still under way.
  if (isHedgeBeforePrimary(exchange)) return false;
  if (exchange.deadlineMs > 0 && nowMs >= exchange.deadlineMs) return false;
  if (!cluster.retryBudget.take(nowMs, retry.budgetFraction, retry.budgetFloor)) {
    cells[statsBase + ClusterSlot.RETRIES_REFUSED]! += 1;
    return false;
  }
  cells[statsBase + ClusterSlot.RETRIES]! += 1;
  return true;
}

/** Keeps what another try would need: the request, and of a model's answer what could still prove to be a failure. */
export function allowRetries(exchange: Exchange, cluster: MeshCluster, infers: boolean): void {
  if (attemptsAfterFirst(cluster) === 0) return;
  const { body } = exchange;
  if (body === null || body.length <= cluster.config.retry.maxBytes) exchange.keepsBody = true;
  if (infers) exchange.holds = true;
}

/** Sends a request that failed here to another endpoint of the same cluster; false when that may not be. */
export function tryAgain(
  plane: DataPlane,
  exchange: Exchange,
  attempt: Attempt,
  condition: number,
  result: number,
  status: number,
  nowMs: number,
): boolean {
  if (!mayRetry(plane.cells, exchange, attempt, condition, nowMs)) return false;
  attempt.retried = true;
  settleAttempt(plane, exchange, attempt, result, Outcome.FAILURE, status, nowMs);
  const { stream } = attempt;
  if (stream !== null && !stream.closed) stream.reset(ErrorCode.CANCEL);
  if (exchange.held !== null) clearBody(exchange.held);
  exchange.retries++;
  plane.attemptWith(exchange, attempt.cluster, attempt.reason, attempt.left);
  return true;
}

/** Nothing of the answer is out and the request can be sent again as it is. */
export function canResend(exchange: Exchange, attempt: Attempt): boolean {
  if (exchange.committed || attempt.refusals >= MAX_REFUSALS) return false;
  return exchange.body !== null || exchange.bodyBytes === 0;
}
