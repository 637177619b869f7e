/**
 * The traps of opossum 10, one test each: first that opossum has it (so that the reason for our detour is on record, and
 * a release that mends it is noticed), then that the breaker does not.
 */

import Opossum from 'opossum';
import t from 'tap';
import { Harness, Outcome, Verdict } from './breaker-harness.ts';

const never = () => new Promise<never>(() => {});

/** A bare opossum that has just half-opened by its own timer. */
async function halfOpenOpossum(action: () => Promise<unknown>, options: Opossum.Options = {}): Promise<Opossum> {
  const circuit = new Opossum(action, { timeout: false, resetTimeout: 1, ...options });
  circuit.open();
  await halfOpened(circuit);
  return circuit;
}

/** opossum's timer does not keep the process alive, so the wait does. */
async function halfOpened(circuit: Opossum): Promise<void> {
  for (let i = 0; i < 100 && !circuit.halfOpen; i++) await new Promise((resolve) => setTimeout(resolve, 2));
}

function halfOpen(options = {}): Harness {
  const h = new Harness({}, 1, options);
  h.trip();
  h.clock.advance(1_000);
  return h;
}

t.test('an excluded error of the probe closes opossum, and leaves the breaker half_open', async (t) => {
  const circuit = await halfOpenOpossum(() => Promise.reject(new Error('cancelled')), { errorFilter: () => true });
  await circuit.fire().catch(() => {});
  t.equal(circuit.closed, true);
  circuit.shutdown();

  const h = halfOpen();
  h.request(Outcome.IGNORED);
  t.equal(h.breaker.state, 'half_open');
});

t.test('a probe that never settles leaves opossum rejecting, and the breaker probing again', async (t) => {
  const circuit = await halfOpenOpossum(never);
  circuit.fire().catch(() => {});
  await t.rejects(circuit.fire(), { code: 'EOPENBREAKER' });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await t.rejects(circuit.fire(), { code: 'EOPENBREAKER' });
  circuit.shutdown();

  const h = halfOpen({ probeTimeoutMs: 100 });
  t.equal(h.acquire(), Verdict.PROBE);
  t.equal(h.acquire(), Verdict.REJECT);
  h.clock.advance(100);
  t.equal(h.acquire(), Verdict.PROBE);
});

t.test('a late success of an early call closes opossum in half-open, and not the breaker', async (t) => {
  let finishEarlyCall: () => void = () => {};
  const earlyCall = new Promise<void>((resolve) => {
    finishEarlyCall = resolve;
  });
  const circuit = new Opossum(() => earlyCall, { timeout: false, resetTimeout: 1 });
  const fired = circuit.fire();
  circuit.open();
  await halfOpened(circuit);
  finishEarlyCall();
  await fired;
  t.equal(circuit.closed, true);
  circuit.shutdown();

  const h = new Harness();
  const verdict = h.acquire();
  const epoch = h.breaker.epoch;
  h.trip();
  h.clock.advance(1_000);
  t.equal(h.acquire(), Verdict.PROBE);
  h.settle(verdict, epoch, Outcome.SUCCESS);
  t.equal(h.breaker.state, 'half_open');
});

t.test('opossum divides by its rejects too; the breaker judges outcomes alone', async (t) => {
  const circuit = new Opossum(() => Promise.reject(new Error('down')), {
    timeout: false,
    errorThresholdPercentage: 60,
  });
  circuit.open();
  for (let i = 0; i < 10; i++) await circuit.fire().catch(() => {});
  circuit.close();
  for (let i = 0; i < 10; i++) await circuit.fire().catch(() => {});
  t.equal(circuit.closed, true, 'ten of ten outcomes failed and it stays closed: 10 of 20 fires');
  circuit.shutdown();

  const h = new Harness({ errorFraction: 0.6 });
  h.trip();
  for (let i = 0; i < 100; i++) t.equal(h.request(Outcome.FAILURE), Verdict.REJECT);
  h.clock.advance(1_000);
  h.request(Outcome.SUCCESS);
  h.requests(4, Outcome.SUCCESS);
  h.requests(6, Outcome.FAILURE);
  t.equal(h.breaker.state, 'open');
});

t.test('opossum half-opens by its own timer; a hold of the breaker has none', async (t) => {
  const circuit = await halfOpenOpossum(never);
  t.equal(circuit.halfOpen, true);
  circuit.shutdown();

  const h = new Harness();
  h.breaker.holdOpen();
  await new Promise((resolve) => setTimeout(resolve, 20));
  h.clock.advance(10 ** 9);
  t.equal(h.acquire(), Verdict.REJECT);
  t.equal(h.machine.opossum.opened, true);
  t.equal((h.machine.opossum as unknown as { options: Opossum.Options }).options.resetTimeout, 2 ** 31 - 1);
});

t.test('opossum keeps every outcome of its window; the closed path of the breaker leaves no trace in it', async (t) => {
  const circuit = new Opossum(() => Promise.resolve(), { timeout: false, rollingPercentilesEnabled: false });
  for (let i = 0; i < 100; i++) await circuit.fire();
  t.equal(circuit.status.window[0]!.latencyTimes.length, 100);
  circuit.shutdown();

  const h = new Harness({ errorFraction: 1.1 });
  let walks = 0;
  const status = h.machine.opossum.status;
  Object.defineProperty(status, 'stats', {
    get: () => {
      walks++;
      return {};
    },
  });
  h.requests(5_000, Outcome.SUCCESS);
  h.requests(5_000, Outcome.FAILURE);
  t.equal(walks, 0);
  t.match(status.window[0], { fires: 0, successes: 0, failures: 0, latencyTimes: [] });
});

t.test('no instance leaves a timer that keeps the process or turns buckets', async (t) => {
  const intervals: unknown[] = [];
  const { setInterval } = globalThis;
  t.teardown(() => {
    globalThis.setInterval = setInterval;
  });
  globalThis.setInterval = ((...args: Parameters<typeof setInterval>) => {
    intervals.push(args);
    return setInterval(...args);
  }) as typeof setInterval;
  const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const h = halfOpen();
  for (let i = 0; i < 50; i++) h.request(Outcome.IGNORED);
  h.request(Outcome.FAILURE);
  t.equal(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length, before);
  t.same(intervals, []);
  h.close();
});

t.test('opossum agrees with the breaker in every state', async (t) => {
  const h = new Harness({}, 2);
  t.equal(h.machine.opossum.closed, true);
  h.trip(1);
  h.acquire(0);
  t.equal(h.machine.opossum.opened, true, "follows the other thread's opening");
  h.clock.advance(1_000);
  t.equal(h.acquire(0), Verdict.PROBE);
  t.equal(h.machine.opossum.halfOpen, true);
  h.settle(Verdict.PROBE, h.breaker.epoch, Outcome.FAILURE);
  t.equal(h.machine.opossum.opened, true);
  h.clock.advance(2_000);
  t.equal(h.request(Outcome.IGNORED), Verdict.PROBE);
  t.equal(h.machine.opossum.halfOpen, true);
  t.equal(h.request(Outcome.SUCCESS), Verdict.PROBE);
  t.equal(h.machine.opossum.closed, true);
  h.breaker.holdOpen();
  t.equal(h.machine.opossum.opened, true);
  h.close();
  t.equal(h.machine.opossum.isShutdown, true);
});
