/**
 * Evidence about how far a shadow diverges, valid however often it is looked at.
 *
 * X in 0..1 is the distance of one pair (with a noise floor, the pair's distance minus the primary's from itself: -1..1).
 * Two wealth processes bet against two hypotheses about E[X | past]:
 *
 *   harm    H0: at most harmLimit     K = mean over a fixed grid of lambda of the products of 1 + lambda (X - harmLimit)
 *   safety  H0: at least safetyLimit  the same with 1 + lambda (safetyLimit - X)
 *
 * Under its hypothesis each K is a nonnegative supermartingale that starts at 1, so by Ville's inequality it ever reaches
 * 1/alpha with probability at most alpha: a crossing stays a finding, and peeking is free. Harm says "roll back", safety
 * says "may be promoted", neither says "not known yet", which never counts as safe.
 *
 * Several cohorts are watched at once and one finding of harm is enough, so harm is tested at alpha / streams in each
 * (Bonferroni: correct under latching, unlike e-BH). Promotion needs safety in every cohort, so safety is tested at alpha.
 *
 * The state is one sum of logarithms per lambda. Evidence of several observers of the same limits is added, in any order.
 * The hypotheses are about conditional means, so a burst may rightly trip the alarm although the long run would not.
 */
import { divergenceInterval } from './evidence-interval.ts';

/** Limits on the mean distance and the error rate; `harmLimit` < `safetyLimit`, all in 0..1 exclusive. */
export interface EvidencePolicy {
  /** Roll back is called for once more than this much divergence is shown. */
  readonly harmLimit: number;
  /** Safe once less than this much divergence is shown. */
  readonly safetyLimit: number;
  /** Probability of a false finding of harm in any of `streams`, and of a false finding of safety in one. */
  readonly alpha: number;
  /** Cohorts watched at once that share alpha. */
  readonly streams: number;
  /** Whether X is noise-corrected, -1..1. */
  readonly noiseCorrected?: boolean;
}

/**
 * A promotion that shifts more than 5 % of the answers is what teams commonly refuse; twice that must be ruled out before
 * a candidate counts as safe, because showing less than the harm limit itself would take for ever near it.
 */
export const DEFAULT_EVIDENCE: EvidencePolicy = { harmLimit: 0.05, safetyLimit: 0.1, alpha: 0.05, streams: 1 };

/**
 * Bets as fractions of the largest that cannot ruin. Against harm, small stakes find small excesses and large ones find
 * gross faults within a few pairs; the best stake for a true divergence p is (p - limit) / (1 - limit) of the largest.
 * Against safety it is 1 - p / limit, so most of the grid lies high; low stakes serve noise-corrected distances.
 */
const HARM_STAKES: readonly number[] = [0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 0.8];
const SAFETY_STAKES: readonly number[] = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95];

/** Mergeable state of one stream, as plain data. `harm` and `safety` hold the log-sums, one per lambda. */
export interface EvidenceSums {
  harmLimit: number;
  safetyLimit: number;
  noiseCorrected: boolean;
  pairs: number;
  distanceSum: number;
  harm: Float64Array;
  safety: Float64Array;
  /** Pairs seen when the process first crossed its threshold; 0 while it has not. */
  harmAtPairs: number;
  safeAtPairs: number;
}

/** What the evidence says, as numbers and a verdict. */
export interface EvidenceFigures {
  readonly verdict: 'harm' | 'safe' | 'inconclusive';
  /** Pairs that went into it. */
  readonly pairs: number;
  readonly harm: boolean;
  /** Pairs it took; null while not found. */
  readonly harmAtPairs: number | null;
  readonly safe: boolean;
  readonly safeAtPairs: number | null;
  readonly harmLimit: number;
  readonly safetyLimit: number;
  /** Natural logarithms of the two e-values now, and what they must reach. */
  readonly harmLogEvidence: number;
  readonly harmLogThreshold: number;
  readonly safetyLogEvidence: number;
  readonly safetyLogThreshold: number;
  /** Error bars of a constant mean distance, at 1 - alpha at all times; null where X is noise-corrected. */
  readonly interval: readonly [number, number] | null;
}

/** A policy made ready to judge: its lambdas and thresholds. Immutable. */
export class EvidenceTest {
  readonly policy: EvidencePolicy;
  readonly harmLogThreshold: number;
  readonly safetyLogThreshold: number;
  /** Distances are noise-corrected, and only pairs with a secondary are evidence. */
  readonly isCorrected: boolean;
  private readonly harmLambdas: Float64Array;
  private readonly safetyLambdas: Float64Array;

