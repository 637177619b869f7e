import t from 'tap';
import {
  addScores,
  createScores,
  driftFigures,
  mergeScores,
  SCORE_BINS,
  scoreBin,
  scoreBinUpper,
} from '../../../../proxy/mirror/score-histogram.ts';
import { seeded } from './pairs.ts';

t.test('every score lies between the borders of its bin', async (t) => {
  const random = seeded(1);
  for (let i = 0; i < 5000; i++) {
    const score = (random() - 0.5) * 2 ** (random() * 60 - 10);
    const bin = scoreBin(score);
    const lower = bin === 0 ? Number.NEGATIVE_INFINITY : scoreBinUpper(bin - 1);
    if (!(score >= lower && score <= scoreBinUpper(bin))) t.fail(`${score} in bin ${bin}`);
  }
});

t.test('bins ascend, from minus 2^23 to what has no bound', async (t) => {
  for (let bin = 1; bin < SCORE_BINS; bin++) t.ok(scoreBinUpper(bin) > scoreBinUpper(bin - 1), `bin ${bin}`);
  t.equal(scoreBin(0), scoreBin(0.049));
  t.not(scoreBin(0.05), scoreBin(0.049));
  t.equal(scoreBin(1), scoreBin(0.99));
  t.not(scoreBin(1.01), scoreBin(1));
  t.equal(scoreBinUpper(SCORE_BINS - 1), Number.POSITIVE_INFINITY);
  t.equal(scoreBin(1e300), SCORE_BINS - 1);
  t.equal(scoreBin(-1e300), 0);
});

t.test('the same scores on both sides are no drift', async (t) => {
  const sums = createScores();
  const random = seeded(2);
  for (let i = 0; i < 1000; i++) {
    const score = random();
    addScores(sums, score, score);
  }
  const { psi, klDivergence, jsDivergence, rows } = driftFigures(sums);
  t.equal(rows, 1000);
  t.strictSame([psi, klDivergence, jsDivergence], [0, 0, 0]);
});

t.test('PSI, KL and Jensen-Shannon are those of the shares', async (t) => {
  const sums = createScores();
  for (let i = 0; i < 100; i++) addScores(sums, i < 60 ? 0.1 : 0.9, i < 30 ? 0.1 : 0.9);
  const { psi, klDivergence, jsDivergence, bins } = driftFigures(sums);
  t.ok(Math.abs(psi - (0.3 * Math.log(2) + 0.3 * Math.log(0.7 / 0.4))) < 1e-12);
  t.ok(Math.abs(klDivergence - (0.3 * Math.log(0.5) + 0.7 * Math.log(0.7 / 0.4))) < 1e-12);
  const half = (p: number, m: number) => p * Math.log(p / m);
  const expected = (half(0.6, 0.45) + half(0.4, 0.55) + half(0.3, 0.45) + half(0.7, 0.55)) / 2;
  t.ok(Math.abs(jsDivergence - expected) < 1e-12);
  t.strictSame(
    bins.map(({ primary, shadow }) => [primary, shadow]),
    [
      [60, 30],
      [40, 70],
    ],
  );
});

t.test('distributions that share no bin stay finite', async (t) => {
  const sums = createScores();
  for (let i = 0; i < 10; i++) addScores(sums, -5, 5);
  const { psi, klDivergence, jsDivergence } = driftFigures(sums);
  t.ok(Number.isFinite(psi) && Number.isFinite(klDivergence));
  t.ok(jsDivergence > 0.5 && jsDivergence <= Math.LN2);
});

t.test('a score that is no number is left to the faults', async (t) => {
  const sums = createScores();
  addScores(sums, Number.NaN, 1);
  addScores(sums, 1, Number.POSITIVE_INFINITY);
  t.equal(driftFigures(sums).rows, 0);
});

t.test('counts of several observers add up exactly', async (t) => {
  const random = seeded(3);
  const whole = createScores();
  const parts = [createScores(), createScores(), createScores()];
  for (let i = 0; i < 900; i++) {
    const p = random() * 3 - 1;
    const s = random() * 3 - 1;
    addScores(whole, p, s);
    addScores(parts[i % 3]!, p, s);
  }
  const merged = createScores();
  for (const part of parts) mergeScores(merged, part);
  t.strictSame(driftFigures(merged), driftFigures(whole));
});
