/** Statistics as the admin API tells them: plain figures of one cluster, shadow or the process, summed over threads. */

import { HISTOGRAM_SUM, histogramCount, quantileMs } from './histogram.ts';
import { AnswerReason, ClusterSlot, labelValues, MirrorDrop, RequestOutcome, ShadowSlot } from './slots.ts';

/** Latency of the successes since start, milliseconds; null where nothing was counted. */
export interface LatencySummary {
  readonly count: number;
  readonly meanMs: number | null;
  readonly p50Ms: number | null;
  readonly p90Ms: number | null;
  readonly p99Ms: number | null;
}

export interface ClusterSummary {
  readonly requests: Readonly<Record<string, number>>;
  readonly answers: Readonly<Record<string, number>>;
  readonly inFlight: number;
  readonly latency: LatencySummary;
}

export interface ShadowSummary {
  readonly mirrored: number;
  readonly drops: Readonly<Record<string, number>>;
  readonly inFlight: number;
  readonly heldBytes: number;
}

const OUTCOMES = labelValues(RequestOutcome);
const ANSWERS = labelValues(AnswerReason);
const DROPS = labelValues(MirrorDrop);

/** Figures of the cluster whose block starts at `base` in summed slots (`StatsRegions.sumInto`). */
export function summariseCluster(sums: Float64Array, base: number): ClusterSummary {
  return {
    requests: named(OUTCOMES, sums, base + ClusterSlot.REQUESTS),
    answers: named(ANSWERS, sums, base + ClusterSlot.ANSWERS),
    inFlight: sums[base + ClusterSlot.IN_FLIGHT]!,
    latency: summariseLatency(sums, base + ClusterSlot.LATENCY),
  };
}

/** Figures of the shadow whose block starts at `base`. */
export function summariseShadow(sums: Float64Array, base: number): ShadowSummary {
  return {
    mirrored: sums[base + ShadowSlot.MIRRORED]!,
    drops: named(DROPS, sums, base + ShadowSlot.DROPS),
    inFlight: sums[base + ShadowSlot.IN_FLIGHT]!,
    heldBytes: sums[base + ShadowSlot.HELD_BYTES]!,
  };
}

/** Figures of the histogram that starts at `base`. */
export function summariseLatency(sums: Float64Array, base: number): LatencySummary {
  const count = histogramCount(sums, base);
  if (count === 0) return { count, meanMs: null, p50Ms: null, p90Ms: null, p99Ms: null };
  return {
    count,
    meanMs: sums[base + HISTOGRAM_SUM]! / count,
    p50Ms: quantileMs(sums, base, 0.5),
    p90Ms: quantileMs(sums, base, 0.9),
    p99Ms: quantileMs(sums, base, 0.99),
  };
}

/** Neighbouring slots by the names of their values. */
export function named(names: readonly string[], sums: Float64Array, first: number): Record<string, number> {
  return Object.fromEntries(names.map((name, i) => [name, sums[first + i]!]));
}
