/**
 * Scenario: a primary is slow for two minutes; its fallback answers within 40 ms all the time.
 * Mechanism: a monitor that goes on averaging "the last ten latencies" averages the fallback's while degraded. Ten
 * requests later the mean is far under 0.7 of the limit, so it returns, to a primary that is as slow as before.
 * Consequence: the model flaps between the two for as long as the primary is slow, and callers feel every return.
 */
import t from 'tap';
import { SampleKind } from '../../../../proxy/degradation/answer-sample.ts';
import { Lab } from './primary-model.ts';

const FALLBACK_MS = 40;
const REQUEST_EVERY_MS = 50;
const SLOW_UNTIL_MS = 120_000;
const RUN_MS = 180_000;

/** The primary's latency at a time since the start. */
function primaryMs(sinceMs: number): number {
  return sinceMs < SLOW_UNTIL_MS ? 900 : 60;
}

/** The users' first monitor: a ring of ten latencies of whoever answers, a limit, and a return below 0.7 of it. */
class NaiveMonitor {
  usesFallback = false;
  changes = 0;
  private readonly ring: number[] = [];

  record(latencyMs: number): void {
    this.ring.push(latencyMs);
    if (this.ring.length > 10) this.ring.shift();
    if (this.ring.length < 10) return;
    const mean = this.ring.reduce((sum, value) => sum + value, 0) / 10;
    if (this.usesFallback ? mean < 500 * 0.7 : mean > 500) {
      this.usesFallback = !this.usesFallback;
      this.changes++;
    }
  }
}

t.test('a monitor that is judged on the fallback flaps; the controller degrades once and returns once', async (t) => {
  const naive = new NaiveMonitor();
  let naiveSlow = 0;
  for (let since = 0; since < RUN_MS; since += REQUEST_EVERY_MS) {
    const latencyMs = naive.usesFallback ? FALLBACK_MS : primaryMs(since);
    if (latencyMs > 500) naiveSlow++;
    naive.record(latencyMs);
  }

  const lab = new Lab({ memoryBelowFraction: 0 });
  const start = lab.nowMs;
  let slow = 0;
  let turn = 0;
  let nextProbeMs = 0;
  for (let since = 0; since < RUN_MS; since += REQUEST_EVERY_MS) {
    lab.nowMs = start + since;
    const latencyMs = primaryMs(since);
    const takes = turn++ % 10 < lab.share / 10;
    const sample = { kind: SampleKind.ANSWERED, latencyMs, endedMs: lab.nowMs + latencyMs, isProbe: !takes };
    if (takes && latencyMs > 500) slow++;
    const probes = lab.state === 'degraded' && since >= nextProbeMs;
    if (probes) nextProbeMs = since + 1_000;
    if (takes || probes) lab.controller.observe(sample, lab.nowMs);
    lab.controller.tick(lab.nowMs, null);
  }

  t.comment(
    `naive: ${naive.changes} changes, ${naiveSlow} slow answers; ours: ${lab.shares.join(' > ')}, ${slow} slow`,
  );
  t.ok(naive.changes > 200, `${naive.changes} changes of the naive monitor`);
  t.same(lab.shares, [0, 10, 30, 60, 100, 100], 'degraded, the ladder, and normal again');
  t.equal(lab.controller.entered, 1);
  t.equal(slow, 10, 'only the answers that showed the trouble were slow');
  t.ok(naiveSlow > 50 * slow, `${naiveSlow} slow answers of the naive monitor`);
});
