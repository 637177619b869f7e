/**
 * Latency quantiles in bounded memory: counts in buckets whose borders grow by 2 %.
 *
 * Imprecision accepted: a quantile is the upper border of its bucket, so at most 2 % too high. Below 10 us and above
 * 60 s everything shares one bucket.
 */

const LEAST_MS = 0.01;
const MOST_MS = 60_000;
const GROWTH = 1.02;
const LOG_GROWTH = Math.log(GROWTH);
const BUCKETS = Math.ceil(Math.log(MOST_MS / LEAST_MS) / LOG_GROWTH) + 1;

export class LatencyQuantiles {
  readonly #counts = new Uint32Array(BUCKETS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  record(latencyMs: number): void {
    const place = Math.ceil(Math.log(latencyMs / LEAST_MS) / LOG_GROWTH);
    this.#counts[Math.max(0, Math.min(BUCKETS - 1, place))]!++;
    this.#count++;
  }

  /** The latency in milliseconds that a `fraction` (0..1) of the recorded ones did not exceed; NaN when there are none. */
  quantile(fraction: number): number {
    if (this.#count === 0) return Number.NaN;
    const wanted = Math.max(1, Math.ceil(fraction * this.#count));
    let seen = 0;
    for (let i = 0; i < BUCKETS; i++) {
      seen += this.#counts[i]!;
      if (seen >= wanted) return LEAST_MS * GROWTH ** i;
    }
    return MOST_MS;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = 0;
  }
}
