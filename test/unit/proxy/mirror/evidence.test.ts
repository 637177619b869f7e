import t from 'tap';
import { DEFAULT_EVIDENCE, type EvidencePolicy, EvidenceTest, logMeanExp } from '../../../../proxy/mirror/evidence.ts';
import { divergenceInterval } from '../../../../proxy/mirror/evidence-interval.ts';
import { seeded } from './pairs.ts';

const POLICY: EvidencePolicy = { harmLimit: 0.05, safetyLimit: 0.1, alpha: 0.05, streams: 1 };

/** Shares of runs that end in harm and in safety, and how many pairs they took on average. */
function simulate(policy: EvidencePolicy, runs: number, maxPairs: number, draw: () => number) {
  const test = new EvidenceTest(policy);
  let harm = 0;
  let safe = 0;
  let pairs = 0;
  for (let run = 0; run < runs; run++) {
    const sums = test.createSums();
    while (sums.pairs < maxPairs && sums.harmAtPairs === 0 && sums.safeAtPairs === 0) test.add(sums, draw());
    if (sums.harmAtPairs > 0) harm++;
    else if (sums.safeAtPairs > 0) safe++;
    pairs += sums.pairs;
  }
  return { harm: harm / runs, safe: safe / runs, meanPairs: pairs / runs };
}

function coin(random: () => number, probability: number): () => number {
  return () => (random() < probability ? 1 : 0);
}

t.test('at the limit at most alpha of the streams raise a false alarm, looked at after every pair', async (t) => {
  // A safety limit that is never reached, so that every run is watched for harm to its end.
  const { harm } = simulate({ ...POLICY, safetyLimit: 0.051 }, 600, 3000, coin(seeded(1), 0.05));
  t.ok(harm <= 0.05, `${harm} of the streams`);
  t.ok(harm > 0.005, 'and the bound is not idle');
});

t.test('10 % divergence against a 5 % limit is found in about 180 pairs on average', async (t) => {
  const { harm, meanPairs } = simulate({ ...POLICY, safetyLimit: 0.0501 }, 1000, 20_000, coin(seeded(2), 0.1));
  t.ok(harm > 0.98);
  t.ok(meanPairs > 150 && meanPairs < 200, `${meanPairs} pairs`);
});

t.test(
  'a shadow that always diverges is found within two pairs, one that never does is safe within fifty',
  async (t) => {
    t.ok(simulate(POLICY, 1, 100, () => 1).meanPairs <= 2);
    const never = simulate(POLICY, 1, 1000, () => 0);
    t.equal(never.safe, 1);
    t.ok(never.meanPairs < 50, `${never.meanPairs} pairs`);
  },
);

t.test('at the safety limit at most alpha of the streams are called safe', async (t) => {
  const { safe } = simulate({ ...POLICY, harmLimit: 0.0999 }, 600, 3000, coin(seeded(3), 0.1));
  t.ok(safe <= 0.05, `${safe} of the streams`);
});

t.test('twenty cohorts at the limit raise any false alarm in at most alpha of the releases', async (t) => {
  const test = new EvidenceTest({ ...POLICY, streams: 20 });
  const draw = coin(seeded(4), 0.05);
  const releases = 100;
  let alarms = 0;
  for (let release = 0; release < releases; release++) {
    const cohorts = Array.from({ length: 20 }, () => test.createSums());
    for (let i = 0; i < 500; i++) for (const cohort of cohorts) test.add(cohort, draw());
    if (cohorts.some((cohort) => cohort.harmAtPairs > 0)) alarms++;
  }
  t.ok(alarms / releases <= 0.05, `${alarms} of ${releases} releases`);
});

t.test('a model that disagrees with itself in 30 % is judged above its own noise', async (t) => {
  const policy = { harmLimit: 0.01, safetyLimit: 0.05, alpha: 0.05, streams: 1, noiseCorrected: true };
  const random = seeded(5);
  const difference = (excess: number) => () => (random() < 0.3 + excess ? 1 : 0) - (random() < 0.3 ? 1 : 0);
  const same = simulate(policy, 150, 20_000, difference(0));
  t.ok(same.safe >= 0.95 && same.harm <= 0.05, `the same model: ${JSON.stringify(same)}`);
  const worse = simulate(policy, 150, 20_000, difference(0.1));
  t.ok(worse.harm >= 0.95, `10 points worse: ${JSON.stringify(worse)}`);
  t.ok(worse.meanPairs < 600, `${worse.meanPairs} pairs`);
});

