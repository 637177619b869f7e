/** How many pairs are captured for comparison, in virtual time. */
import t from 'tap';
import { ComparisonPace } from '../../../../proxy/mirror/comparison-pace.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

function taken(pace: ComparisonPace, nowMs: number, tries: number, perSecond: number): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (pace.take(nowMs, perSecond)) count++;
  return count;
}

t.test('a burst of one second is captured whole, and no more of it', async (test) => {
  const clock = new VirtualClock();
  const pace = new ComparisonPace();
  test.equal(taken(pace, clock.nowMs(), 150, 100), 100);
  clock.advance(3_600_000);
  test.equal(taken(pace, clock.nowMs(), 500, 100), 100, 'an hour of rest saves up one second');
});

t.test('what is captured of a steady stream is the bound, spread over time', async (test) => {
  const clock = new VirtualClock();
  const pace = new ComparisonPace();
  taken(pace, clock.nowMs(), 100, 100);
  const perTenth: number[] = [];
  for (let i = 0; i < 20; i++) {
    clock.advance(100);
    perTenth.push(taken(pace, clock.nowMs(), 1000, 100));
  }
  test.same(perTenth, Array(20).fill(10));
});

t.test('below the bound every pair is captured, and a lower bound holds at once', async (test) => {
  const clock = new VirtualClock();
  const pace = new ComparisonPace();
  for (let i = 0; i < 300; i++) {
    clock.advance(20);
    test.equal(taken(pace, clock.nowMs(), 1, 100), 1);
  }
  clock.advance(1);
  test.equal(taken(pace, clock.nowMs(), 100, 2), 2);
});