  constructor(policy: EvidencePolicy = DEFAULT_EVIDENCE) {
    this.isCorrected = policy.noiseCorrected === true;
    const lowestX = this.isCorrected ? -1 : 0;
    this.policy = policy;
    this.harmLogThreshold = Math.log(policy.streams / policy.alpha);
    this.safetyLogThreshold = -Math.log(policy.alpha);
    this.harmLambdas = Float64Array.from(HARM_STAKES, (stake) => stake / (policy.harmLimit - lowestX));
    this.safetyLambdas = Float64Array.from(SAFETY_STAKES, (stake) => stake / (1 - policy.safetyLimit));
  }

  /** A stream in which nothing was seen yet. */
  createSums(): EvidenceSums {
    const { harmLimit, safetyLimit } = this.policy;
    return {
      harmLimit,
      safetyLimit,
      noiseCorrected: this.isCorrected,
      pairs: 0,
      distanceSum: 0,
      harm: new Float64Array(HARM_STAKES.length),
      safety: new Float64Array(SAFETY_STAKES.length),
      harmAtPairs: 0,
      safeAtPairs: 0,
    };
  }

  /** Whether sums were gathered against these limits; others must not be continued or merged. */
  fits(sums: EvidenceSums): boolean {
    const { harmLimit, safetyLimit } = this.policy;
    if (sums.noiseCorrected !== this.isCorrected) return false;
    return sums.harmLimit === harmLimit && sums.safetyLimit === safetyLimit;
  }

  /** Takes the next distance; anything outside its range counts as the worst. Latches a crossing. */
  add(sums: EvidenceSums, distance: number): void {
    const lowest = this.isCorrected ? -1 : 0;
    const x = distance >= lowest && distance <= 1 ? distance : 1;
    sums.pairs++;
    sums.distanceSum += x;
    const excess = x - this.policy.harmLimit;
    const spare = this.policy.safetyLimit - x;
    const { harm, safety } = sums;
    for (let i = 0; i < harm.length; i++) harm[i] = harm[i]! + Math.log1p(this.harmLambdas[i]! * excess);
    for (let i = 0; i < safety.length; i++) safety[i] = safety[i]! + Math.log1p(this.safetyLambdas[i]! * spare);
    if (sums.harmAtPairs === 0 && excess > 0 && logMeanExp(harm) >= this.harmLogThreshold) {
      sums.harmAtPairs = sums.pairs;
    }
    if (sums.safeAtPairs === 0 && spare > 0 && logMeanExp(safety) >= this.safetyLogThreshold) {
      sums.safeAtPairs = sums.pairs;
    }
  }

  /** Verdict and numbers. Harm outranks safety, because safety speaks of the past and harm latches. */
  figures(sums: EvidenceSums): EvidenceFigures {
    const { policy } = this;
    const harm = sums.harmAtPairs > 0;
    const safe = sums.safeAtPairs > 0;
    return {
      verdict: harm ? 'harm' : safe ? 'safe' : 'inconclusive',
      pairs: sums.pairs,
      harm,
      harmAtPairs: harm ? sums.harmAtPairs : null,
      safe,
      safeAtPairs: safe ? sums.safeAtPairs : null,
      harmLimit: policy.harmLimit,
      safetyLimit: policy.safetyLimit,
      harmLogEvidence: logMeanExp(sums.harm),
      harmLogThreshold: this.harmLogThreshold,
      safetyLogEvidence: logMeanExp(sums.safety),
      safetyLogThreshold: this.safetyLogThreshold,
      interval: this.isCorrected ? null : divergenceInterval(sums.pairs, sums.distanceSum, policy.alpha),
    };
  }

  /**
   * Adds the evidence of another observer. What only one of them had found is not taken over, since every observer spends
   * alpha on its own findings: a crossing of the merged evidence is. Whoever merges repeatedly keeps what it has found.
   */
  merge(into: EvidenceSums, from: EvidenceSums): void {
    into.pairs += from.pairs;
    into.distanceSum += from.distanceSum;
    for (let i = 0; i < into.harm.length; i++) into.harm[i] = into.harm[i]! + from.harm[i]!;
    for (let i = 0; i < into.safety.length; i++) into.safety[i] = into.safety[i]! + from.safety[i]!;
    into.harmAtPairs = logMeanExp(into.harm) >= this.harmLogThreshold ? into.pairs : 0;
    into.safeAtPairs = logMeanExp(into.safety) >= this.safetyLogThreshold ? into.pairs : 0;
  }
}

/** Logarithm of the mean of exp(values), without overflow. */
export function logMeanExp(values: Float64Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i]!);
  if (largest === Number.NEGATIVE_INFINITY) return largest;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i]! - largest);
  return largest + Math.log(sum / values.length);
}