t.test('the evidence of eight observers adds up to that of one stream, in any order', async (t) => {
  const test = new EvidenceTest(POLICY);
  const random = seeded(6);
  const whole = test.createSums();
  const parts = Array.from({ length: 8 }, () => test.createSums());
  for (let i = 0; i < 4000; i++) {
    const x = random() < 0.07 ? random() : 0;
    test.add(whole, x);
    test.add(parts[i % 8]!, x);
  }
  const merged = test.createSums();
  for (const place of [3, 0, 7, 1, 6, 2, 5, 4]) test.merge(merged, parts[place]!);
  t.equal(merged.pairs, whole.pairs);
  t.ok(Math.abs(merged.distanceSum - whole.distanceSum) < 1e-9);
  for (let i = 0; i < whole.harm.length; i++) {
    t.ok(Math.abs(merged.harm[i]! - whole.harm[i]!) < 1e-9);
    t.ok(Math.abs(merged.safety[i]! - whole.safety[i]!) < 1e-9);
  }
});

t.test('what one observer found alone is no finding of the merged evidence', async (t) => {
  const test = new EvidenceTest(POLICY);
  const alarmed = test.createSums();
  for (let i = 0; i < 3; i++) test.add(alarmed, 1);
  t.ok(test.figures(alarmed).harm);
  const quiet = test.createSums();
  for (let i = 0; i < 500; i++) test.add(quiet, 0);
  test.merge(quiet, alarmed);
  t.notOk(test.figures(quiet).harm);
  t.equal(test.figures(quiet).verdict, 'safe');
});

t.test('a finding of harm stays, and outranks one of safety', async (t) => {
  const test = new EvidenceTest(POLICY);
  const sums = test.createSums();
  for (let i = 0; i < 5; i++) test.add(sums, 1);
  const at = sums.harmAtPairs;
  for (let i = 0; i < 2000; i++) test.add(sums, 0);
  const figures = test.figures(sums);
  t.equal(figures.verdict, 'harm');
  t.equal(figures.harmAtPairs, at);
  t.ok(figures.safe, 'the long run is safe all the same');
  t.ok(figures.harmLogEvidence < figures.harmLogThreshold, 'and the evidence now is below its threshold');
});

t.test('nothing seen is not known, and never safe', async (t) => {
  const test = new EvidenceTest();
  t.equal(test.figures(test.createSums()).verdict, 'inconclusive');
  t.strictSame(test.figures(test.createSums()).interval, [0, 1]);
  t.equal(test.policy, DEFAULT_EVIDENCE);
});

t.test('a distance outside its range counts as the worst, so that no bet can be ruined', async (t) => {
  const test = new EvidenceTest(POLICY);
  const sums = test.createSums();
  for (const x of [Number.NaN, 7, -7, Number.POSITIVE_INFINITY]) test.add(sums, x);
  t.equal(sums.distanceSum, 4);
  t.ok(Number.isFinite(logMeanExp(sums.harm)) && Number.isFinite(logMeanExp(sums.safety)));
});

t.test('error bars hold the true mean in all but alpha of the streams, at every look', async (t) => {
  const random = seeded(7);
  let missed = 0;
  for (let run = 0; run < 200; run++) {
    let sum = 0;
    for (let pairs = 1; pairs <= 400; pairs++) {
      sum += random() < 0.2 ? 1 : 0;
      if (pairs % 20 !== 0) continue;
      const [low, high] = divergenceInterval(pairs, sum, 0.05);
      if (low > 0.2 || high < 0.2) {
        missed++;
        break;
      }
    }
  }
  t.ok(missed / 200 <= 0.05, `${missed} of 200`);
});

t.test('error bars tighten with pairs and reach the ends where only one outcome was seen', async (t) => {
  const [low, high] = divergenceInterval(10_000, 1000, 0.05);
  t.ok(low > 0.08 && low < 0.1 && high > 0.1 && high < 0.12, `${low} to ${high}`);
  t.equal(divergenceInterval(100, 0, 0.05)[0], 0);
  t.equal(divergenceInterval(100, 100, 0.05)[1], 1);
  t.ok(divergenceInterval(100, 0, 0.05)[1] < 0.07);
});
