import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import t from 'tap';
import { systemClock } from '../../../base/clock.ts';
import { TICK_MS, TimerWheel, WheelTimer } from '../../../base/timer-wheel.ts';
import { holdUp } from '../../support/busy.ts';
import { until } from '../../support/patience.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

class Probe extends WheelTimer {
  readonly expiredAt: number[] = [];
  afterwards: (() => void) | null = null;

  onExpire(nowMs: number): void {
    this.expiredAt.push(nowMs);
    this.afterwards?.();
  }
}

t.test('a timer expires once, never early and at most one tick late', async (t) => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock, false);
  const probe = new Probe();
  const dueMs = clock.nowMs() + 42;
  wheel.arm(probe, dueMs);
  for (let i = 0; i < 100; i++) {
    clock.advance(1);
    wheel.advance();
  }
  t.equal(probe.expiredAt.length, 1);
  t.ok(probe.expiredAt[0]! >= dueMs && probe.expiredAt[0]! <= dueMs + TICK_MS);
  t.equal(wheel.size, 0);
});

t.test('a timer further away than one turn waits for its own turn', async (t) => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock, false);
  const probe = new Probe();
  wheel.arm(probe, clock.nowMs() + 60_000);
  clock.advance(59_000);
  wheel.advance();
  t.same(probe.expiredAt, []);
  clock.advance(1_010);
  wheel.advance();
  t.equal(probe.expiredAt.length, 1);
});

t.test('a disarmed timer never expires, and a clock that jumps a day expires everything once', async (t) => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock, false);
  const probes = Array.from({ length: 1000 }, () => new Probe());
  for (const [i, probe] of probes.entries()) wheel.arm(probe, clock.nowMs() + i * 13);
  wheel.disarm(probes[7]!);
  clock.advance(86_400_000);
  wheel.advance();
  t.equal(probes.filter((p) => p.expiredAt.length === 1).length, 999);
  t.same(probes[7]!.expiredAt, []);
});

t.test('a callback may disarm and re-arm its neighbours', async (t) => {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock, false);
  const [a, b, c] = [new Probe(), new Probe(), new Probe()];
  for (const probe of [a, b, c]) wheel.arm(probe, clock.nowMs() + 10);
  a.afterwards = () => {
    wheel.disarm(b);
    wheel.arm(c, clock.nowMs() + 1000);
  };
  clock.advance(20);
  wheel.advance();
  t.same([a.expiredAt.length, b.expiredAt.length, c.expiredAt.length], [1, 0, 0]);
  clock.advance(1010);
  wheel.advance();
  t.equal(c.expiredAt.length, 1);
});

/*
 * Scenario: a thread is held up for long, by a copy of 100 MB or a collection, while an answer arrives that a timer waits for.
 * Mechanism: the event loop runs timers before it reads.
 * Consequence: the answer counted as one that never came, against an upstream that was quick.
 */
t.test('after a turn that took long, what has arrived is heard before anything expires', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const wheel = new TimerWheel(systemClock);
  const [answered, silent] = [new Probe(), new Probe()];
  wheel.arm(answered, systemClock.nowMs() + 40);
  wheel.arm(silent, systemClock.nowMs() + 40);
  // The kernel accepts it while the thread is held up.
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1', () => wheel.disarm(answered));
  t.teardown(() => socket.destroy());
  holdUp(100);
  await until(() => silent.expiredAt.length === 1, 'the silent one expires');
  t.same(answered.expiredAt, []);
  t.ok(socket.readyState === 'open', 'it had been heard');
  wheel.stop();
});
