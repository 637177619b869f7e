import t from 'tap';
import { openPeriodMs } from '../../../../proxy/policy/circuit-breaker.ts';
import { Harness, Outcome, POLICY, Verdict } from './breaker-harness.ts';

t.test('closed admits every request', async (t) => {
  const h = new Harness();
  for (let i = 0; i < 100; i++) t.equal(h.request(Outcome.SUCCESS), Verdict.ADMIT);
  t.equal(h.breaker.state, 'closed');
  t.same(h.told, []);
});

t.test(
  'the error fraction opens the breaker when the window holds the minimum volume, not one request earlier',
  async (t) => {
    const h = new Harness();
    h.requests(5, Outcome.SUCCESS);
    h.requests(4, Outcome.FAILURE);
    t.equal(h.breaker.state, 'closed');
    h.request(Outcome.FAILURE);
    t.equal(h.breaker.state, 'open');
    t.match(h.told, [{ from: 'closed', to: 'open', reason: 'error_fraction', openForMs: 1_000 }]);
  },
);

t.test('a fraction just below the threshold leaves the breaker closed', async (t) => {
  const h = new Harness({ errorFraction: 0.07, minimumRequests: 100 });
  h.requests(94, Outcome.SUCCESS);
  h.requests(6, Outcome.FAILURE);
  t.equal(h.breaker.state, 'closed');
  h.requests(1, Outcome.FAILURE);
  t.equal(h.breaker.state, 'closed', '7 of 101 is below 0.07');
  const exact = new Harness({ errorFraction: 0.07, minimumRequests: 100 });
  exact.requests(93, Outcome.SUCCESS);
  exact.requests(7, Outcome.FAILURE);
  t.equal(exact.breaker.state, 'open', '7 of 100 is 0.07');
});

t.test('failures older than the window are forgotten', async (t) => {
  const h = new Harness();
  h.requests(9, Outcome.FAILURE);
  h.clock.advance(8_001);
  h.requests(9, Outcome.FAILURE);
  t.equal(h.breaker.state, 'closed');
  h.request(Outcome.FAILURE);
  t.equal(h.breaker.state, 'open');
});

t.test('failures that nothing followed are forgotten all the same', async (t) => {
  const h = new Harness({}, 2);
  h.requests(9, Outcome.FAILURE, 1);
  h.clock.advance(10_500);
  h.requests(2, Outcome.FAILURE, 0);
  t.match(h.breaker.describe(h.clock.nowMs()), { state: 'closed', windowFailures: 2 });
});

t.test('failures spread over the window add up', async (t) => {
  const h = new Harness();
  for (let i = 0; i < 10; i++) {
    t.equal(h.breaker.state, 'closed');
    h.request(Outcome.FAILURE);
    h.clock.advance(700);
  }
  t.equal(h.breaker.state, 'open');
});

t.test('consecutive failures open the breaker whatever the window holds', async (t) => {
  const h = new Harness({ consecutiveFailures: 3, minimumRequests: 1_000 });
  h.requests(200, Outcome.SUCCESS);
  h.requests(2, Outcome.FAILURE);
  h.request(Outcome.SUCCESS);
  h.requests(2, Outcome.FAILURE);
  t.equal(h.breaker.state, 'closed', 'a success ends the run');
  h.request(Outcome.FAILURE);
  t.equal(h.breaker.state, 'open');
  t.same(h.reasons, ['consecutive_failures']);
});

t.test('ignored outcomes neither fill the window nor end a run of failures', async (t) => {
  const h = new Harness({ consecutiveFailures: 3 });
  h.requests(50, Outcome.IGNORED);
  h.requests(2, Outcome.FAILURE);
  h.requests(50, Outcome.IGNORED);
  t.match(h.breaker.describe(h.clock.nowMs()), { windowFailures: 2, windowSuccesses: 0, consecutiveFailures: 2 });
  h.request(Outcome.FAILURE);
  t.equal(h.breaker.state, 'open');
});

