/**
 * How good a scorer is, and how far two scorers agree. Pure functions over scores and outcomes.
 */

/**
 * Area under the ROC curve: the chance that a random defaulter scores above a random payer; ties count half.
 * Returns NaN when either class is absent.
 */
export function areaUnderCurve(scores: Float64Array, outcomes: Uint8Array): number {
  const order = Uint32Array.from(scores.keys()).sort((a, b) => scores[a]! - scores[b]! || a - b);
  let rankSum = 0;
  let positives = 0;
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && scores[order[end]!] === scores[order[start]!]) end++;
    const sharedRank = (start + 1 + end) / 2;
    for (let i = start; i < end; i++) {
      if (outcomes[order[i]!] === 0) continue;
      rankSum += sharedRank;
      positives++;
    }
    start = end;
  }
  const negatives = order.length - positives;
  if (positives === 0 || negatives === 0) return Number.NaN;
  return (rankSum - (positives * (positives + 1)) / 2) / (positives * negatives);
}

/** Fraction of applicants on whom two scorers decide alike at a threshold of one half; NaN when there are none. */
export function agreement(first: Float64Array, second: Float64Array): number {
  let same = 0;
  for (let i = 0; i < first.length; i++) if (first[i]! > 0.5 === second[i]! > 0.5) same++;
  return first.length === 0 ? Number.NaN : same / first.length;
}

/** Fraction of applicants whose outcome the scorer's decision (at one half) foretells; NaN when there are none. */
export function accuracy(scores: Float64Array, outcomes: Uint8Array): number {
  let right = 0;
  for (let i = 0; i < scores.length; i++) if (scores[i]! > 0.5 === (outcomes[i] === 1)) right++;
  return scores.length === 0 ? Number.NaN : right / scores.length;
}

/** Fraction of applicants the scorer would decline; NaN when there are none. */
export function declineRate(scores: Float64Array): number {
  let declined = 0;
  for (let i = 0; i < scores.length; i++) if (scores[i]! > 0.5) declined++;
  return scores.length === 0 ? Number.NaN : declined / scores.length;
}
