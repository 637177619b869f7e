/** The pair store: what is kept, what is not, and what a bad disk costs. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { answerPairs } from '../../../../proxy/admin/pairs-route.ts';
import { runPairsCommand } from '../../../../proxy/cli/pairs-command.ts';
import { Analysis } from '../../../../proxy/mirror/analysis.ts';
import type { ComparisonPolicy } from '../../../../proxy/mirror/messages.ts';
import { exportPairs } from '../../../../proxy/mirror/pair-export.ts';
import { PairKeeper } from '../../../../proxy/mirror/pair-keeper.ts';
import type { PairRecord } from '../../../../proxy/mirror/pair-record.ts';
import type { PairStoreOptions } from '../../../../proxy/mirror/store-counts.ts';
import { batch, floats, integers, outputs, request, seeded, strings } from './pairs.ts';

const NO_COUNTS = { pairs: 0, unknownModel: 0, givenUp: 0, unreadable: 0 };
const GOOD = { y: floats([1, 2], [0.8, 0.2]) };
const FLIPPED = { y: floats([1, 2], [0.3, 0.7]) };
const MIB = 1024 * 1024;

function folder(test: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'understudy-pairs-'));
  test.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function keeping(options: Partial<PairStoreOptions> & { path: string }, policy: Partial<ComparisonPolicy> = {}) {
  let nowMs = 1_700_000_000_000;
  const keeper = new PairKeeper({ maxPairs: 100, maxBytes: 64 * MIB, ...options }, seeded(5), () => nowMs);
  const cohort = { source: { kind: 'input', tensor: 'kind', buckets: [] }, maxCohorts: 5, names: {} } as const;
  const analysis = new Analysis([{ model: 'm', cohort, ...policy }], [], NO_COUNTS, keeper);
  return {
    keeper,
    analysis,
    pass: (ms: number) => {
      nowMs += ms;
    },
    process: (pairs: readonly PairRecord[]) => {
      const { buffer, length } = batch(pairs);
      analysis.process(Buffer.from(buffer), length);
    },
  };
}

/** Pair number `i`, which diverges or not. */
function numbered(i: number, diverges: boolean, more: object = {}): PairRecord {
  return outputs(GOOD, diverges ? FLIPPED : GOOD, {
    request: request({ kind: integers([1], [i]), name: strings([1], ['Ada']), ...more }),
  });
}

// biome-ignore lint/suspicious/noExplicitAny: exported lines are what they are
type Line = any;

async function lines(
  path: string,
  filter: Partial<{ model: string; kind: string; limit: number }> = {},
): Promise<Line[]> {
  const found: Line[] = [];
  for await (const page of exportPairs(path, { model: '', kind: '', limit: 1e9, ...filter })) {
    found.push(
      ...page
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    );
  }
  return found;
}

t.test('a pair is exported with its tensors, statuses, distance and cohort', async (test) => {
  const path = join(folder(test), 'pairs.db');
  const { process, keeper } = keeping({ path });
  process([numbered(7, true)]);
  keeper.store.close();
  const [line] = await lines(path);
  test.match(line, {
    kind: 'divergent',
    at: '2023-11-14T22:13:20.000Z',
    model: 'm',
    primary: 'm@1',
    shadow: 'm@2',
    cohorts: ['7'],
    protocol: 'tfs_grpc',
    method: 'Predict',
    distance: 1,
    primaryStatus: 0,
    primaryLatencyMs: 2,
    request: { kind: { dtype: 'INT64', shape: [1], values: [7] }, name: { dtype: 'STRING', values: ['Ada'] } },
    primaryAnswer: { y: { dtype: 'FLOAT', shape: [1, 2] } },
  });
  test.ok(Math.abs(line.shadowAnswer.y.values[1] - 0.7) < 1e-6);
});

t.test('the latest divergent pairs and a uniform sample of all are kept, and no more than the bound', async (test) => {
  const path = join(folder(test), 'pairs.db');
  const { process, keeper } = keeping({ path, maxPairs: 100 });
  for (let from = 0; from < 5000; from += 500) {
    process(Array.from({ length: 500 }, (_, i) => numbered(from + i, (from + i) % 10 === 0)));
  }
  test.match(keeper.store.counts, { pairs: 100, full: 0, locked: 0, corrupt: 0, failed: 0 });
  keeper.store.close();
  const all = await lines(path);
  const numbers = (kind: string) => all.filter((line) => line.kind === kind).map((line) => line.request.kind.values[0]);
  const divergent = numbers('divergent').toSorted((a, b) => a - b);
  test.equal(divergent.length, 80);
  test.equal(divergent[0], 4200, 'the latest eighty');
  const sample = numbers('sample');
  test.equal(sample.length, 20);
  const mean = sample.reduce((sum, number) => sum + number, 0) / sample.length;
  test.ok(mean > 1500 && mean < 3500, `drawn from all of them: mean ${mean}`);
});

