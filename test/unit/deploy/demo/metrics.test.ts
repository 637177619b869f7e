/** Metrics against values worked out by hand. */
import t from 'tap';
import { accuracy, agreement, areaUnderCurve, declineRate } from '../../../../deploy/demo/metrics.ts';

const scored = (...values: number[]) => Float64Array.from(values);
const outcomes = (...values: number[]) => Uint8Array.from(values);

t.test('the area under the curve counts the pairs ranked rightly', async (t) => {
  t.equal(areaUnderCurve(scored(0.1, 0.2, 0.8, 0.9), outcomes(0, 0, 1, 1)), 1);
  t.equal(areaUnderCurve(scored(0.9, 0.8, 0.2, 0.1), outcomes(0, 0, 1, 1)), 0);
  t.equal(areaUnderCurve(scored(0.1, 0.4, 0.35, 0.8), outcomes(0, 0, 1, 1)), 0.75);
});

t.test('tied scores count half', async (t) => {
  t.equal(areaUnderCurve(scored(0.5, 0.5, 0.5, 0.5), outcomes(0, 1, 0, 1)), 0.5);
  t.equal(areaUnderCurve(scored(0.2, 0.5, 0.5), outcomes(0, 0, 1)), 0.75);
});

t.test('the area under the curve is undefined without both classes', async (t) => {
  t.ok(Number.isNaN(areaUnderCurve(scored(0.1, 0.2), outcomes(1, 1))));
  t.ok(Number.isNaN(areaUnderCurve(scored(), outcomes())));
});

t.test('decisions are taken at one half', async (t) => {
  t.equal(agreement(scored(0.4, 0.6, 0.9, 0.1), scored(0.1, 0.9, 0.2, 0.3)), 0.75);
  t.equal(accuracy(scored(0.4, 0.6), outcomes(0, 0)), 0.5);
  t.equal(declineRate(scored(0.5, 0.51)), 0.5);
  t.ok(Number.isNaN(agreement(scored(), scored())));
});
