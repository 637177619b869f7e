/**
 * Whether a request that failed at one endpoint may be sent to another one of its cluster: the policy allows it, nothing
 * of an answer is out, the request was kept, and the budget has room. Fallbacks come after, when this says no.
 */
import type { Attempt, Exchange } from './exchange.ts';
import type { MeshCluster } from './mesh.ts';
import { ClusterSlot } from './stats/slots.ts';

/** Whether requests to this cluster are ever sent again, so that their bodies are worth keeping. */
export function retries(cluster: MeshCluster): boolean {
  return cluster.balancer !== null && cluster.endpoints.length > 1 && cluster.config.retry.attempts > 0;
}

/** Decides about one more try, `condition` being a `RetryOn` bit, and takes it from the budget. */
export function mayRetry(
  cells: Float64Array,
  exchange: Exchange,
  attempt: Attempt,
  condition: number,
  nowMs: number,
): boolean {
  const { cluster } = attempt;
  const { retry, statsBase } = cluster.config;
  if ((retry.on & condition) === 0 || exchange.retries >= retry.attempts || !retries(cluster)) return false;
  if (exchange.committed || (exchange.body === null && exchange.bodyBytes > 0)) return false;
  if (exchange.deadlineMs > 0 && nowMs >= exchange.deadlineMs) return false;
  if (!cluster.retryBudget.take(nowMs, retry.budgetFraction, retry.budgetFloor)) {
    cells[statsBase + ClusterSlot.RETRIES_REFUSED]! += 1;
    return false;
  }
  cells[statsBase + ClusterSlot.RETRIES]! += 1;
  return true;
}
