/** Quantile sketches: how near, how small, and that they add up. */
import t from 'tap';
import { Analysis, evidenceTest } from '../../../../proxy/mirror/analysis.ts';
import { comparisonFigures } from '../../../../proxy/mirror/figures.ts';
import { mergeComparison } from '../../../../proxy/mirror/figures-merge.ts';
import type { ComparisonPolicy } from '../../../../proxy/mirror/messages.ts';
import type { PairRecord } from '../../../../proxy/mirror/pair-record.ts';
import {
  addValue,
  mergeStates,
  QuantileSketches,
  restoreSketches,
  sketchStates,
} from '../../../../proxy/mirror/quantiles.ts';
import { batch, floats, outputs, seeded } from './pairs.ts';

const COUNTS = { pairs: 0, unknownModel: 0, givenUp: 0, unreadable: 0 };
const POLICY: ComparisonPolicy = {
  model: 'm',
  cohort: { source: { kind: 'header', name: 'x-kind' }, maxCohorts: 5, names: {} },
};

/** Values over six orders of magnitude, as latencies have them. */
function values(seed: number, count: number): number[] {
  const random = seeded(seed);
  return Array.from({ length: count }, () => 10 ** (random() * 6 - 3));
}

function exact(sorted: readonly number[], quantile: number): number {
  return sorted[Math.floor(quantile * (sorted.length - 1))]!;
}

t.test('quantiles are within 1 % of the exact ones, whatever the scale', async (test) => {
  const all = values(1, 20_000);
  const sketches = new QuantileSketches();
  for (const value of all) addValue(sketches.primaryLatency, value);
  const { figures } = sketchStates(sketches).primaryLatency!;
  const sorted = all.toSorted((a, b) => a - b);
  for (const [name, quantile] of [
    ['p50', 0.5],
    ['p90', 0.9],
    ['p95', 0.95],
    ['p99', 0.99],
  ] as const) {
    const error = Math.abs(figures[name] / exact(sorted, quantile) - 1);
    test.ok(error < 0.011, `${name}: ${error}`);
  }
  test.equal(figures.count, 20_000);
  test.equal(figures.min, sorted[0]);
  test.equal(figures.max, sorted.at(-1));
});

t.test('sketches of several observers add up to that of one, through the bytes that cross threads', async (test) => {
  const whole = new QuantileSketches();
  const merged = new QuantileSketches();
  for (let part = 0; part < 8; part++) {
    const one = new QuantileSketches();
    for (const value of values(part + 1, 500)) {
      addValue(one.shadowScore, -value);
      addValue(whole.shadowScore, -value);
    }
    mergeStates(merged, structuredClone(sketchStates(restoreSketches(sketchStates(one)))));
  }
  const [expected, found] = [whole, merged].map((sketches) => sketchStates(sketches).shadowScore!.figures);
  test.ok(Math.abs(found!.mean / expected!.mean - 1) < 1e-9);
  test.same({ ...found, mean: 0 }, { ...expected, mean: 0 });
});

t.test('scores of exactly 1 survive a merge into sketches of smaller ones', async (test) => {
  // The bucket of 1 has number 0, which a sum by the library takes for none given.
  const [small, one] = [new QuantileSketches(), new QuantileSketches()];
  addValue(small.primaryScore, 0.001);
  for (let i = 0; i < 3; i++) addValue(one.primaryScore, 1);
  mergeStates(small, sketchStates(one));
  const { figures } = sketchStates(small).primaryScore!;
  test.match(figures, { count: 4, min: 0.001, max: 1 });
  test.ok(figures.p50 > 0.99, `${figures.p50}`);
});

t.test('values of any scale cost no more than the bound', async (test) => {
  const sketches = new QuantileSketches();
  for (let power = -300; power <= 300; power++) addValue(sketches.primaryScore, 10 ** power);
  test.ok(sketchStates(sketches).primaryScore!.bytes.length < 20_000);
  test.ok(Math.abs(sketchStates(sketches).primaryScore!.figures.p99 / 1e294 - 1) < 0.02);
});

t.test('values that are no numbers are left out, and zero and negative ones are not', async (test) => {
  const sketches = new QuantileSketches();
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 0, -2, 2]) addValue(sketches.primaryScore, value);
  const { figures } = sketchStates(sketches).primaryScore!;
  test.match(figures, { count: 3, min: -2, max: 2, p50: 0 });
  test.same(Object.keys(sketchStates(sketches)), ['primaryScore'], 'and nothing is told of what was not seen');
});

t.test('the analysis tells quantiles of both sides by cohort, goes on with them and merges them', async (test) => {
  const pairs = (from: number, to: number): PairRecord[] =>
    Array.from({ length: to - from }, (_, i) => {
      const latency = from + i + 1;
      const y = (score: number) => ({ y: floats([1, 2], [1 - score, score]) });
      return outputs(y(0.25), y(0.75), {
        cohort: i % 2 === 0 ? 'even' : 'odd',
        primaryLatencyMs: latency,
        shadowLatencyMs: 2 * latency,
      });
    });
  const process = (analysis: Analysis, all: readonly PairRecord[]) => {
    const { buffer, length } = batch(all);
    analysis.process(Buffer.from(buffer), length);
    return structuredClone(analysis.report(true)!.changed[0]!);
  };
  const test1 = evidenceTest(POLICY);
  const first = process(new Analysis([POLICY], [], COUNTS), pairs(0, 100));
  const second = process(new Analysis([POLICY], [structuredClone(first)], COUNTS), pairs(100, 200));
  const other = process(new Analysis([POLICY], [], COUNTS), pairs(100, 200));
  mergeComparison(first, other, test1);
  for (const sums of [second, first]) {
    const { quantiles, byCohort } = comparisonFigures(sums, test1);
    test.equal(quantiles.primaryLatency!.count, 200);
    test.ok(Math.abs(quantiles.primaryLatency!.p50 / 100 - 1) < 0.02, `${quantiles.primaryLatency!.p50}`);
    test.ok(Math.abs(quantiles.shadowLatency!.p99 / 397 - 1) < 0.02, `${quantiles.shadowLatency!.p99}`);
    test.ok(Math.abs(quantiles.shadowScore!.p50 - 0.75) < 0.01);
    test.ok(Math.abs(quantiles.primaryScore!.p50 - 0.25) < 0.01);
    test.equal(byCohort['even']!.quantiles.primaryLatency!.count, 100);
  }
});
