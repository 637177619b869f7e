/**
 * Latency histograms in slots: where a value goes, and what the counts say about quantiles.
 *
 * Values are milliseconds. Bucket 0 holds everything up to 1/16 ms; then each doubling up to 65,536 ms is cut into four
 * equal parts; the last bucket holds the rest:
 *
 *     0 .. 0.0625 | 0.078125 0.09375 0.109375 0.125 | 0.15625 ... | ... 65536 | more
 *
 * A bucket contains its upper bound, as Prometheus' `le` does, and the doublings (1, 2, 4 ms ...) are bounds, so the
 * coarser buckets that are exposed are exact sums of the fine ones kept here. The slots of one histogram are its
 * buckets in order and then the sum of all values; the count is the sum of the buckets and is not stored.
 *
 * Accepted imprecision: a value is known to its bucket only, whose width is at most a quarter of its lower bound.
 */

/** Parts each doubling is cut into. */
const PARTS = 4;
/** A tick is 1/1024 ms, so that doublings of a millisecond are powers of two in ticks. */
const TICKS_PER_MS = 1024;
/** log2 of the ticks in the first bound, 1/16 ms. */
const FIRST_EXPONENT = 6;
/** log2 of the ticks in the last finite bound, 65,536 ms. */
const LAST_EXPONENT = 26;

const DOUBLINGS = LAST_EXPONENT - FIRST_EXPONENT;

/** Buckets of a histogram, the first and the unbounded last included. */
export const HISTOGRAM_BUCKETS = 1 + DOUBLINGS * PARTS + 1;
/** Offset of the sum (milliseconds) from the histogram's first slot. */
export const HISTOGRAM_SUM = HISTOGRAM_BUCKETS;
/** Slots of a histogram: buckets, then the sum. */
export const HISTOGRAM_SLOTS = HISTOGRAM_BUCKETS + 1;

const LAST_BOUND_MS = 2 ** LAST_EXPONENT / TICKS_PER_MS;

/** The bucket of a value in milliseconds; anything that is not a positive number belongs to bucket 0. */
export function bucketIndex(valueMs: number): number {
  if (!(valueMs <= LAST_BOUND_MS)) return valueMs > LAST_BOUND_MS ? HISTOGRAM_BUCKETS - 1 : 0;
  // Ticks minus one makes bounds inclusive: a bucket is (lower, upper].
  const ticks = Math.ceil(valueMs * TICKS_PER_MS) - 1;
  if (ticks < 1 << FIRST_EXPONENT) return 0;
  const exponent = 31 - Math.clz32(ticks);
  return 1 + (exponent - FIRST_EXPONENT) * PARTS + ((ticks >> (exponent - 2)) & 3);
}

/** Upper bound of a bucket in milliseconds; Infinity for the last. */
export function bucketUpperMs(index: number): number {
  if (index === 0) return 2 ** FIRST_EXPONENT / TICKS_PER_MS;
  if (index >= HISTOGRAM_BUCKETS - 1) return Number.POSITIVE_INFINITY;
  const doubling = Math.floor((index - 1) / PARTS);
  const part = (index - 1) % PARTS;
  return (2 ** (FIRST_EXPONENT + doubling) * (1 + (part + 1) / PARTS)) / TICKS_PER_MS;
}

/** Counts one value (milliseconds) in the histogram whose slots start at `base`. Constant time, no allocation. */
export function recordLatency(cells: Float64Array, base: number, valueMs: number): void {
  cells[base + bucketIndex(valueMs)]! += 1;
  if (valueMs > 0 && valueMs < Number.POSITIVE_INFINITY) cells[base + HISTOGRAM_SUM]! += valueMs;
}

/** Number of values counted. */
export function histogramCount(cells: Float64Array, base: number): number {
  let count = 0;
  for (let i = 0; i < HISTOGRAM_BUCKETS; i++) count += cells[base + i]!;
  return count;
}

/**
 * Estimate of the q-quantile (0..1) in milliseconds, linear inside its bucket; NaN when nothing was counted. The true
 * value lies in the same bucket, except in the last, for which the largest finite bound is returned.
 */
export function quantileMs(cells: Float64Array, base: number, q: number): number {
  const count = histogramCount(cells, base);
  if (count === 0) return Number.NaN;
  const rank = Math.max(1, Math.ceil(q * count));
  let before = 0;
  for (let i = 0; i < HISTOGRAM_BUCKETS; i++) {
    const inBucket = cells[base + i]!;
    if (before + inBucket < rank) {
      before += inBucket;
      continue;
    }
    if (i === HISTOGRAM_BUCKETS - 1) return LAST_BOUND_MS;
    const lower = i === 0 ? 0 : bucketUpperMs(i - 1);
    return lower + (bucketUpperMs(i) - lower) * ((rank - before) / inBucket);
  }
  return LAST_BOUND_MS;
}

/** One exposed bucket: its bound in seconds and how many fine buckets, counted from the first, lie at or below it. */
export interface ExposedBucket {
  readonly leSeconds: number;
  readonly fineBuckets: number;
}

/** The exposed buckets: one for each doubling from 1/16 ms to 65.536 s, and the unbounded one. */
export const EXPOSED_BUCKETS: readonly ExposedBucket[] = exposedBuckets();

function exposedBuckets(): ExposedBucket[] {
  const buckets: ExposedBucket[] = [];
  for (let doubling = 0; doubling <= DOUBLINGS; doubling++) {
    const fineBuckets = 1 + doubling * PARTS;
    buckets.push({ leSeconds: bucketUpperMs(fineBuckets - 1) / 1000, fineBuckets });
  }
  buckets.push({ leSeconds: Number.POSITIVE_INFINITY, fineBuckets: HISTOGRAM_BUCKETS });
  return buckets;
}
