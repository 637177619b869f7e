/** The judge of the kill, given made-up outcomes in order. */
import t from 'tap';
import { FailoverWatch, STEADY_ANSWERS } from '../../../../deploy/demo/failover-watch.ts';
import type { CallOutcome } from '../../../../deploy/demo/tally.ts';

const PRIMARY = 'credit-risk@1';
const LITE = 'credit-risk-lite@1';

function at(endedAtMs: number, answeredBy: string, failure = ''): CallOutcome {
  return { answeredBy, failure, sentAtMs: endedAtMs - 1, endedAtMs };
}

function steadyFrom(watch: FailoverWatch, fromMs: number): void {
  for (let i = 0; i < STEADY_ANSWERS; i++) watch.record(at(fromMs + i, PRIMARY));
}

t.test('reports the first fallback answer and the first of the steady ones', async (t) => {
  const watch = new FailoverWatch(PRIMARY);
  watch.killed(1000);
  watch.record(at(1001, PRIMARY));
  watch.record(at(1004, LITE));
  watch.record(at(1010, LITE));
  t.notOk(watch.isRecovered);
  steadyFrom(watch, 2500);
  t.ok(watch.isRecovered);
  t.same(watch.report(), { failed: 0, fallbackMs: 4, recoveredMs: 1500 });
});

t.test('a fallback answer in between starts the steady run anew', async (t) => {
  const watch = new FailoverWatch(PRIMARY);
  watch.killed(0);
  watch.record(at(3, LITE));
  for (let i = 0; i < STEADY_ANSWERS - 1; i++) watch.record(at(100 + i, PRIMARY));
  watch.record(at(200, LITE));
  t.notOk(watch.isRecovered);
  steadyFrom(watch, 300);
  t.same(watch.report(), { failed: 0, fallbackMs: 3, recoveredMs: 300 });
});

t.test('failures count between the kill and the recovery only', async (t) => {
  const watch = new FailoverWatch(PRIMARY);
  watch.record(at(5, '', 'UNAVAILABLE'));
  watch.killed(10);
  watch.record(at(9, '', 'UNAVAILABLE'));
  watch.record(at(11, '', 'UNAVAILABLE'));
  watch.record(at(12, '', 'CANCELLED'));
  steadyFrom(watch, 20);
  watch.record(at(500, '', 'UNAVAILABLE'));
  t.same(watch.report(), { failed: 2, fallbackMs: null, recoveredMs: 10 });
});

t.test('answers still in the pipe when the primary dies are no recovery', async (t) => {
  const watch = new FailoverWatch(PRIMARY);
  watch.killed(0);
  steadyFrom(watch, 1);
  t.notOk(watch.isRecovered);
  t.same(watch.report(), { failed: 0, fallbackMs: null, recoveredMs: null });
});