t.test('redacted inputs and outputs are nowhere in the file, nor is a cohort they name', async (test) => {
  const path = join(folder(test), 'pairs.db');
  const { process, keeper } = keeping({ path }, { redact: ['name', 'kind', 'y'] });
  process([numbered(4711, true)]);
  keeper.store.close();
  const [line] = await lines(path);
  test.strictSame(line.request.name, { dtype: 'STRING', shape: [1], redacted: true });
  test.strictSame(line.cohorts, []);
  test.notMatch(JSON.stringify(line), /Ada|4711|0\.8/);
  const everything = keeping({ path: join(folder(test), 'pairs.db') }, { redact: ['*'] });
  everything.process([numbered(4711, true)]);
  everything.keeper.store.close();
  test.equal(everything.keeper.store.counts.written, 1);
});

t.test('a store that is opened again goes on where it was, another capacity begins anew', async (test) => {
  const path = join(folder(test), 'pairs.db');
  for (let run = 0; run < 2; run++) {
    const { process, keeper } = keeping({ path });
    process(Array.from({ length: 30 }, (_, i) => numbered(run * 30 + i, true)));
    keeper.store.close();
  }
  test.equal((await lines(path, { kind: 'divergent' })).length, 60);
  const larger = keeping({ path, maxPairs: 200 });
  larger.process([numbered(1, true)]);
  test.equal(larger.keeper.store.counts.pairs, 1);
  larger.keeper.store.close();
});

t.test('a full file costs the pairs that do not fit, and comparing goes on', async (test) => {
  const path = join(folder(test), 'pairs.db');
  const { process, analysis, keeper } = keeping({ path, maxPairs: 10_000, maxBytes: 256 * 1024 });
  const wide = { x: floats([500], new Array(500).fill(0.123456)) };
  for (let i = 0; i < 10; i++) process(Array.from({ length: 20 }, (_, k) => numbered(i * 20 + k, true, wide)));
  const { full, written, pairs } = keeper.store.counts;
  test.ok(full > 0 && written > 0, JSON.stringify(keeper.store.counts));
  test.equal(full + written, 200, 'each is accounted for');
  test.equal(pairs, written);
  test.equal(analysis.counts.pairs, 200);
  test.ok(statSync(path).size <= 256 * 1024);
  keeper.store.close();
});

t.test('a lock costs the pairs of its time', async (test) => {
  const path = join(folder(test), 'pairs.db');
  const { process, analysis, keeper } = keeping({ path });
  process([numbered(1, true)]);
  const other = new DatabaseSync(path, { timeout: 0 });
  other.exec('BEGIN IMMEDIATE');
  process([numbered(2, true), numbered(3, true)]);
  test.equal(keeper.store.counts.locked, 2);
  other.exec('ROLLBACK');
  other.close();
  process([numbered(4, true)]);
  test.match(keeper.store.counts, { pairs: 2, written: 2, locked: 2 });
  test.equal(analysis.counts.pairs, 4);
  keeper.store.close();
});

t.test('a file that is no database is set aside and begun anew', async (test) => {
  const home = folder(test);
  const path = join(home, 'pairs.db');
  writeFileSync(path, 'this is something else'.repeat(1000));
  const { process, keeper } = keeping({ path });
  process([numbered(1, true)]);
  process([numbered(2, true)]);
  test.match(keeper.store.counts, { corrupt: 1, written: 2, pairs: 2 });
  test.ok(existsSync(`${path}.corrupt`));
  keeper.store.close();
});

t.test('a folder that is not there is tried again after a while', async (test) => {
  const home = folder(test);
  const path = join(home, 'later', 'pairs.db');
  const { process, keeper, pass } = keeping({ path });
  process([numbered(1, true)]);
  test.match(keeper.store.counts, { failed: 1, written: 0 });
  test.same(readdirSync(home), []);
  rmSync(home, { recursive: true });
  mkdirSync(join(home, 'later'), { recursive: true });
  process([numbered(2, true)]);
  test.equal(keeper.store.counts.failed, 2, 'not at once');
  pass(6000);
  process([numbered(3, true)]);
  test.match(keeper.store.counts, { failed: 2, written: 1 });
  keeper.store.close();
});

t.test('the admin API and the command export the same lines, filtered and limited', async (test) => {
  const path = join(folder(test), 'pairs.db');
  const { process, keeper } = keeping({ path, maxPairs: 1000 });
  process(Array.from({ length: 300 }, (_, i) => numbered(i, i % 2 === 0)));
  const answer = await answerPairs(path, new URLSearchParams('kind=divergent&limit=100'));
  let text = '';
  for await (const part of answer.body) text += part;
  test.equal(answer.contentType, 'application/jsonl');
  test.equal(text.trimEnd().split('\n').length, 100);
  let printed = '';
  const io = {
    write: async (part: string) => {
      printed += part;
    },
    stderr: () => {},
    env: { UNDERSTUDY_PAIR_STORE: path },
  };
  test.equal(await runPairsCommand(['export', '--kind', 'divergent', '--limit', '100'], io), 0);
  test.equal(printed, text);
  test.equal(await runPairsCommand(['export', '--store', `${path}.none`], io), 1);
  test.equal(await runPairsCommand(['export', '--kind', 'odd'], io), 2);
  test.equal(await runPairsCommand([], io), 2);
  test.equal((await answerPairs(null, new URLSearchParams())).status, 404);
  test.equal((await answerPairs(path, new URLSearchParams('kind=x'))).status, 400);
  test.equal((await answerPairs(path, new URLSearchParams('limit=0'))).status, 400);
  keeper.store.close();
});
