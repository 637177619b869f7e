/** The statistics by which benches judge, held to sums over all outcomes. */
import t from 'tap';
import { leastBeyondChance, median, quantile } from './statistics.ts';

/** Probability of at least `least` successes, over every sequence of successes and failures. */
function tail(trials: number, chance: number, least: number): number {
  let sum = 0;
  for (let outcome = 0; outcome < 2 ** trials; outcome++) {
    let successes = 0;
    for (let bits = outcome; bits > 0; bits &= bits - 1) successes++;
    if (successes >= least) sum += chance ** successes * (1 - chance) ** (trials - successes);
  }
  return sum;
}

t.test('what is beyond chance is the least number that chance reaches rarely enough', async (t) => {
  for (const [trials, chance] of [
    [1, 1 / 3],
    [3, 1 / 3],
    [12, 1 / 3],
    [15, 1 / 3],
    [15, 0.5],
  ] as const) {
    const least = leastBeyondChance(trials, chance, 0.05);
    t.ok(tail(trials, chance, least) <= 0.05, `${least} of ${trials}`);
    t.ok(tail(trials, chance, least - 1) > 0.05, `${least - 1} of ${trials}`);
  }
  t.equal(leastBeyondChance(2, 1 / 3, 0.05), 3, 'two rounds say nothing');
});

t.test('the median and the quantiles of few values', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.equal(quantile(Float64Array.of(1, 2, 3, 4), 0.5), 2);
  t.equal(quantile(Float64Array.of(1, 2, 3, 4), 0.99), 4);
  t.ok(Number.isNaN(median([])) && Number.isNaN(quantile(new Float64Array(0), 0.5)));
});
