/**
 * Whether a request that failed may be sent again, to another endpoint of its cluster if there is one: the policy allows it, nothing
 * of an answer is out, the request was kept, and the budget has room. Fallbacks come after, when this says no.
 */
import type { Attempt, Exchange } from './exchange.ts';
import type { MeshCluster } from './mesh.ts';
import { ClusterSlot } from './stats/slots.ts';

/** How often a request to this cluster may be sent again as far as its policy goes; then its body is worth keeping. */
export function attemptsAfterFirst({ endpoints, config }: MeshCluster): number {
  return endpoints.length > 1 ? config.retry.attempts : config.retry.attemptsAlone;
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
  if ((retry.on & condition) === 0 || exchange.retries >= attemptsAfterFirst(cluster)) return false;
  if (exchange.committed || (exchange.body === null && exchange.bodyBytes > 0)) return false;
  if (exchange.deadlineMs > 0 && nowMs >= exchange.deadlineMs) return false;
  if (!cluster.retryBudget.take(nowMs, retry.budgetFraction, retry.budgetFloor)) {
    cells[statsBase + ClusterSlot.RETRIES_REFUSED]! += 1;
    return false;
  }
  cells[statsBase + ClusterSlot.RETRIES]! += 1;
  return true;
}
