/** The demo's randomness: repeatable, and distributed as its users suppose. */
import t from 'tap';
import { drawApplicant, EMPLOYMENT, FEATURES, POPULATION_MIX } from '../../../../deploy/demo/applicants.ts';
import { exactExp, logistic, SeededRandom } from '../../../../deploy/demo/random.ts';

t.test('one seed gives one sequence, another seed another', async (t) => {
  const take = (seed: number) => {
    const random = new SeededRandom(seed);
    return Array.from({ length: 5 }, () => random.uint32());
  };
  t.same(take(7), take(7));
  t.notSame(take(7), take(8));
  t.same(
    take(1),
    [393288148, 2174103013, 3814759091, 2092745082, 1865176206],
    'the sequence is part of the committed models',
  );
});

t.test('exactExp is within two units in the last place of Math.exp', async (t) => {
  for (let x = -30; x <= 30; x += 0.0137) {
    const expected = Math.exp(x);
    if (Math.abs(exactExp(x) - expected) > expected * 4.5e-16) t.fail(`exp(${x})`);
  }
  t.equal(exactExp(0), 1);
  t.ok(Number.isFinite(exactExp(1e9)));
  t.ok(exactExp(-1e9) > 0);
  t.equal(logistic(0), 0.5);
});

t.test('draws have the mean and spread they are named for', async (t) => {
  const random = new SeededRandom(3);
  const count = 20_000;
  let [uniform, normal, square, poisson] = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) {
    uniform += random.uniform();
    const draw = random.normal();
    normal += draw;
    square += draw * draw;
    poisson += random.poisson(1.5, 20);
  }
  t.ok(Math.abs(uniform / count - 0.5) < 0.01);
  t.ok(Math.abs(normal / count) < 0.02);
  t.ok(Math.abs(square / count - 1) < 0.03);
  t.ok(Math.abs(poisson / count - 1.5) < 0.03);
});

t.test('a shuffle keeps every item', async (t) => {
  const order = Uint32Array.from({ length: 100 }, (_, i) => i);
  new SeededRandom(5).shuffle(order);
  t.notSame([...order.slice(0, 5)], [0, 1, 2, 3, 4]);
  t.same(
    [...order].sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, i) => i),
  );
});

t.test('applicants are plausible and mixed as the population is', async (t) => {
  const random = new SeededRandom(9);
  const counts = EMPLOYMENT.map(() => 0);
  for (let i = 0; i < 5000; i++) {
    const applicant = drawApplicant(random);
    counts[applicant.employment]!++;
    const [age, income, yearsInWork, debtRatio] = applicant.features as unknown as readonly number[];
    if (applicant.features.length !== FEATURES.length) t.fail('one number for each column');
    if (age! < 18 || age! > 90 || income! <= 0 || yearsInWork! > age! - 17 || debtRatio! < 0) t.fail('implausible');
    if (!applicant.features.every(Number.isFinite) || applicant.risk <= 0 || applicant.risk >= 1) t.fail('not finite');
  }
  counts.forEach((count, i) => {
    t.ok(Math.abs(count / 5000 - POPULATION_MIX[i]!) < 0.02, EMPLOYMENT[i]!);
  });
});
