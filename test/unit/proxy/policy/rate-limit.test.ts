/** Token buckets under virtual time: what they let pass, what they lose to rounding (nothing), and what threads share. */
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import type { RateLimitSnapshot } from '../../../../proxy/config/guard-snapshot.ts';
import { GuardCells, GuardCount } from '../../../../proxy/policy/guard-cells.ts';
import { RateLimit } from '../../../../proxy/policy/rate-limit.ts';
import { runs } from '../../../support/fuzz-runs.ts';

const ORIGIN_MS = 1_700_000_000_000;
const newCells = () => new GuardCells(GuardCells.allocate(4, ORIGIN_MS));
const limit = (more: Partial<RateLimitSnapshot> = {}): RateLimitSnapshot => ({
  name: 'l',
  subject: { kind: 'model', name: 'm' },
  ratePerMs: 0.1,
  burst: 5,
  enabledHundredths: 10_000,
  enforcedHundredths: 10_000,
  place: 1,
  ...more,
});
const take = (cells: GuardCells, policy: RateLimitSnapshot, nowMs: number, tries: number) => {
  let taken = 0;
  for (let i = 0; i < tries; i++) if (cells.tryTake(policy.place, policy, nowMs)) taken++;
  return taken;
};

t.test('a bucket begins full, empties, and fills at its rate up to its burst', async (test) => {
  const cells = newCells();
  const policy = limit();
  test.equal(take(cells, policy, ORIGIN_MS, 20), 5);
  test.equal(take(cells, policy, ORIGIN_MS + 49, 20), 0, 'not filled before 50 ms');
  test.equal(take(cells, policy, ORIGIN_MS + 50, 20), 5);
  test.equal(take(cells, policy, ORIGIN_MS + 80, 20), 0);
  test.equal(take(cells, policy, ORIGIN_MS + 100, 20), 5);
  test.equal(take(cells, policy, ORIGIN_MS + 60_000, 100), 5, 'no more than the burst');
});

t.test(
  'over a long time as many pass as the rate allows, however slow it is and however often it is asked',
  async () => {
    const gaps = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 50, maxLength: 200 });
    fc.assert(
      fc.property(
        fc.double({ min: 0.0001, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 50 }),
        gaps,
        (rate, burst, steps) => {
          const cells = newCells();
          // A burst of at least what comes in between two looks, so that none of it is lost to the bound.
          const policy = limit({ ratePerMs: rate, burst: Math.ceil(burst + 450 * rate) });
          let nowMs = ORIGIN_MS;
          let taken = 0;
          for (const step of steps) {
            nowMs += step;
            taken += take(cells, policy, nowMs, policy.burst + 10);
          }
          const most = policy.burst + (nowMs - ORIGIN_MS) * rate;
          // What is still to be filled in: less than 50 ms' worth, a whole request, and a thousandth for each look.
          const least = most - 450 * rate - 2 - steps.length / 1000 - steps.length * rate;
          return taken <= most + 1 && taken >= least;
        },
      ),
      { numRuns: runs(100) },
    );
  },
);

t.test('a bucket that was left alone for longer than its clock counts is full again', async (test) => {
  const cells = newCells();
  const policy = limit();
  take(cells, policy, ORIGIN_MS, 20);
  test.equal(take(cells, policy, ORIGIN_MS + 30 * 86_400_000, 20), 5);
  test.equal(take(cells, policy, ORIGIN_MS + 30 * 86_400_000 + 50, 20), 5, 'and goes on');
});

t.test('enabled and enforced are shares, and what is above the limit is counted either way', async (test) => {
  const cells = newCells();
  const values = [0.2, 0.7];
  let turn = 0;
  const random = () => values[turn++ % 2]!;
  const off = new RateLimit(limit({ enabledHundredths: 0 }), cells);
  for (let i = 0; i < 20; i++) test.ok(off.admits(ORIGIN_MS, random));
  const half = new RateLimit(limit({ place: 2, burst: 1, enforcedHundredths: 5000 }), cells);
  test.ok(half.admits(ORIGIN_MS, random));
  turn = 0;
  test.same([half.admits(ORIGIN_MS, random), half.admits(ORIGIN_MS, random)], [false, true]);
  test.same([cells.read(2, GuardCount.ACTED), cells.read(2, GuardCount.PASSED)], [1, 1]);
});

t.test('threads together take no more than one bucket holds', async (test) => {
  const buffer = GuardCells.allocate(4, ORIGIN_MS);
  const policy = limit({ burst: 10_000 });
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(({ GuardCells }) => {
      const cells = new GuardCells(workerData.buffer);
      let taken = 0;
      for (let i = 0; i < 9000; i++) if (cells.tryTake(1, workerData.policy, workerData.nowMs)) taken++;
      parentPort.postMessage(taken);
    });`;
  const module = new URL('../../../../proxy/policy/guard-cells.ts', import.meta.url).href;
  const workerData = { buffer, policy, module, nowMs: ORIGIN_MS };
  const counts = await Promise.all(
    [1, 2].map(() => {
      const worker = new Worker(code, { eval: true, workerData });
      return new Promise<number>((resolve, reject) => worker.on('message', resolve).on('error', reject));
    }),
  );
  const total = counts[0]! + counts[1]!;
  test.ok(total <= 10_000, String(total));
  // An overdraft that is given back can turn away the other thread for that instant, never more often than it happens.
  test.ok(total >= 9_900, String(total));
});
