import t from 'tap';
import { Distribution, LATENCY_BOUNDS_MS } from '../../../../inference-worker/metrics/distribution.ts';
import { FamilySet, mergeFamilies, renderFamilies } from '../../../../inference-worker/metrics/metric-family.ts';

t.test('an observation falls into the bucket whose upper bound holds it, bounds included', async (t) => {
  for (let i = 0; i < LATENCY_BOUNDS_MS.length; i++) {
    const at = Distribution.latency();
    at.record(LATENCY_BOUNDS_MS[i]!);
    t.equal(at.counts[i], 1, `${LATENCY_BOUNDS_MS[i]} ms`);
    const above = Distribution.latency();
    above.record(LATENCY_BOUNDS_MS[i]! * 1.0001);
    t.equal(above.counts[i + 1], 1);
  }
  const sizes = Distribution.size();
  for (const size of [0, 1, 2, 3, 4, 5, 8, 9, 2 ** 20, 2 ** 20 + 1]) sizes.record(size);
  t.same([...sizes.counts.slice(0, 7)], [1, 1, 1, 2, 2, 1, 0]);
  t.same([...sizes.counts.slice(-2)], [1, 1]);
  t.equal(sizes.bounds.length + 1, sizes.counts.length);
});

t.test('a quantile is the bound of its bucket', async (t) => {
  const sizes = Distribution.size();
  t.ok(Number.isNaN(sizes.quantile(0.5)));
  sizes.record(4, 99);
  sizes.record(60);
  t.equal(sizes.quantile(0.5), 4);
  t.equal(sizes.quantile(1), 64);
});

t.test('families of several processes are added up by labels and rendered as Prometheus reads them', async (t) => {
  const one = new FamilySet();
  const other = new FamilySet();
  for (const [set, value] of [
    [one, 2],
    [other, 3],
  ] as const) {
    const sizes = Distribution.size();
    sizes.record(value);
    set.counter('a_total', 'As.', { model: 'm' }, value);
    set.counter('a_total', 'As.', { model: `only ${value}` }, 1);
    set.histogram('rows', 'Rows.', { model: 'm' }, sizes);
    set.gauge('known', 'Known.', {}, Number.NaN);
  }
  const text = await renderFamilies(mergeFamilies([one.list(), other.list()]));
  t.match(text, '# HELP a_total As.\n# TYPE a_total counter\na_total{model="m"} 5\na_total{model="only 2"} 1\n');
  t.match(text, /rows_bucket\{model="m",le="2"\} 1\nrows_bucket\{model="m",le="4"\} 2\n/);
  t.match(text, /rows_bucket\{model="m",le="\+Inf"\} 2\nrows_sum\{model="m"\} 5\nrows_count\{model="m"\} 2\n/);
  t.notMatch(text, /^known/m, 'what is not known is left out');
});
