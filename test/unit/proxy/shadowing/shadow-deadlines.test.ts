/** Shadow calls are given up in their order, each at its time, whatever came and went between. */
import fc from 'fast-check';
import t from 'tap';
import { TICK_MS, TimerWheel } from '../../../../base/timer-wheel.ts';
import { type Awaited, ShadowDeadlines } from '../../../../proxy/shadowing/shadow-deadlines.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const TIMEOUT_MS = 1000;

class Call implements Awaited {
  older: Awaited | null = null;
  newer: Awaited | null = null;
  dueMs = 0;
  expiredMs = 0;
  watchedMs = 0;
  afterwards: () => void = () => undefined;
  private readonly clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.clock = clock;
  }

  expire(): void {
    this.expiredMs = this.clock.nowMs();
    this.afterwards();
  }
}

function setUp() {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(clock, false);
  const deadlines = new ShadowDeadlines(clock, wheel, TIMEOUT_MS);
  const pass = (ms: number): void => {
    for (const end = clock.nowMs() + ms; clock.nowMs() < end; ) {
      clock.advance(1);
      wheel.advance();
    }
  };
  return { clock, deadlines, pass };
}

t.test('every call that is not over in its time is given up then, and no other', async () => {
  const step = fc.record({ act: fc.constantFrom('watch', 'again', 'forget'), which: fc.nat(9), ms: fc.nat(400) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { clock, deadlines, pass } = setUp();
      const calls: Call[] = [];
      const over = new Set<Call>();
      for (const { act, which, ms } of steps) {
        const call = calls[which % Math.max(1, calls.length)];
        if (act === 'watch' || call === undefined) {
          const fresh = new Call(clock);
          fresh.watchedMs = clock.nowMs();
          calls.push(fresh);
          deadlines.watch(fresh, clock.nowMs());
        } else if (act === 'forget') {
          deadlines.forget(call);
          if (call.expiredMs === 0) over.add(call);
        } else if (call.expiredMs === 0 && !over.has(call)) {
          call.watchedMs = clock.nowMs();
          deadlines.watch(call, clock.nowMs());
        }
        pass(ms);
      }
      pass(TIMEOUT_MS + 2 * TICK_MS);
      return calls.every((call) => {
        if (over.has(call)) return call.expiredMs === 0;
        const late = call.expiredMs - call.watchedMs - TIMEOUT_MS;
        return late >= 0 && late <= 2 * TICK_MS;
      });
    }),
    { numRuns: 100 },
  );
});

t.test('a call that is given up may bring another in, which has its time too', async (test) => {
  const { clock, deadlines, pass } = setUp();
  const [first, second] = [new Call(clock), new Call(clock)];
  first.afterwards = () => deadlines.watch(second, clock.nowMs());
  deadlines.watch(first, clock.nowMs());
  pass(TIMEOUT_MS + 2 * TICK_MS);
  test.not(first.expiredMs, 0);
  test.equal(second.expiredMs, 0);
  pass(TIMEOUT_MS + 2 * TICK_MS);
  test.not(second.expiredMs, 0);
});