t.test('open rejects until its period is over', async (t) => {
  const h = new Harness();
  h.trip();
  h.clock.advance(999);
  t.equal(h.acquire(), Verdict.REJECT);
  t.equal(h.breaker.describe(h.clock.nowMs()).openForMs, 1);
  h.clock.advance(1);
  t.equal(h.acquire(), Verdict.PROBE);
});

t.test('half_open admits one probe', async (t) => {
  const h = new Harness();
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(), Verdict.PROBE);
  for (let i = 0; i < 10; i++) t.equal(h.acquire(), Verdict.REJECT);
  t.equal(h.breaker.state, 'half_open');
  t.equal(h.breaker.describe(h.clock.nowMs()).probeInFlight, true);
});

t.test('a successful probe closes the breaker with an empty window', async (t) => {
  const h = new Harness({ consecutiveFailures: 5 });
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.request(Outcome.SUCCESS), Verdict.PROBE);
  t.equal(h.breaker.state, 'closed');
  t.match(h.breaker.describe(h.clock.nowMs()), {
    windowFailures: 0,
    windowSuccesses: 0,
    consecutiveFailures: 0,
    openings: 0,
    reason: 'probe_succeeded',
  });
  h.requests(4, Outcome.FAILURE);
  t.equal(h.breaker.state, 'closed');
  t.same(h.reasons, ['consecutive_failures', 'probe_started', 'probe_succeeded']);
});

t.test('each failed probe doubles the open period up to the cap, and a success starts over', async (t) => {
  const h = new Harness();
  h.trip();
  for (const periodMs of [1_000, 2_000, 4_000, 8_000, 8_000]) {
    h.clock.advance(periodMs - 1);
    t.equal(h.acquire(), Verdict.REJECT, `rejects for ${periodMs} ms`);
    h.clock.advance(1);
    t.equal(h.request(Outcome.FAILURE), Verdict.PROBE, `probes after ${periodMs} ms`);
    t.equal(h.breaker.state, 'open');
  }
  h.clock.advance(8_000);
  t.equal(h.request(Outcome.SUCCESS), Verdict.PROBE);
  h.trip();
  t.equal(h.told.at(-1)?.openForMs, 1_000);
});

t.test('jitter lengthens an open period by a share of it, the cap included', async (t) => {
  const policy = { ...POLICY, jitterFraction: 0.5 };
  t.equal(openPeriodMs(policy, 0, 0), 1_000);
  t.equal(openPeriodMs(policy, 0, 1), 1_500);
  t.equal(openPeriodMs(policy, 1, 0.5), 2_500);
  t.equal(openPeriodMs(policy, 500, 1), 12_000);
  t.equal(openPeriodMs({ ...policy, maxOpenMs: 10 }, 3, 0), 1_000, 'a cap below the first period is that period');
});

t.test('a probe with an ignored outcome is returned and the next request probes', async (t) => {
  const h = new Harness();
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.request(Outcome.IGNORED), Verdict.PROBE);
  t.equal(h.breaker.state, 'half_open');
  t.equal(h.acquire(), Verdict.PROBE);
  t.equal(h.acquire(), Verdict.REJECT);
  t.same(h.reasons.slice(1), ['probe_started', 'probe_returned', 'probe_started']);
});

t.test('a probe that never settles loses its place at its deadline', async (t) => {
  const h = new Harness({}, 1, { probeTimeoutMs: 5_000 });
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(), Verdict.PROBE);
  const lost = h.breaker.epoch;
  h.clock.advance(4_999);
  t.equal(h.acquire(), Verdict.REJECT);
  h.clock.advance(1);
  t.equal(h.acquire(), Verdict.PROBE);
  h.settle(Verdict.PROBE, lost, Outcome.SUCCESS);
  t.equal(h.breaker.state, 'half_open', 'the lost probe has no say any more');
  h.settle(Verdict.PROBE, h.breaker.epoch, Outcome.FAILURE);
  t.equal(h.breaker.state, 'open');
  t.same(h.reasons.slice(1), ['probe_started', 'probe_expired', 'probe_failed']);
});

