/** When a hedge begins: a fixed time, or a quantile of what the primary has needed lately. */
import t from 'tap';
import { HedgeTiming } from '../../../../proxy/policy/hedge-timing.ts';

/** A fixed sequence of uniform numbers, 0..1. */
function uniform(): () => number {
  let state = 12_345;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

t.test('a fixed time is known from the first request and learns nothing', async (test) => {
  const timing = new HedgeTiming({ ms: 50, quantile: 0 });
  for (let i = 0; i < 500; i++) timing.record(1000);
  test.equal(timing.afterMs, 50);
});

t.test('a quantile is unknown before it has been seen often enough, then right within a tenth', async (test) => {
  const timing = new HedgeTiming({ ms: 0, quantile: 0.95 });
  const next = uniform();
  for (let i = 0; i < 49; i++) timing.record(100 * next());
  test.equal(timing.afterMs, -1);
  for (let i = 0; i < 1000; i++) timing.record(100 * next());
  test.ok(timing.afterMs > 90 && timing.afterMs < 106, `${timing.afterMs} ms`);
});

t.test('it follows a primary that has become slower or faster', async (test) => {
  const timing = new HedgeTiming({ ms: 0, quantile: 0.95 });
  const next = uniform();
  for (let i = 0; i < 5000; i++) timing.record(10 * next());
  test.ok(timing.afterMs < 12, `${timing.afterMs} ms`);
  for (let i = 0; i < 5000; i++) timing.record(200 * next());
  test.ok(timing.afterMs > 150, `${timing.afterMs} ms`);
  for (let i = 0; i < 12_000; i++) timing.record(10 * next());
  test.ok(timing.afterMs < 12, `${timing.afterMs} ms`);
});

/*
 * Scenario: every request above the quantile is hedged, and the hedge always wins, so its latency is never known in full.
 * Mechanism: a primary that was cancelled counts with the time it had taken.
 * Consequence: without that the slowest twentieth would be missing each time, the quantile would sink from one look to the
 * next, and in the end everything would be hedged.
 */
t.test('what it hedges away does not draw it down', async (test) => {
  const timing = new HedgeTiming({ ms: 0, quantile: 0.95 });
  const next = uniform();
  let hedged = 0;
  for (let i = 0; i < 40_000; i++) {
    const tookMs = 100 * next();
    const cut = timing.afterMs >= 0 && tookMs > timing.afterMs;
    if (cut) hedged++;
    timing.record(cut ? timing.afterMs : tookMs);
  }
  test.ok(hedged < 40_000 * 0.08, `${hedged} of 40000 hedged`);
  test.ok(timing.afterMs > 85, `${timing.afterMs} ms`);
});

t.test('latencies outside every bound are counted at the bounds', async (test) => {
  const timing = new HedgeTiming({ ms: 0, quantile: 0.5 });
  for (let i = 0; i < 100; i++) timing.record(0);
  test.ok(timing.afterMs > 0 && timing.afterMs < 0.1);
  for (let i = 0; i < 400; i++) timing.record(10_000_000);
  test.ok(Number.isFinite(timing.afterMs) && timing.afterMs > 50_000);
});
