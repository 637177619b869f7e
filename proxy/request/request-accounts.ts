/** The books of a cluster: how each request to it ended, in its statistics and with its breaker. */

import type { MeshCluster } from '../mesh.ts';
import { servedFrom } from '../outlier-guard.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { ClusterSlot, GRPC_STATUS_OTHER, RequestEnd, RequestOutcome, RouteSlot } from '../stats/slots.ts';
import type { Waiter } from '../upstream/wait-queue.ts';
import type { Exchange } from './exchange.ts';

/** One more request is with the cluster: it was admitted, so the cluster's load counts it already. */
export function beginRequest(cells: Float64Array, cluster: MeshCluster): void {
  cluster.inFlight++;
  cells[cluster.config.statsBase + ClusterSlot.IN_FLIGHT]! += 1;
}

/**
 * A request that was with the cluster has ended: `result` is a `RequestOutcome`, `outcome` what the breaker is told,
 * `status` the answer's gRPC status or -1. `verdict` and `epoch` are what the breaker gave it at its beginning,
 * `tookMs` is how long the cluster had it.
 */
export function endRequest(
  cells: Float64Array,
  cluster: MeshCluster,
  verdict: number,
  epoch: number,
  result: number,
  outcome: number,
  status: number,
  tookMs: number,
  nowMs: number,
): void {
  const { statsBase } = cluster.config;
  cluster.inFlight--;
  cluster.load.leave();
  cells[statsBase + ClusterSlot.IN_FLIGHT]! -= 1;
  cells[statsBase + ClusterSlot.REQUESTS + result]! += 1;
  if (status >= 0) cells[statsBase + ClusterSlot.STATUSES + Math.min(status, GRPC_STATUS_OTHER)]! += 1;
  let counted = outcome;
  if (outcome === Outcome.SUCCESS && cluster.breaker.isTooSlow(tookMs)) {
    counted = Outcome.FAILURE;
    cells[statsBase + ClusterSlot.SLOW]! += 1;
  }
  cluster.breaker.record(verdict, epoch, counted, nowMs);
}

/** The endpoint a request was with is told how it served it; of clusters whose endpoints are judged one by one. */
export function leaveEndpoint(
  cluster: MeshCluster,
  waiter: Waiter,
  result: number,
  outcome: number,
  nowMs: number,
  waitMs: number,
): void {
  if (waiter.endpoint === null) return;
  cluster.leave(waiter, servedFrom(outcome, result === RequestOutcome.OVERLOADED), nowMs, waitMs);
}

/** A request has ended, in the books of the route that took it: how, and what its caller was answered. */
export function countRouted(cells: Float64Array, exchange: Exchange): void {
  const { routeBase, end, status, httpStatus } = exchange;
  if (routeBase < 0) return;
  cells[routeBase + RouteSlot.REQUESTS + end]! += 1;
  if (end !== RequestEnd.ANSWERED && end !== RequestEnd.REFUSED) return;
  if (exchange.traits!.grpc) {
    if (status >= 0) cells[routeBase + RouteSlot.GRPC_STATUSES + Math.min(status, GRPC_STATUS_OTHER)]! += 1;
  } else if (httpStatus >= 100 && httpStatus < 600) {
    cells[routeBase + RouteSlot.HTTP_STATUSES + Math.floor(httpStatus / 100) - 1]! += 1;
  }
}
