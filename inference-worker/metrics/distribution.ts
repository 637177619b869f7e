/**
 * Counts of observations by bucket, in typed arrays: an observation costs a few nanoseconds and allocates nothing. Bounds
 * are fixed when made; what reads them at scrape time turns them into cumulative histograms.
 */

/** Upper bounds, inclusive, of all but the last bucket, which is open. Increasing. */
export type Bounds = readonly number[];

export class Distribution {
  readonly bounds: Bounds;
  /** Observations by bucket; one more than there are bounds. */
  readonly counts: Float64Array;
  sum = 0;
  private readonly bucketOf: (value: number) => number;

  private constructor(bounds: Bounds, bucketOf: (value: number) => number) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
    this.bucketOf = bucketOf;
  }

  /** Milliseconds, in TensorFlow Serving's buckets for latencies: 10 us times powers of 1.8. */
  static latency(): Distribution {
    return new Distribution(LATENCY_BOUNDS_MS, latencyBucket);
  }

  /** Counts such as rows, in powers of two from 1, with a bucket of its own for 0. */
  static size(): Distribution {
    return new Distribution(SIZE_BOUNDS, sizeBucket);
  }

  record(value: number, times = 1): void {
    this.counts[this.bucketOf(value)] += times;
    this.sum += value * times;
  }

  /** Forgets what was recorded. */
  clear(): void {
    this.counts.fill(0);
    this.sum = 0;
  }

  get count(): number {
    let count = 0;
    for (let i = 0; i < this.counts.length; i++) count += this.counts[i];
    return count;
  }

  /** Upper bound of the bucket that holds quantile `q` (0 to 1); NaN without observations, Infinity in the open bucket. */
  quantile(q: number): number {
    const { count } = this;
    if (count === 0) return Number.NaN;
    let below = 0;
    for (let i = 0; i < this.bounds.length; i++) {
      below += this.counts[i];
      if (below >= q * count) return this.bounds[i];
    }
    return Number.POSITIVE_INFINITY;
  }
}

const LATENCY_BUCKETS = 32;
const LATENCY_FIRST_MS = 0.01;
const LATENCY_GROWTH = 1.8;
export const LATENCY_BOUNDS_MS: Bounds = Array.from(
  { length: LATENCY_BUCKETS },
  (_, i) => LATENCY_FIRST_MS * LATENCY_GROWTH ** i,
);
const PER_LOG_GROWTH = 1 / Math.log(LATENCY_GROWTH);

function latencyBucket(ms: number): number {
  if (!(ms > LATENCY_FIRST_MS)) return 0;
  let bucket = Math.min(LATENCY_BUCKETS, Math.ceil(Math.log(ms / LATENCY_FIRST_MS) * PER_LOG_GROWTH));
  // The logarithm may be off by its last bit at a bound.
  if (bucket > 0 && ms <= LATENCY_BOUNDS_MS[bucket - 1]) bucket--;
  return bucket;
}

const SIZE_POWERS = 21;
export const SIZE_BOUNDS: Bounds = [0, ...Array.from({ length: SIZE_POWERS }, (_, i) => 2 ** i)];

function sizeBucket(size: number): number {
  if (size <= 0) return 0;
  return Math.min(SIZE_BOUNDS.length, size <= 1 ? 1 : 33 - Math.clz32(size - 1));
}
