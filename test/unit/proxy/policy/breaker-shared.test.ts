import fc from 'fast-check';
import t from 'tap';
import { BreakerCells, epochOf, Phase, phaseOf } from '../../../../proxy/policy/breaker-cells.ts';
import { describeBreaker } from '../../../../proxy/policy/breaker-view.ts';
import { CircuitBreaker } from '../../../../proxy/policy/circuit-breaker.ts';
import { BreakerEvent } from '../../../../proxy/stats/slots.ts';
import { runs, seedFor } from '../../../support/fuzz-runs.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';
import { Harness, Outcome, POLICY, Verdict } from './breaker-harness.ts';

t.test("an opening by one thread is seen by the others' next request and told once", async (t) => {
  const h = new Harness({}, 4);
  for (let thread = 0; thread < 4; thread++) t.equal(h.acquire(thread), Verdict.ADMIT);
  h.trip(2);
  for (let thread = 0; thread < 4; thread++) t.equal(h.acquire(thread), Verdict.REJECT);
  t.same(h.reasons, ['error_fraction']);
});

t.test('failures of all threads add up in the window and in the run of failures', async (t) => {
  const h = new Harness({ minimumRequests: 8 }, 4);
  for (let thread = 0; thread < 4; thread++) h.requests(2, Outcome.FAILURE, thread);
  t.equal(h.breaker.state, 'open');
  const inARow = new Harness({ consecutiveFailures: 4 }, 4);
  for (let thread = 0; thread < 4; thread++) inARow.request(Outcome.FAILURE, thread);
  t.equal(inARow.breaker.state, 'open');
});

t.test('one probe is in flight over all threads, and its outcome is theirs too', async (t) => {
  const h = new Harness({}, 4);
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(3), Verdict.PROBE);
  for (let thread = 0; thread < 4; thread++) t.equal(h.acquire(thread), Verdict.REJECT);
  h.settle(Verdict.PROBE, h.breakers[3]!.epoch, Outcome.SUCCESS, 3);
  for (let thread = 0; thread < 4; thread++) t.equal(h.acquire(thread), Verdict.ADMIT);
});

t.test("a thread that dies with the probe in flight leaves it to another at the probe's deadline", async (t) => {
  const h = new Harness({}, 2, { probeTimeoutMs: 3_000 });
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(1), Verdict.PROBE);
  h.breakers[1]!.close();
  h.clock.advance(3_000);
  t.equal(h.request(Outcome.SUCCESS, 0), Verdict.PROBE);
  t.equal(h.breaker.state, 'closed');
});

t.test("an overtaken thread's attempt leaves the details in force alone", async (t) => {
  const h = new Harness({}, 2);
  const slow = new BreakerCells(h.buffer, 1);
  const base = slow.stateBase(1);
  const before = Atomics.load(slow.cells, base);
  h.trip(0);
  slow.change(base, before, Phase.OPEN, 0, 500_000, 9, h.clock.nowMs());
  t.match(h.breaker.describe(h.clock.nowMs()), { openForMs: 1_000, openings: 1 });
  h.clock.advance(1_000);
  t.equal(h.acquire(1), Verdict.PROBE);
});

t.test("the maker's own next attempt leaves the details in force alone until it succeeds", async (t) => {
  const h = new Harness();
  h.trip();
  const own = new BreakerCells(h.buffer, 0);
  const base = own.stateBase(1);
  const neverInForce = phaseOf(epochOf(Atomics.load(own.cells, base)), Phase.HELD_CLOSED, 0);
  own.change(base, neverInForce, Phase.HALF_OPEN, 0, 0, 0, h.clock.nowMs());
  t.match(h.breaker.describe(h.clock.nowMs()), { state: 'open', openForMs: 1_000, openings: 1 });
});

t.test('a thread whose clock reading is older than the grant leaves the probe its place', async (t) => {
  // Scenario: a thread reads the clock, sleeps, and another grants a probe in between. To the sleeper the probe's time
  // seems longer than it ever was, as it would after a wrap of the cells' time; it once took the probe for that reason.
  const h = new Harness({}, 2);
  h.trip();
  h.clock.advance(1_000);
  const earlierMs = h.clock.nowMs();
  h.clock.advance(20);
  t.equal(h.acquire(0), Verdict.PROBE);
  t.equal(h.breakers[1]!.tryAcquire(earlierMs), Verdict.REJECT);
});

t.test('a thread that was idle through a whole opening counts in the new epoch', async (t) => {
  const h = new Harness({}, 2);
  h.requests(9, Outcome.FAILURE, 1);
  h.trip(0);
  h.clock.advance(1_000);
  h.request(Outcome.SUCCESS, 0);
  h.requests(9, Outcome.FAILURE, 1);
  t.match(h.breaker.describe(h.clock.nowMs()), { state: 'closed', windowFailures: 9 });
  h.request(Outcome.FAILURE, 1);
  t.equal(h.breaker.state, 'open');
});

