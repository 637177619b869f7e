/**
 * What a request passes before a cluster is asked: the bound on requests in flight, whether there is an endpoint, and the
 * breaker, in this order. Rule: a refusal is counted here, once, and leaves no place taken.
 */
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import type { MeshCluster } from '../mesh.ts';
import { Verdict } from '../policy/circuit-breaker.ts';
import { AnswerReason, ClusterRefusal, ClusterSlot } from '../stats/slots.ts';
import type { DataPlane } from './data-plane.ts';

const REFUSED = -1;
/** By `ClusterRefusal`: `AnswerReason` of the fallback, and what the caller hears without one. */
const REFUSAL_REASONS: readonly number[] = [
  AnswerReason.BREAKER_OPEN,
  AnswerReason.OVERFLOW,
  AnswerReason.OVERFLOW,
  AnswerReason.CONNECT_FAILED,
];
const REFUSAL_ERRORS: readonly ProxyError[] = [
  ProxyErrors.breakerOpen,
  ProxyErrors.admissionOverflow,
  ProxyErrors.pendingOverflow,
  ProxyErrors.connectFailed,
];

/** A `Verdict` of the breaker, or less than 0 for a refusal: `refusalReason` and `refusalError` say which. */
export function admit(plane: DataPlane, cluster: MeshCluster, deadlineMs: number, nowMs: number): number {
  const { load, config, breaker } = cluster;
  if (!load.tryEnter(config.maxConcurrentRequests)) return refuse(plane, cluster, ClusterRefusal.CONCURRENCY);
  if (cluster.endpoints.length === 0) {
    load.leave();
    return refuse(plane, cluster, ClusterRefusal.NO_ENDPOINT);
  }
  const verdict = breaker.tryAcquire(nowMs, deadlineMs);
  if (verdict !== Verdict.REJECT) return verdict;
  load.leave();
  return refuse(plane, cluster, ClusterRefusal.BREAKER_OPEN);
}

/** `AnswerReason` of the fallback that steps in for this refusal of `admit`. */
export function refusalReason(refused: number): number {
  return REFUSAL_REASONS[REFUSED - refused]!;
}

/** What the caller hears of it when nobody steps in. */
export function refusalError(refused: number): ProxyError {
  return REFUSAL_ERRORS[REFUSED - refused]!;
}

function refuse(plane: DataPlane, cluster: MeshCluster, refusal: number): number {
  plane.cells[cluster.config.statsBase + ClusterSlot.REFUSALS + refusal]! += 1;
  return REFUSED - refusal;
}
