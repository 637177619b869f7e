/**
 * Error bars of a mean that hold at all times at once: a mixture of likelihood ratios over a Beta(1/2, 1/2) prior.
 *
 * For X in 0..1 with mean m and any theta, (theta/m)^X ((1-theta)/(1-m))^(1-X) lies below its chord in X (weighted
 * arithmetic and geometric means), so its expectation is at most 1: equal for yes-or-no distances, less in between. The
 * mixture over theta is then a supermartingale that depends on the count and the sum alone, which merge by addition, and
 * the means it has not refuted (mixture < 1/alpha) cover the true one for ever with probability 1 - alpha.
 *
 * This speaks of a mean that stays the same; what changes over time is judged by the processes of evidence.ts.
 */

/** Prior weight of each outcome: Jeffreys' half. */
const PRIOR = 0.5;
/** Halvings: finer than a millionth. */
const STEPS = 24;
const EDGE = 1e-9;

/** Lowest and highest mean not refuted by `pairs` distances that sum to `sum`; 0 and 1 before the first. */
export function divergenceInterval(pairs: number, sum: number, alpha: number): readonly [number, number] {
  if (pairs === 0) return [0, 1];
  const hits = Math.min(pairs, Math.max(0, sum));
  const misses = pairs - hits;
  const mixture = logBeta(hits + PRIOR, misses + PRIOR) - logBeta(PRIOR, PRIOR);
  const limit = -Math.log(alpha);
  const refuted = (mean: number) => mixture - hits * Math.log(mean) - misses * Math.log(1 - mean) >= limit;
  const mean = Math.min(1 - EDGE, Math.max(EDGE, hits / pairs));
  return [border(EDGE, mean, refuted, 0), border(1 - EDGE, mean, refuted, 1)];
}

/** Between a far mean and one that is never refuted, the place where refutation ends; `open` if the far one stands. */
function border(far: number, near: number, refuted: (mean: number) => boolean, open: number): number {
  if (!refuted(far)) return open;
  for (let i = 0; i < STEPS; i++) {
    const middle = (far + near) / 2;
    if (refuted(middle)) far = middle;
    else near = middle;
  }
  return far;
}

function logBeta(a: number, b: number): number {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

/** Stirling's series after moving the argument up; better than 1e-10 for x > 0. */
function logGamma(x: number): number {
  let shift = 0;
  while (x < 8) {
    shift -= Math.log(x);
    x++;
  }
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x;
  return shift + (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + series;
}
