import t from 'tap';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import type { CohortPolicy, CohortSource } from '../../../../proxy/config/snapshot.ts';
import { CohortRows } from '../../../../proxy/mirror/cohort.ts';
import { CohortBudget, CohortTable } from '../../../../proxy/mirror/cohort-table.ts';
import type { PairRecord } from '../../../../proxy/mirror/pair-record.ts';
import { floats, framed, integers, NOTHING, pair, request, strings, tensor } from './pairs.ts';

const HEADER: CohortSource = { kind: 'header', name: 'x-segment' };
const EMPLOYMENT: CohortSource = { kind: 'input', tensor: 'employment', buckets: [] };
const AGE: CohortSource = { kind: 'input', tensor: 'age', buckets: [30, 50] };

function policy(source: CohortSource, names: Record<string, string> = {}, maxCohorts = 20): CohortPolicy {
  return { source, names, maxCohorts };
}

function tableFor(rules: CohortPolicy, budget = new CohortBudget(1000)): CohortTable {
  const table = new CohortTable(budget);
  table.apply(rules);
  return table;
}

const cohortRows = new CohortRows();

/** The cohort's name of every row. */
function resolve(rules: CohortPolicy, record: Partial<PairRecord>, rows = 1, table = tableFor(rules)): string[] {
  cohortRows.resolve(pair(record), rules, rows, table);
  const names: string[] = new Array(rows).fill('');
  for (let part = 0; part < cohortRows.cohorts.length; part++) {
    const name = table.names[cohortRows.cohorts[part]!]!;
    for (let i = cohortRows.starts[part]!; i < cohortRows.starts[part + 1]!; i++) names[cohortRows.order[i]!] = name;
  }
  return names;
}

t.test('without a source all pairs are one cohort', async (t) => {
  t.strictSame(resolve(policy({ kind: 'none' }), {}, 3), ['all', 'all', 'all']);
});

t.test('a header value is the cohort, by its configured name if it has one', async (t) => {
  const rules = policy(HEADER, { f: 'freelancer' });
  t.strictSame(resolve(rules, { cohort: 'f' }), ['freelancer']);
  t.strictSame(resolve(rules, { cohort: 'gold' }), ['gold']);
  t.strictSame(resolve(rules, { cohort: '' }), ['unknown']);
  t.equal(resolve(rules, { cohort: 'x'.repeat(500) })[0]!.length, 64);
});

t.test('names that every object has are cohorts like others', async (t) => {
  t.strictSame(resolve(policy(HEADER), { cohort: '__proto__' }), ['__proto__']);
  t.strictSame(resolve(policy(HEADER), { cohort: 'constructor' }), ['constructor']);
});

t.test('an input value is the cohort, whatever its type', async (t) => {
  const rules = policy(EMPLOYMENT, { '3': 'freelancer' });
  for (const [what, value, name] of [
    ['int64', integers([1], [3]), 'freelancer'],
    ['another int64', integers([1], [7]), '7'],
    ['float', floats([1], [3]), 'freelancer'],
    ['string', strings([1], ['3']), 'freelancer'],
    ['bool', tensor(DataType.BOOL, [1], { bool_val: [true] }), '1'],
    ['a scalar', integers([], [3]), 'freelancer'],
  ] as const) {
    t.strictSame(resolve(rules, { request: request({ employment: value }) }), [name], what);
  }
});

t.test('borders make buckets, and a border belongs to the bucket above it', async (t) => {
  const age = (value: number) => ({ request: request({ age: floats([1, 1], [value]) }) });
  t.strictSame(resolve(policy(AGE), age(29.5)), ['<30']);
  t.strictSame(resolve(policy(AGE), age(30)), ['30..50']);
  t.strictSame(resolve(policy(AGE), age(50)), ['>=50']);
  t.strictSame(resolve(policy(AGE, { '2': 'senior' }), age(80)), ['senior'], 'names go by bucket number');
  t.strictSame(resolve(policy(AGE), age(Number.NaN)), ['unknown']);
});

t.test('each row of a batch goes by its own value', async (t) => {
  const rules = policy(EMPLOYMENT, { '3': 'freelancer' });
  const body = request({ employment: integers([4, 2], [3, 0, 1, 0, 3, 0, 2, 0]) });
  t.strictSame(resolve(rules, { request: body }, 4), ['freelancer', '1', 'freelancer', '2']);
});

t.test('a value that is not one for each row speaks for all', async (t) => {
  const body = request({ employment: integers([1], [3]) });
  t.strictSame(resolve(policy(EMPLOYMENT), { request: body }, 3), ['3', '3', '3']);
});

t.test('a request that cannot be read leaves its cohort unknown', async (t) => {
  for (const [what, body] of [
    ['none kept', NOTHING],
    ['no such input', request({ other: integers([1], [3]) })],
    ['no elements', request({ employment: integers([0], []) })],
    ['no protobuf', framed(Buffer.from([0xff, 0xff]))],
    ['torn content', request({ employment: tensor(DataType.INT64, [1], { tensor_content: Buffer.alloc(3) }) })],
  ] as const) {
    t.strictSame(resolve(policy(EMPLOYMENT), { request: body }, 2), ['unknown', 'unknown'], what);
  }
});

t.test('cohorts beyond the bound are counted as other, but never the configured ones', async (t) => {
  const rules = policy(HEADER, { a: 'alpha', b: 'beta' }, 4);
  const table = tableFor(rules);
  const seen = ['1', '2', '3', 'a', '4', 'b', '1'].map((cohort) => resolve(rules, { cohort }, 1, table)[0]);
  t.strictSame(seen, ['1', '2', 'other', 'alpha', 'other', 'beta', '1']);
});

t.test('a spent budget sends new cohorts to other', async (t) => {
  const rules = policy(HEADER);
  const budget = new CohortBudget(2);
  const table = tableFor(rules, budget);
  t.strictSame(
    ['1', '2', '3', '1'].map((cohort) => resolve(rules, { cohort }, 1, table)[0]),
    ['1', '2', 'other', '1'],
  );
  table.release();
  t.equal(budget.left, 2);
});

t.test('a client that calls itself other or unknown takes no place from anybody', async (t) => {
  const rules = policy(HEADER, {}, 1);
  const table = tableFor(rules);
  t.strictSame(
    ['other', 'unknown', '1', '2'].map((cohort) => resolve(rules, { cohort }, 1, table)[0]),
    ['other', 'unknown', '1', 'other'],
  );
});
