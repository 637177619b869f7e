/** The few statistics the benches report. */

/** Middle value; the mean of the two middle ones of an even count; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Smallest value that at least `fraction` of all values do not exceed. `sorted` ascends; NaN of none. */
export function quantile(sorted: Readonly<Float64Array>, fraction: number): number {
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)]!;
}

/**
 * Of `trials` that succeed with probability `chance` each: the least number of successes that all trials reach by chance
 * alone in at most a fraction of `alpha` of the cases; above `trials` when no number is that rare.
 */
export function leastBeyondChance(trials: number, chance: number, alpha: number): number {
  let tail = 0;
  let ways = 1;
  for (let successes = trials; successes >= 0; successes--) {
    tail += ways * chance ** successes * (1 - chance) ** (trials - successes);
    if (tail > alpha) return successes + 1;
    ways = (ways * successes) / (trials - successes + 1);
  }
  return 0;
}

/** Rounded to `digits` decimals for reports; null where there is no number, as JSON has no NaN. */
export function rounded(value: number, digits: number): number | null {
  return Number.isFinite(value) ? Number(value.toFixed(digits)) : null;
}
