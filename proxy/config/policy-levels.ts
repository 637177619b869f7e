/** Breaker, timeouts and limits of one cluster, each value taken from the nearest level that says something. */

import type { ConfigDocument, PolicyDocument } from './document-fields.ts';
import type { ProblemList } from './problem.ts';
import type { BreakerPolicy } from './snapshot.ts';

export interface ClusterPolicy {
  readonly breaker: BreakerPolicy;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly maxConcurrentRequests: number;
  readonly maxPendingRequests: number;
}

type Defaults = ConfigDocument['defaults'];

/**
 * Combines a level with the defaults.
 *
 * `judged` is true for a cluster of one model version. Any other carries requests that have nothing in common but the
 * address, so unless its own level asks for them it has no breaker (one bad service would cut off its neighbours) and
 * no limit on a request's time (streams last for hours).
 */
export function combinePolicy(defaults: Defaults, level: PolicyDocument | null, judged: boolean): ClusterPolicy {
  const breaker = { ...defaults.breaker, ...written(level?.breaker) };
  const timeouts = { ...defaults.timeouts, ...written(level?.timeouts) };
  const limits = { ...defaults.limits, ...written(level?.limits) };
  return {
    breaker: {
      enabled: judged ? breaker.enabled : (level?.breaker.enabled ?? false),
      windowMs: breaker.window,
      minimumRequests: breaker.minimumRequests,
      errorFraction: breaker.errorPercent / 10_000,
      consecutiveFailures: breaker.consecutiveFailures,
      maxLatencyMs: breaker.maxLatency,
      openMs: breaker.open,
      maxOpenMs: breaker.maxOpen,
      jitterFraction: breaker.jitter / 10_000,
    },
    connectTimeoutMs: timeouts.connect,
    requestTimeoutMs: judged ? timeouts.request : (level?.timeouts.request ?? 0),
    maxConcurrentRequests: limits.concurrentRequests,
    maxPendingRequests: limits.pendingRequests,
  };
}

/** Rules between the values of one level after combination. */
export function checkPolicy(policy: ClusterPolicy, path: string, problems: ProblemList): void {
  const { openMs, maxOpenMs } = policy.breaker;
  if (maxOpenMs < openMs && !problems.covers(`${path}.breaker`)) {
    problems.add(`${path}.breaker.maxOpen`, `${maxOpenMs}ms`, `at least the first open period, ${openMs}ms`);
  }
}

/** Whether a level says anything at all. */
export function isWritten(level: PolicyDocument): boolean {
  return [level.breaker, level.timeouts, level.limits].some((part) => Object.keys(written(part)).length > 0);
}

type Written<T> = { [K in keyof T]?: NonNullable<T[K]> };

/** The values that are written, of a level's fields that may be unset. */
export function written<T extends object>(values: T | undefined): Written<T> {
  const entries = Object.entries(values ?? {}).filter(([, value]) => value !== null);
  return Object.fromEntries(entries) as Written<T>;
}