t.test('a breaker created later joins the state it finds', async (t) => {
  const h = new Harness({}, 2);
  h.trip(0);
  const clock = new VirtualClock(h.clock.nowMs());
  const late = new CircuitBreaker(POLICY, new BreakerCells(h.buffer, 1), 1, clock, () => 0);
  t.equal(late.tryAcquire(clock.nowMs()), Verdict.REJECT);
  clock.advance(1_000);
  t.equal(late.tryAcquire(clock.nowMs()), Verdict.PROBE);
});

t.test('the control thread watches and holds through a view of its own', async (t) => {
  const h = new Harness({}, 2);
  const view = new BreakerCells(h.buffer);
  const watcher = new CircuitBreaker(POLICY, view, 1, h.clock, () => 0);
  h.requests(3, Outcome.FAILURE);
  t.match(describeBreaker(view, 1, POLICY, h.clock.nowMs()), { state: 'closed', windowFailures: 3, reason: '' });
  watcher.holdOpen();
  t.equal(h.acquire(0), Verdict.REJECT);
  t.equal(h.acquire(1), Verdict.REJECT);
  watcher.release();
  t.equal(h.acquire(1), Verdict.PROBE);
});

t.test('neighbours in the buffer do not disturb each other, and reset forgets one of them', async (t) => {
  const h = new Harness();
  const view = new BreakerCells(h.buffer, 0);
  const neighbour = new CircuitBreaker(POLICY, view, 0, h.clock, () => 0);
  h.trip();
  t.equal(neighbour.state, 'closed');
  view.reset(1, BreakerEvent.RELEASED, h.clock.nowMs());
  t.match(h.breaker.describe(h.clock.nowMs()), { state: 'closed', openings: 0, windowFailures: 0 });
  t.equal(h.acquire(), Verdict.ADMIT);
});

t.test('epochs survive their wrap', async (t) => {
  const h = new Harness();
  const view = new BreakerCells(h.buffer);
  Atomics.store(view.cells, view.stateBase(1), phaseOf(2 ** 23 - 1, Phase.CLOSED, 0));
  t.equal(h.acquire(), Verdict.ADMIT);
  t.equal(h.breaker.epoch, 2 ** 23 - 1);
  h.trip();
  t.equal(h.breaker.state, 'open');
  h.acquire();
  t.equal(h.breaker.epoch, 0);
  h.clock.advance(1_000);
  t.equal(h.request(Outcome.SUCCESS), Verdict.PROBE);
  t.equal(h.breaker.state, 'closed');
});

t.test('under any order of calls no two probes overlap, and the state follows the rules', async () => {
  const step = fc.record({
    thread: fc.nat(2),
    advanceMs: fc.oneof(fc.constant(0), fc.nat(1_500)),
    action: fc.constantFrom('acquire', 'success', 'failure', 'ignored', 'hold', 'release'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const h = new Harness({ consecutiveFailures: 2 }, 3, { probeTimeoutMs: 2_000 });
      const pending: { thread: number; verdict: number; epoch: number; atMs: number }[] = [];
      let liveProbe: { epoch: number; atMs: number } | null = null;
      for (const { thread, advanceMs, action } of steps) {
        h.clock.advance(advanceMs);
        if (action === 'hold') h.breakers[thread]!.holdOpen();
        else if (action === 'release') h.breakers[thread]!.release();
        else if (action === 'acquire') {
          const before = h.breaker.state;
          const verdict = h.acquire(thread);
          const epoch = h.breakers[thread]!.epoch;
          if (verdict === Verdict.ADMIT && before !== 'closed') return false;
          if (verdict === Verdict.PROBE) {
            if (liveProbe !== null && h.clock.nowMs() - liveProbe.atMs < 2_000) return false;
            liveProbe = { epoch, atMs: h.clock.nowMs() };
          }
          if (verdict !== Verdict.REJECT) pending.push({ thread, verdict, epoch, atMs: h.clock.nowMs() });
        } else {
          const request = pending.shift();
          if (request === undefined) continue;
          const outcome = { success: Outcome.SUCCESS, failure: Outcome.FAILURE, ignored: Outcome.IGNORED }[action];
          h.settle(request.verdict, request.epoch, outcome, request.thread);
        }
        if (liveProbe !== null && h.breaker.describe(h.clock.nowMs()).probeInFlight === false) liveProbe = null;
      }
      h.close();
      // Every change told starts where the last one ended.
      return h.told.every((told, i) => told.from === (i === 0 ? 'closed' : h.told[i - 1]!.to));
    }),
    { numRuns: runs(300), seed: seedFor(7), interruptAfterTimeLimit: 4_000 },
  );
});