t.test("a probe's place ends shortly after its request's own deadline", async (t) => {
  const h = new Harness();
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.breaker.tryAcquire(h.clock.nowMs(), h.clock.nowMs() + 200), Verdict.PROBE);
  h.clock.advance(250);
  t.equal(h.acquire(), Verdict.REJECT, "the request's own report still has time");
  h.clock.advance(100);
  t.equal(h.acquire(), Verdict.PROBE);
});

t.test('a late outcome of the probe still counts while no other has taken its place', async (t) => {
  const h = new Harness({}, 1, { probeTimeoutMs: 5_000 });
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(), Verdict.PROBE);
  h.clock.advance(60_000);
  h.settle(Verdict.PROBE, h.breaker.epoch, Outcome.SUCCESS);
  t.equal(h.breaker.state, 'closed');
});

t.test('a probe reported twice counts once', async (t) => {
  const h = new Harness();
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(), Verdict.PROBE);
  const token = h.breaker.epoch;
  h.settle(Verdict.PROBE, token, Outcome.SUCCESS);
  h.settle(Verdict.PROBE, token, Outcome.FAILURE);
  t.equal(h.breaker.state, 'closed');
});

t.test('outcomes of requests begun before the last transition are not counted', async (t) => {
  const h = new Harness();
  const verdict = h.acquire();
  const early = h.breaker.epoch;
  h.trip();
  h.settle(verdict, early, Outcome.SUCCESS);
  h.clock.advance(1_000);
  t.equal(h.acquire(), Verdict.PROBE);
  const token = h.breaker.epoch;
  h.settle(verdict, early, Outcome.SUCCESS);
  t.equal(h.breaker.state, 'half_open', 'an early success does not close it');
  h.settle(Verdict.PROBE, token, Outcome.SUCCESS);
  for (let i = 0; i < 100; i++) h.settle(verdict, early, Outcome.FAILURE);
  t.match(h.breaker.describe(h.clock.nowMs()), { state: 'closed', windowFailures: 0, consecutiveFailures: 0 });
});

t.test('a disabled breaker admits everything and counts nothing', async (t) => {
  const h = new Harness({ enabled: false, consecutiveFailures: 1 });
  h.requests(100, Outcome.FAILURE);
  t.match(h.breaker.describe(h.clock.nowMs()), { state: 'closed', enabled: false, windowFailures: 0 });
  h.breaker.holdOpen();
  t.equal(h.acquire(), Verdict.REJECT, 'an operator can still hold it open');
});

t.test(
  'a policy that disables an open breaker admits again at once, and enabling it resumes the open period',
  async (t) => {
    const h = new Harness();
    h.trip();
    h.breaker.updatePolicy({ ...POLICY, enabled: false });
    t.equal(h.acquire(), Verdict.ADMIT);
    h.breaker.updatePolicy(POLICY);
    t.equal(h.acquire(), Verdict.REJECT);
  },
);

t.test('a new policy judges by its own thresholds and keeps what was counted', async (t) => {
  const h = new Harness({ minimumRequests: 1_000 });
  h.requests(20, Outcome.FAILURE);
  h.breaker.updatePolicy({ ...POLICY, minimumRequests: 20 });
  h.request(Outcome.FAILURE);
  t.equal(h.breaker.state, 'open');
});

t.test('held_open rejects past every period and released lets the next request probe', async (t) => {
  const h = new Harness();
  h.breaker.holdOpen();
  h.clock.advance(86_400_000);
  t.equal(h.acquire(), Verdict.REJECT);
  t.equal(h.breaker.state, 'held_open');
  h.breaker.release();
  t.equal(h.acquire(), Verdict.PROBE);
  t.same(h.reasons, ['held_open', 'released', 'probe_started']);
});

t.test('held_closed admits through any number of failures and released judges afresh', async (t) => {
  const h = new Harness({ consecutiveFailures: 3 });
  h.trip();
  h.breaker.holdClosed();
  h.requests(100, Outcome.FAILURE);
  t.equal(h.breaker.state, 'held_closed');
  h.breaker.release();
  t.equal(h.breaker.state, 'closed');
  h.requests(2, Outcome.FAILURE);
  t.equal(h.breaker.state, 'closed');
  h.request(Outcome.FAILURE);
  t.equal(h.breaker.state, 'open');
});

