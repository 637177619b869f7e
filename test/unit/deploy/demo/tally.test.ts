/** Counting and quantiles, against values known in advance. */
import t from 'tap';
import { LatencyQuantiles } from '../../../../deploy/demo/latency-quantiles.ts';
import { Tally } from '../../../../deploy/demo/tally.ts';

const answered = (answeredBy: string, latencyMs: number) => ({
  answeredBy,
  failure: '',
  sentAtMs: 0,
  endedAtMs: latencyMs,
});
const failed = (failure: string) => ({ answeredBy: '', failure, sentAtMs: 0, endedAtMs: 1 });

t.test('quantiles are at most two percent too high', async (t) => {
  const quantiles = new LatencyQuantiles();
  for (let i = 1; i <= 1000; i++) quantiles.record(i / 10);
  for (const fraction of [0.01, 0.5, 0.9, 0.99, 1]) {
    const exact = fraction * 100;
    const found = quantiles.quantile(fraction);
    t.ok(found >= exact * 0.9999 && found <= exact * 1.0201, `${fraction}: ${found} for ${exact}`);
  }
});

t.test('quantiles hold out of range values and none at all', async (t) => {
  const quantiles = new LatencyQuantiles();
  t.ok(Number.isNaN(quantiles.quantile(0.5)));
  quantiles.record(0);
  quantiles.record(1e9);
  t.equal(quantiles.count, 2);
  t.ok(quantiles.quantile(0.5) <= 0.0102);
  t.ok(quantiles.quantile(1) >= 60_000);
  quantiles.clear();
  t.equal(quantiles.count, 0);
});

t.test('a tally counts answers by model and failures by status', async (t) => {
  const tally = new Tally();
  for (let i = 0; i < 3; i++) tally.record(answered('credit-risk@1', 2));
  tally.record(answered('credit-risk-lite@1', 4));
  tally.record(failed('UNAVAILABLE'));
  t.equal(tally.requests, 5);
  t.equal(tally.failed, 1);
  t.same(Object.fromEntries(tally.answeredBy), { 'credit-risk@1': 3, 'credit-risk-lite@1': 1 });
  t.same(Object.fromEntries(tally.failures), { UNAVAILABLE: 1 });
  const { perSecond, p50Ms } = tally.summary(2000);
  t.equal(perSecond, 2.5);
  t.ok(p50Ms >= 2 && p50Ms < 2.05);
});

t.test('a window starts empty after it was taken, the whole goes on', async (t) => {
  const tally = new Tally();
  tally.record(answered('credit-risk@1', 2));
  t.equal(tally.takeWindow(1000).perSecond, 1);
  tally.record(answered('credit-risk-lite@1', 8));
  const window = tally.takeWindow(1000);
  t.same([...window.answeredBy], [['credit-risk-lite@1', 1]]);
  t.ok(window.p50Ms >= 8);
  t.equal(tally.takeWindow(1000).perSecond, 0);
  t.equal(tally.requests, 2);
});

t.test('names beyond the bound share one count', async (t) => {
  const tally = new Tally();
  for (let i = 0; i < 100; i++) tally.record(answered(`m@${i}`, 1));
  t.ok(tally.answeredBy.size <= 33);
  t.equal(tally.answeredBy.get('other'), 68);
});
