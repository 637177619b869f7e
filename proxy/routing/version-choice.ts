/** Splitting a model's traffic: which share a request falls into. Same state and inputs, same verdict. */

/** Cumulative upper bounds of the shares in hundredths of a percent; the last is 10,000. */
export function cumulativeWeights(weights: readonly number[]): Int32Array {
  const bounds = new Int32Array(weights.length);
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i]!;
    bounds[i] = sum;
  }
  return bounds;
}

/** The share that `point` (0..9999) falls into. Shares of weight 0 are never chosen. */
export function chooseShare(bounds: Int32Array, point: number): number {
  for (let i = 0; i < bounds.length; i++) if (point < bounds[i]!) return i;
  return bounds.length - 1;
}
