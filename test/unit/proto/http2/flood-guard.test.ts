import t from 'tap';
import { DEFAULT_HTTP2_LIMITS, Flood, FloodGuard } from '../../../../proto/http2/limits.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

function guard(clock: VirtualClock): FloodGuard {
  return new FloodGuard({ ...DEFAULT_HTTP2_LIMITS, floodBurst: 10, floodPerSecond: 5 }, clock);
}

function spendAll(subject: FloodGuard, kind: number): number {
  let count = 0;
  while (count < 1000 && subject.spend(kind)) count++;
  return count;
}

t.test('a burst is allowed, then what time gives back, never more than a burst', (t) => {
  const clock = new VirtualClock();
  const subject = guard(clock);
  t.equal(spendAll(subject, Flood.PING), 10);
  clock.advance(1000);
  t.equal(spendAll(subject, Flood.PING), 5);
  clock.advance(3_600_000);
  t.equal(spendAll(subject, Flood.PING), 10);
  t.end();
});

t.test('kinds do not share a budget', (t) => {
  const subject = guard(new VirtualClock());
  t.equal(spendAll(subject, Flood.SETTINGS), 10);
  t.equal(spendAll(subject, Flood.RESET), 10);
  t.end();
});

t.test('work pays for the kinds that come with work, once', (t) => {
  const subject = guard(new VirtualClock());
  for (const kind of [Flood.WINDOW_UPDATE, Flood.PING, Flood.RESET, Flood.SETTINGS, Flood.EMPTY_DATA])
    spendAll(subject, kind);
  subject.frames += 3;
  t.equal(spendAll(subject, Flood.WINDOW_UPDATE), 6);
  t.equal(spendAll(subject, Flood.WINDOW_UPDATE), 0);
  t.equal(spendAll(subject, Flood.PING), 3);
  t.equal(spendAll(subject, Flood.RESET), 0, 'DATA does not pay for resets');
  subject.finished += 2;
  t.equal(spendAll(subject, Flood.RESET), 2);
  subject.frames += 100;
  subject.finished += 100;
  t.equal(spendAll(subject, Flood.SETTINGS), 0);
  t.equal(spendAll(subject, Flood.EMPTY_DATA), 0);
  t.end();
});
