/** How a cluster's endpoints are found, judged and tried again, each value from the nearest level that says something. */

import type { ClusterDocument, ConfigDocument } from './document-fields.ts';
import { written } from './policy-levels.ts';
import type { ProblemList } from './problem.ts';
import { type ClusterSnapshot, type HealthCheckPolicy, RetryOn, type RetryPolicy } from './snapshot.ts';

export type UpstreamPolicy = Pick<ClusterSnapshot, 'outlier' | 'healthCheck' | 'retry' | 'discovery' | 'dnsRefreshMs'>;

type Condition = NonNullable<ClusterDocument['retries']['on']>[number];

const CONDITION_BITS: Readonly<Record<Condition, number>> = {
  connect_failed: RetryOn.CONNECT_FAILED,
  reset: RetryOn.RESET,
  per_try_timeout: RetryOn.PER_TRY_TIMEOUT,
  unavailable: RetryOn.UNAVAILABLE,
};
const EVERYTHING = Object.values(CONDITION_BITS).reduce((bits, bit) => bits | bit, 0);

const DEFAULT_DNS_REFRESH_MS = 30_000;
/** Random part of an ejection: endpoints ejected together do not come back together. */
const EJECTION_JITTER = 0.2;

/** Combines a cluster with the defaults. `serves` says whether it serves a model; what it carries may then be repeated. */
export function combineUpstream(
  defaults: ConfigDocument['defaults'],
  cluster: ClusterDocument | null,
  serves: boolean,
): UpstreamPolicy {
  const outlier = { ...defaults.outlier, ...written(cluster?.outlier) };
  return {
    outlier: {
      guard: {
        enabled: outlier.enabled,
        windowMs: outlier.window,
        minimumRequests: outlier.minimumRequests,
        errorFraction: outlier.errorPercent / 10_000,
        consecutiveFailures: outlier.consecutiveFailures,
        maxLatencyMs: 0,
        openMs: outlier.ejection,
        maxOpenMs: outlier.maxEjection,
        jitterFraction: EJECTION_JITTER,
      },
      maxEjectedFraction: outlier.maxEjectedPercent / 10_000,
    },
    healthCheck: healthCheck(cluster),
    retry: retry(defaults, cluster, serves),
    discovery: cluster?.discovery ?? 'name',
    dnsRefreshMs: cluster?.dnsRefresh ?? DEFAULT_DNS_REFRESH_MS,
  };
}

/** Rules between the values of one level after combination. */
export function checkUpstream(policy: UpstreamPolicy, path: string, problems: ProblemList): void {
  const { openMs, maxOpenMs } = policy.outlier.guard;
  if (maxOpenMs < openMs && !problems.covers(`${path}.outlier`)) {
    problems.add(`${path}.outlier.maxEjection`, `${maxOpenMs}ms`, `at least the first ejection, ${openMs}ms`);
  }
  const check = policy.healthCheck;
  if (check !== null && check.kind === 'http' && !check.path.startsWith('/')) {
    problems.add(`${path}.healthCheck.path`, check.path, 'a path that begins with /');
  }
}

function retry(defaults: ConfigDocument['defaults'], cluster: ClusterDocument | null, serves: boolean): RetryPolicy {
  const { on, ...scalars } = cluster?.retries ?? { on: null };
  const values = { ...defaults.retries, ...written(scalars) };
  return {
    attempts: values.attempts ?? 1,
    attemptsAlone: values.attempts ?? 0,
    on: on === null ? (serves ? EVERYTHING : RetryOn.CONNECT_FAILED) : bitsOf(on),
    perTryTimeoutMs: values.perTryTimeout,
    budgetFraction: values.budget / 10_000,
    budgetFloor: values.budgetFloor,
    maxBytes: values.maxSize,
  };
}

function bitsOf(conditions: readonly Condition[]): number {
  return conditions.reduce((bits, condition) => bits | CONDITION_BITS[condition], 0);
}

function healthCheck(cluster: ClusterDocument | null): HealthCheckPolicy | null {
  const check = cluster?.healthCheck ?? null;
  if (check === null) return null;
  const { kind, service, path, interval, timeout, unhealthyAfter, healthyAfter } = check;
  return {
    kind,
    service: service ?? '',
    path,
    intervalMs: interval,
    timeoutMs: timeout,
    unhealthyAfter,
    healthyAfter,
  };
}
