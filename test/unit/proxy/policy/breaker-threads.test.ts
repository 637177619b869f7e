import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { systemClock } from '../../../../base/clock.ts';
import { BreakerCells } from '../../../../proxy/policy/breaker-cells.ts';
import { describeBreaker } from '../../../../proxy/policy/breaker-view.ts';
import { POLICY } from './breaker-harness.ts';
import type { ThreadInput, ThreadResult } from './breaker-threads-worker.ts';

const THREADS = 4;

interface Run {
  readonly results: readonly ThreadResult[];
  readonly board: Int32Array;
  readonly cells: BreakerCells;
}

async function runThreads(scenario: ThreadInput['scenario']): Promise<Run> {
  const buffer = BreakerCells.allocate(1, THREADS);
  const board = new SharedArrayBuffer(32);
  const results = await Promise.all(
    Array.from({ length: THREADS }, async (_, thread) => {
      const workerData: ThreadInput = { scenario, buffer, board, threads: THREADS, thread };
      const worker = new Worker(new URL('./breaker-threads-worker.ts', import.meta.url), { workerData });
      const exited = once(worker, 'exit');
      const [result] = await once(worker, 'message');
      await exited;
      return result as ThreadResult;
    }),
  );
  return { results, board: new Int32Array(board), cells: new BreakerCells(buffer) };
}

t.test('four threads that count at once lose and invent nothing', async (t) => {
  const { cells } = await runThreads('count');
  const described = describeBreaker(cells, 0, { ...POLICY, windowMs: 600_000 }, systemClock.nowMs());
  t.equal(described.windowFailures, THREADS * 2_500);
  t.equal(described.windowSuccesses, THREADS * 7_500);
});

t.test('an opening by one thread is seen by three busy ones at their next request', async (t) => {
  const { results } = await runThreads('open');
  for (const result of results) {
    t.equal(result.sawOpen, true);
    t.equal(result.admittedLate, 0);
  }
  t.same(
    results.flatMap((result) => result.told),
    ['error_fraction'],
  );
});

t.test('four threads that fight for probes have one in flight at most', async (t) => {
  const { results, board, cells } = await runThreads('probe');
  const [inFlight, mostInFlight, probes] = [board[2]!, board[3]!, board[4]!];
  t.ok(probes >= 400, `${probes} probes`);
  t.equal(mostInFlight, 1);
  t.equal(inFlight, 0);
  const told = results.flatMap((result) => result.told);
  const count = (reason: string) => told.filter((name) => name === reason).length;
  t.equal(count('probe_started'), probes);
  t.equal(count('probe_failed') + count('probe_succeeded') + count('probe_returned'), probes);
  t.equal(count('probe_expired'), 0);
  t.equal(cells.clusters, 1);
});