t.test('a hold overtakes the probe in flight', async (t) => {
  const h = new Harness();
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(), Verdict.PROBE);
  const token = h.breaker.epoch;
  h.breaker.holdOpen();
  h.settle(Verdict.PROBE, token, Outcome.SUCCESS);
  t.equal(h.breaker.state, 'held_open');
  h.breaker.holdOpen();
  t.same(h.reasons.slice(-1), ['held_open'], 'holding twice tells once');
  h.breaker.release();
  h.breaker.release();
  t.same(h.reasons.slice(-1), ['released']);
});

t.test('a breaker that stays open for 30 days probes at the next request', async (t) => {
  const h = new Harness();
  h.trip();
  h.clock.advance(30 * 86_400_000);
  t.equal(h.acquire(), Verdict.PROBE);
});

t.test('a wait the upstream asked for lengthens the open period, up to the cap', async (t) => {
  const harness = new Harness({ consecutiveFailures: 1 });
  harness.breaker.pushBack(3_000, harness.clock.nowMs());
  harness.request(Outcome.FAILURE);
  t.equal(harness.told.at(-1)!.openForMs, 3_000, 'longer than its own second');
  harness.clock.advance(3_000);
  t.equal(harness.acquire(), Verdict.PROBE);
  harness.breaker.pushBack(3_600_000, harness.clock.nowMs());
  harness.settle(Verdict.PROBE, harness.breaker.epoch, Outcome.FAILURE);
  t.equal(harness.told.at(-1)!.openForMs, 8_000, 'cut to the longest period');
  harness.clock.advance(8_000);
  t.equal(harness.request(Outcome.SUCCESS), Verdict.PROBE);
  harness.request(Outcome.FAILURE);
  t.equal(harness.told.at(-1)!.openForMs, 1_000, 'a success has forgotten it');
  harness.close();
});

t.test('a wait that asks for less than the open period, or has run out, changes nothing', async (t) => {
  const harness = new Harness({ consecutiveFailures: 2 });
  harness.breaker.pushBack(2_000, harness.clock.nowMs());
  harness.request(Outcome.FAILURE);
  t.equal(harness.breaker.state, 'closed', 'it opens nothing by itself');
  harness.clock.advance(2_000);
  harness.request(Outcome.FAILURE);
  t.equal(harness.told.at(-1)!.openForMs, 1_000);
  harness.close();
});

t.test('an operator opens it once for a period, and closes it once', async (t) => {
  const harness = new Harness({ consecutiveFailures: 1 });
  harness.breaker.obey('open');
  t.same([harness.breaker.state, harness.acquire()], ['open', Verdict.REJECT]);
  harness.clock.advance(1_000);
  t.equal(harness.request(Outcome.SUCCESS), Verdict.PROBE, 'it recovers by itself');
  t.equal(harness.breaker.state, 'closed');
  harness.trip();
  harness.breaker.obey('close');
  t.equal(harness.request(Outcome.FAILURE), Verdict.ADMIT);
  t.equal(harness.breaker.state, 'open', 'it goes on judging');
  harness.breaker.obey('hold_closed');
  harness.breaker.obey('open');
  t.equal(harness.breaker.state, 'open', 'the last word stands');
  t.same(harness.reasons.slice(-2), ['held_closed', 'opened']);
  harness.close();
});

t.test('an answer is too slow only over a limit, and only where there is one', async (t) => {
  const harness = new Harness({ maxLatencyMs: 100 });
  t.same([harness.breaker.isTooSlow(100), harness.breaker.isTooSlow(100.5)], [false, true]);
  harness.breaker.updatePolicy({ ...POLICY, maxLatencyMs: 0 });
  t.equal(harness.breaker.isTooSlow(1e9), false);
  harness.close();
});
