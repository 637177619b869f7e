import t from 'tap';
import { Analysis, evidenceTest, MAX_COMPARISONS } from '../../../../proxy/mirror/analysis.ts';
import { comparisonFigures } from '../../../../proxy/mirror/figures.ts';
import { mergeComparison } from '../../../../proxy/mirror/figures-merge.ts';
import type { AnalysisCounts, ComparisonFigures, ComparisonPolicy } from '../../../../proxy/mirror/messages.ts';
import type { PairRecord } from '../../../../proxy/mirror/pair-record.ts';
import { answer, batch, floats, integers, outputs, pair, request, seeded, strings } from './pairs.ts';

const NO_COUNTS: AnalysisCounts = { pairs: 0, unknownModel: 0, givenUp: 0, unreadable: 0 };
const PLAIN: ComparisonPolicy = { model: 'm', cohort: { source: { kind: 'none' }, maxCohorts: 1, names: {} } };
const BY_EMPLOYMENT: ComparisonPolicy = {
  model: 'm',
  cohort: {
    source: { kind: 'input', tensor: 'employment', buckets: [] },
    maxCohorts: 20,
    names: { '0': 'employee', '3': 'freelancer' },
  },
};

const GOOD = { y: floats([1, 2], [0.8, 0.2]) };
const FLIPPED = { y: floats([1, 2], [0.3, 0.7]) };

function process(analysis: Analysis, pairs: readonly PairRecord[]): void {
  const { buffer, length } = batch(pairs);
  analysis.process(Buffer.from(buffer), length);
}

function figuresOf(analysis: Analysis, policy: ComparisonPolicy): ComparisonFigures[] {
  return analysis.report(true)!.changed.map((sums) => comparisonFigures(sums, evidenceTest(policy)));
}

t.test('pairs, agreement, differences, faults and statuses are told per comparison', async (t) => {
  const analysis = new Analysis([PLAIN], [], NO_COUNTS);
  process(analysis, [
    outputs(GOOD, GOOD),
    outputs(GOOD, FLIPPED, { shadowLatencyMs: 12 }),
    outputs(GOOD, { y: floats([1, 2], [Number.NaN, 0.2]) }),
    outputs(GOOD, {}),
    pair({ primaryBody: answer(GOOD), shadowStatus: 14 }),
    pair({ primaryStatus: 14, shadowStatus: 14 }),
  ]);
  const [found] = figuresOf(analysis, PLAIN);
  t.match(found, {
    model: 'm',
    primary: 'm@1',
    shadow: 'm@2',
    rule: 'top_class',
    pairs: 6,
    rows: 4,
    agreement: 0.25,
    faults: { nan: 1, missing_output: 1 },
    primaryFaults: {},
    statusDifferences: 1,
    divergence: 0.8,
  });
  t.ok(Math.abs(found!.maxAbsDifference - 0.5) < 1e-6);
  t.equal(found!.latencyDifferenceMs, (3 * 3 + 10) / 4);
  t.strictSame(Object.keys(found!.byCohort), ['all']);
  t.equal(found!.byCohort['all']!.pairs, 6);
  t.doesNotThrow(() => JSON.stringify(found));
  t.notMatch(JSON.stringify(found), /NaN|Infinity/);
});

t.test('a cohort in which the shadow is wrong stands out', async (t) => {
  const analysis = new Analysis([BY_EMPLOYMENT], [], NO_COUNTS);
  const random = seeded(1);
  const pairs: PairRecord[] = [];
  for (let i = 0; i < 400; i++) {
    const freelancer = random() < 0.1;
    const wrong = random() < (freelancer ? 0.5 : 0.02);
    pairs.push(
      outputs(GOOD, wrong ? FLIPPED : GOOD, { request: request({ employment: integers([1], [freelancer ? 3 : 0]) }) }),
    );
  }
  process(analysis, pairs);
  const { byCohort, agreement } = figuresOf(analysis, BY_EMPLOYMENT)[0]!;
  t.strictSame(Object.keys(byCohort).sort(), ['employee', 'freelancer']);
  t.ok(byCohort['freelancer']!.agreement! < 0.7);
  t.ok(byCohort['employee']!.agreement! > 0.95);
  t.ok(agreement! > 0.9, 'which the total does not show');
  t.equal(byCohort['freelancer']!.evidence.verdict, 'harm');
  t.ok(byCohort['freelancer']!.evidence.harmAtPairs! < 40);
  t.equal(byCohort['employee']!.evidence.verdict, 'safe');
});

