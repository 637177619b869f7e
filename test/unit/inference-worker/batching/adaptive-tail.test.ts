/**
 * Adaptive batching beside fixed knobs, in virtual time: at no rate is its p99 more than a tenth above that of the best of
 * nine pairs of size and timeout, whichever that is, and whatever runs cost. With a goal, p99 stays within it also when
 * more comes than can be carried, and what is refused is not much more than that.
 */
import t from 'tap';
import { capacityOf, type RunCost, simulate } from '../../../support/batching-simulation.ts';

const COSTS: Readonly<Record<string, RunCost>> = {
  'rows cost most': { msPerRow: 2, msPerBatch: 0.2, jitter: 0.2 },
  'rows and batches cost alike': { msPerRow: 0.47, msPerBatch: 0.93, jitter: 0.2 },
  'batches cost most, as on a device': { msPerRow: 0.05, msPerBatch: 8, jitter: 0.2 },
};
const SHARES = [0.25, 0.5, 0.75];
const SIZES = [8, 32, 64];
const TIMEOUTS_MICROS = [0, 2_000, 10_000];
const ARRIVALS = 1_500;
const MOST_OVER_BEST = 1.1;
const maxEnqueuedBatches = 100;

for (const [what, cost] of Object.entries(COSTS)) {
  t.test(`${what}: adaptive batching keeps up with the best fixed knobs`, async (t) => {
    for (const share of SHARES) {
      const load = { ratePerSecond: share * capacityOf(cost, 64), arrivals: ARRIVALS };
      const fixed = SIZES.flatMap((size) =>
        TIMEOUTS_MICROS.map((batchTimeoutMicros) => {
          const limits = { maxBatchSize: size, maxExecutionBatchSize: size };
          const knobs = { ...limits, batchTimeoutMicros, maxEnqueuedBatches, adaptive: false };
          return { name: `${size}/${batchTimeoutMicros}us`, ...simulate(knobs, cost, load) };
        }),
      );
      const able = fixed.filter(({ refused }) => refused === 0);
      const best = able.reduce((least, one) => (one.p99Ms < least.p99Ms ? one : least));
      const worst = fixed.reduce((most, one) => (one.p99Ms > most.p99Ms ? one : most));
      const knobs = { maxBatchSize: 64, batchTimeoutMicros: 5_000, maxEnqueuedBatches, adaptive: true };
      const own = simulate(knobs, cost, load);
      const figures = `p99 ${own.p99Ms.toFixed(1)} ms, best ${best.name} ${best.p99Ms.toFixed(1)}`;
      t.ok(own.refused === 0 && own.p99Ms <= MOST_OVER_BEST * best.p99Ms, `at ${share}: ${figures}`);
      t.ok(own.p99Ms < worst.p99Ms, `at ${share}: below the worst, ${worst.name} ${worst.p99Ms.toFixed(1)}`);
    }
  });
}

/** A p99 of few arrivals is not exact. */
const GOAL_TOLERANCE = 1.03;

for (const [what, cost] of Object.entries(COSTS)) {
  t.test(`${what}: a latency goal is kept, also under overload`, async (t) => {
    const capacity = capacityOf(cost, 64);
    for (const [share, goalMs] of [
      [0.5, 40],
      [0.9, 40],
      [1.3, 40],
      [1.3, 100],
    ] as const) {
      const load = { ratePerSecond: share * capacity, arrivals: 2 * ARRIVALS };
      const adaptive = { maxBatchSize: 64, batchTimeoutMicros: 5_000, maxEnqueuedBatches, adaptive: true };
      const { p99Ms, refused } = simulate({ ...adaptive, latencyObjectiveMs: goalMs }, cost, load);
      t.ok(p99Ms <= GOAL_TOLERANCE * goalMs, `at ${share}: p99 ${p99Ms.toFixed(1)} ms for a goal of ${goalMs}`);
      const refusedShare = refused / load.arrivals;
      const unavoidable = Math.max(0, 1 - 1 / share);
      t.ok(refusedShare <= unavoidable + 0.05, `at ${share}: ${refused} of ${load.arrivals} refused`);
    }
  });
}
