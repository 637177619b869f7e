import t from 'tap';
import { type FoundSlice, KEPT_ROWS, SliceFinder } from '../../../../proxy/mirror/slice-finder.ts';
import { seeded } from './pairs.ts';

const NUMBERS = 12;
const CATEGORY = NUMBERS;
const CATEGORICAL = [...new Array(NUMBERS).fill(false), true];

type Row = readonly number[];

/** Twelve numbers in 0..1 and a category of five, the later ones rarer. */
function drawRow(random: () => number): Row {
  return [...Array.from({ length: NUMBERS }, random), Math.floor(random() ** 1.5 * 5)];
}

function run(seed: number, rows: number, divergence: (row: Row) => number): { found: FoundSlice[]; rows: Row[] } {
  const random = seeded(seed);
  const finder = new SliceFinder(CATEGORICAL);
  const seen: Row[] = [];
  for (let i = 0; i < rows; i++) {
    const row = drawRow(random);
    seen.push(row);
    finder.add(row, random() < divergence(row) ? 1 : 0);
  }
  return { found: finder.found(), rows: seen };
}

function covers(slice: FoundSlice, row: Row): boolean {
  return slice.conditions.every(({ column, from, to }) => row[column]! >= from && row[column]! <= to);
}

for (const [what, planted] of [
  ['a range of one input', (row: Row) => row[3]! > 0.6 && row[3]! < 0.72],
  ['a category', (row: Row) => row[CATEGORY] === 3],
  ['a category above a border', (row: Row) => row[CATEGORY] === 1 && row[5]! > 0.6],
  ['a corner of two inputs', (row: Row) => row[2]! < 0.35 && row[5]! > 0.6],
] as const) {
  t.test(`a difference planted in ${what} ranks first within 2,000 pairs and covers its rows`, async (t) => {
    const runs = 4;
    let covered = 0;
    for (let seed = 1; seed <= runs; seed++) {
      const { found, rows } = run(seed * 31, 2000, (row) => (planted(row) ? 0.4 : 0.03));
      const inside = rows.filter(planted);
      if (found.length > 0 && inside.filter((row) => covers(found[0]!, row)).length >= 0.9 * inside.length) covered++;
    }
    t.equal(covered, runs);
  });
}

t.test('where nothing is planted at most 5 of 100 runs report a slice', async (t) => {
  let reported = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const { found } = run(seed, 1000, () => (seed % 2 === 0 ? 0.05 : 0.3));
    if (found.length > 0) reported++;
  }
  t.ok(reported <= 5, `${reported} of 100`);
});

t.test('an input that everything depends on is found though others follow it', async (t) => {
  const random = seeded(9);
  const finder = new SliceFinder([false, false]);
  for (let i = 0; i < 2000; i++) {
    const cause = random();
    finder.add([cause, cause + random() * 0.3], random() < (cause > 0.9 ? 0.5 : 0.02) ? 1 : 0);
  }
  const [first] = finder.found();
  t.ok(first!.conditions.some(({ column, from }) => column === 0 && from > 0.87 && from < 0.92));
});

t.test('missing values lie in no slice', async (t) => {
  const random = seeded(10);
  const finder = new SliceFinder([false]);
  for (let i = 0; i < 1500; i++) {
    const missing = random() < 0.5;
    const value = random();
    finder.add([missing ? Number.NaN : value], random() < (!missing && value > 0.8 ? 0.6 : 0.02) ? 1 : 0);
  }
  const [first] = finder.found();
  t.ok(Math.abs(first!.share - 0.1) < 0.03, `${first?.share}`);
  t.ok(first!.divergenceInside > 0.5 && first!.divergenceOutside < 0.05);
});

t.test('a difference that went away leaves the figures, not the finding', async (t) => {
  const random = seeded(11);
  const finder = new SliceFinder([false]);
  const feed = (rows: number, inside: number) => {
    for (let i = 0; i < rows; i++) {
      const value = random();
      finder.add([value], random() < (value > 0.8 ? inside : 0.02) ? 1 : 0);
    }
  };
  feed(1500, 0.6);
  t.ok(finder.found()[0]!.divergenceInside > 0.4);
  feed(2 * KEPT_ROWS, 0.02);
  t.equal(finder.found().length, 1);
  t.ok(finder.found()[0]!.divergenceInside < 0.1);
});