t.test('rows of one batch count in their own cohorts, as one pair in each', async (t) => {
  const analysis = new Analysis([BY_EMPLOYMENT], [], NO_COUNTS);
  const primary = { y: floats([3, 2], [1, 0, 1, 0, 1, 0]) };
  const shadow = { y: floats([3, 2], [1, 0, 0, 1, 1, 0]) };
  process(analysis, [outputs(primary, shadow, { request: request({ employment: integers([3], [0, 3, 0]) }) })]);
  const [found] = figuresOf(analysis, BY_EMPLOYMENT);
  t.match(found, { pairs: 1, rows: 3, agreement: 2 / 3 });
  t.match(found!.byCohort['employee'], { pairs: 1, rows: 2, agreement: 1, divergence: 0 });
  t.match(found!.byCohort['freelancer'], { pairs: 1, rows: 1, agreement: 0, divergence: 1 });
});

t.test('reports hold what changed since the last one', async (t) => {
  const analysis = new Analysis([BY_EMPLOYMENT], [], NO_COUNTS);
  const from = (kind: number, shadow: string) =>
    outputs(GOOD, GOOD, { shadow, request: request({ employment: integers([1], [kind]) }) });
  t.equal(analysis.report(false), null, 'nothing');
  process(analysis, [from(0, 'a'), from(3, 'a'), from(0, 'b')]);
  t.equal(analysis.report(false)!.changed.length, 2);
  t.equal(analysis.report(false), null);
  process(analysis, [from(3, 'a')]);
  const { changed, complete } = analysis.report(false)!;
  t.notOk(complete);
  t.strictSame(
    changed.map(({ shadow, cohorts }) => [shadow, cohorts.map(({ name }) => name)]),
    [['a', ['freelancer']]],
  );
  t.equal(analysis.report(true)!.changed.length, 2, 'all of it when asked');
});

t.test('an analysis goes on where the one before it had stopped', async (t) => {
  const pairs = Array.from({ length: 60 }, (_, i) =>
    outputs(GOOD, i % 4 === 0 ? FLIPPED : GOOD, { request: request({ employment: integers([1], [i % 5]) }) }),
  );
  const whole = new Analysis([BY_EMPLOYMENT], [], NO_COUNTS);
  process(whole, pairs);
  const first = new Analysis([BY_EMPLOYMENT], [], NO_COUNTS);
  process(first, pairs.slice(0, 25));
  const second = new Analysis([BY_EMPLOYMENT], structuredClone(first.report(true)!.changed), first.counts);
  process(second, pairs.slice(25));
  t.strictSame(figuresOf(second, BY_EMPLOYMENT), figuresOf(whole, BY_EMPLOYMENT));
  t.equal(second.counts.pairs, 60);
});

t.test('figures of several observers add up to those of one', async (t) => {
  const pairs = Array.from({ length: 80 }, (_, i) =>
    outputs(GOOD, i % 3 === 0 ? FLIPPED : GOOD, { request: request({ employment: integers([1], [i % 4]) }) }),
  );
  const whole = new Analysis([BY_EMPLOYMENT], [], NO_COUNTS);
  process(whole, pairs);
  const [left, right] = [0, 1].map((side) => {
    const part = new Analysis([BY_EMPLOYMENT], [], NO_COUNTS);
    process(
      part,
      pairs.filter((_, i) => i % 2 === side),
    );
    return part.report(true)!.changed[0]!;
  });
  const test = evidenceTest(BY_EMPLOYMENT);
  mergeComparison(left!, right!, test);
  const merged = comparisonFigures(left!, test);
  const expected = figuresOf(whole, BY_EMPLOYMENT)[0]!;
  for (const name of ['pairs', 'rows', 'agreement', 'maxAbsDifference', 'faults', 'statusDifferences'] as const) {
    t.strictSame(merged[name], expected[name], name);
    for (const cohort of Object.keys(expected.byCohort)) {
      t.strictSame(merged.byCohort[cohort]![name], expected.byCohort[cohort]![name], `${name} of ${cohort}`);
    }
  }
  t.strictSame(merged.scores, expected.scores);
});

