import fc from 'fast-check';
import t from 'tap';
import {
  bucketIndex,
  bucketUpperMs,
  EXPOSED_BUCKETS,
  HISTOGRAM_BUCKETS,
  HISTOGRAM_SLOTS,
  HISTOGRAM_SUM,
  histogramCount,
  quantileMs,
  recordLatency,
} from '../../../../proxy/stats/histogram.ts';
import { runs, seedFor } from '../../../support/fuzz-runs.ts';

t.test('bounds rise, each by a quarter of the last doubling', async (t) => {
  t.equal(bucketUpperMs(0), 0.0625);
  t.equal(bucketUpperMs(HISTOGRAM_BUCKETS - 2), 65_536);
  t.equal(bucketUpperMs(HISTOGRAM_BUCKETS - 1), Number.POSITIVE_INFINITY);
  for (let i = 1; i < HISTOGRAM_BUCKETS - 1; i++) {
    const ratio = bucketUpperMs(i) / bucketUpperMs(i - 1);
    t.ok(ratio > 1.14 && ratio <= 1.25, `bucket ${i}: ${ratio}`);
  }
});

t.test('a bucket contains its upper bound and not its lower one', async (t) => {
  for (let i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
    const upper = bucketUpperMs(i);
    t.equal(bucketIndex(upper), i);
    t.equal(bucketIndex(upper + 1 / 1024), i + 1);
  }
});

t.test('any value lies in the bucket it is counted in', async () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 200_000, noNaN: true }), (valueMs) => {
      const index = bucketIndex(valueMs);
      const lower = index === 0 ? 0 : bucketUpperMs(index - 1);
      // Inside the first bucket's resolution of 1/1024 ms a value may be counted just above its bound.
      return valueMs <= bucketUpperMs(index) && valueMs >= lower - 1 / 1024;
    }),
    { numRuns: runs(5_000), seed: seedFor(11) },
  );
});

t.test('what is no duration counts in the first bucket and leaves the sum alone', async (t) => {
  const cells = new Float64Array(HISTOGRAM_SLOTS);
  for (const value of [0, -5, Number.NaN, Number.NEGATIVE_INFINITY]) recordLatency(cells, 0, value);
  t.equal(cells[0], 4);
  recordLatency(cells, 0, Number.POSITIVE_INFINITY);
  t.equal(cells[HISTOGRAM_BUCKETS - 1], 1);
  t.equal(cells[HISTOGRAM_SUM], 0);
  t.equal(histogramCount(cells, 0), 5);
});

t.test('quantiles are within the width of a bucket of the exact ones', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.07, max: 60_000, noNaN: true }), { minLength: 1, maxLength: 300 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, q) => {
        const cells = new Float64Array(5 + HISTOGRAM_SLOTS);
        for (const value of values) recordLatency(cells, 5, value);
        const sorted = values.toSorted((a, b) => a - b);
        const exact = sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]!;
        const estimate = quantileMs(cells, 5, q);
        return estimate >= exact / 1.26 && estimate <= exact * 1.26;
      },
    ),
    { numRuns: runs(1_000), seed: seedFor(3) },
  );
});

t.test('quantiles at the ends: nothing counted, and values past the last bound', async (t) => {
  const cells = new Float64Array(HISTOGRAM_SLOTS);
  t.ok(Number.isNaN(quantileMs(cells, 0, 0.5)));
  recordLatency(cells, 0, 1e9);
  t.equal(quantileMs(cells, 0, 0.5), 65_536);
});

t.test('exposed buckets are whole numbers of fine ones', async (t) => {
  for (const { leSeconds, fineBuckets } of EXPOSED_BUCKETS) {
    t.equal(bucketUpperMs(fineBuckets - 1) / 1_000, leSeconds);
  }
  t.equal(EXPOSED_BUCKETS.length, 22);
  t.ok(EXPOSED_BUCKETS.some((bucket) => bucket.leSeconds === 0.001));
});