t.test('a model without a policy is counted and left alone', async (t) => {
  const analysis = new Analysis([PLAIN], [], NO_COUNTS);
  process(analysis, [outputs(GOOD, GOOD, { model: 'gone' }), outputs(GOOD, GOOD)]);
  t.match(analysis.counts, { pairs: 1, unknownModel: 1 });
  analysis.setPolicies([{ ...PLAIN, model: 'next' }]);
  const { complete, changed } = analysis.report(false)!;
  t.ok(complete, 'what is forgotten is told');
  t.equal(changed.length, 0);
});

t.test('one comparison more than are kept costs the quietest its place', async (t) => {
  const analysis = new Analysis([PLAIN], [], NO_COUNTS);
  for (let i = 0; i < MAX_COMPARISONS; i++) process(analysis, [outputs(GOOD, GOOD, { shadow: `s${i}` })]);
  process(analysis, [outputs(GOOD, GOOD, { shadow: 's0' })]);
  process(analysis, [outputs(GOOD, GOOD, { shadow: 'one more' })]);
  const names = analysis.report(true)!.changed.map(({ shadow }) => shadow);
  t.equal(names.length, MAX_COMPARISONS);
  t.ok(names.includes('s0') && names.includes('one more'));
  t.notOk(names.includes('s1'));
  t.equal(analysis.counts.givenUp, 1);
});

t.test('limits that are changed begin new evidence and keep the figures', async (t) => {
  const strict = { ...PLAIN, harmLimit: 0.01, safetyLimit: 0.02, alpha: 0.05, streams: 1 };
  const analysis = new Analysis([PLAIN], [], NO_COUNTS);
  process(analysis, [outputs(GOOD, FLIPPED), outputs(GOOD, FLIPPED), outputs(GOOD, FLIPPED)]);
  analysis.setPolicies([strict]);
  process(analysis, [outputs(GOOD, GOOD)]);
  const [found] = figuresOf(analysis, strict);
  t.match(found, { pairs: 4, agreement: 0.25, evidence: { pairs: 1, harmLimit: 0.01, verdict: 'inconclusive' } });
});

t.test('a batch that cannot be read is counted and harms nothing', async (t) => {
  const analysis = new Analysis([PLAIN], [], NO_COUNTS);
  const random = seeded(2);
  for (let i = 0; i < 300; i++) {
    const { buffer, length } = batch([outputs(GOOD, GOOD), outputs(GOOD, FLIPPED)]);
    const bytes = Buffer.from(buffer);
    for (let k = 0; k < 8; k++) bytes[Math.floor(random() * length)] = Math.floor(random() * 256);
    analysis.process(bytes, length);
  }
  // A record that says it has no length would be read for ever.
  analysis.process(Buffer.alloc(400), 400);
  t.ok(analysis.counts.unreadable > 0);
  process(analysis, [outputs(GOOD, GOOD, { shadow: 'after' })]);
  t.ok(analysis.report(true)!.changed.some(({ shadow, total }) => shadow === 'after' && total.agreeing === 1));
});

t.test('a slice of the inputs that no configuration names is found and told by their names', async (t) => {
  const analysis = new Analysis([PLAIN], [], NO_COUNTS);
  const random = seeded(3);
  for (let i = 0; i < 15; i++) {
    const pairs: PairRecord[] = [];
    for (let k = 0; k < 100; k++) {
      const amounts = [random() * 100, random() * 100];
      const town = random() < 0.3 ? 'Lund' : 'Oslo';
      const wrong = random() < (town === 'Lund' && amounts[1]! > 60 ? 0.6 : 0.02);
      const body = request({
        amounts: floats([1, 2], amounts),
        town: strings([1], [town]),
        image: floats([1, 80], []),
      });
      pairs.push(outputs(GOOD, wrong ? FLIPPED : GOOD, { request: body }));
    }
    process(analysis, pairs);
  }
  const [first] = figuresOf(analysis, PLAIN)[0]!.slices;
  t.strictSame(first!.where.map(({ input }) => input).sort(), ['amounts[1]', 'town']);
  const amount = first!.where.find(({ input }) => input === 'amounts[1]')!;
  t.ok(amount.from! > 55 && amount.from! < 63, `${amount.from}`);
  t.equal(amount.to, null, 'open above');
  t.equal(first!.where.find(({ input }) => input === 'town')!.equals, 'Lund');
  t.ok(first!.divergenceInside > 0.4);
  t.ok(first!.foundAtRows <= 1500);
});
