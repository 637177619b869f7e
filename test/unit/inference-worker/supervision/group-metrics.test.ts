import t from 'tap';
import type { MetricFamily } from '../../../../inference-worker/metrics/metric-family.ts';
import type { GroupCommand } from '../../../../inference-worker/supervision/group-messages.ts';
import { ANSWER_TIMEOUT_MS, GroupMetrics } from '../../../../inference-worker/supervision/group-metrics.ts';

function family(group: string, value: number): MetricFamily {
  return { name: 'x_total', help: 'X.', type: 'counter', values: [{ labels: { group }, value }] };
}

/** Groups that answer at once, are gone, or keep silent; timers run by hand. */
function bench(kinds: Readonly<Record<string, 'answers' | 'gone' | 'silent'>>) {
  const timers: { ms: number; then: () => void; forgotten: boolean }[] = [];
  const asked: number[] = [];
  const groups = Object.entries(kinds).map(([name, kind]) => ({
    name,
    send: (command: GroupCommand): boolean => {
      if (command.kind !== 'metrics') throw new Error(command.kind);
      asked.push(command.id);
      if (kind === 'answers') queueMicrotask(() => metrics.receive(command.id, [family(name, 7)]));
      return kind !== 'gone';
    },
  }));
  const metrics = new GroupMetrics(groups, (ms, then) => {
    const timer = { ms, then, forgotten: false };
    timers.push(timer);
    return () => {
      timer.forgotten = true;
    };
  });
  return { metrics, timers, asked };
}

t.test('what groups tell is put together', async (t) => {
  const { metrics, timers } = bench({ a: 'answers', b: 'answers' });
  t.same(await metrics.collect('tensorflow'), [
    { ...family('a', 7), values: [...family('a', 7).values, ...family('b', 7).values] },
  ]);
  t.ok(timers.every(({ forgotten }) => forgotten));
});

t.test('a group that is gone or silent is missing and said to be down; nobody waits for it', async (t) => {
  const { metrics, timers, asked } = bench({ a: 'answers', b: 'gone', c: 'silent' });
  const collecting = metrics.collect('understudy');
  const timer = timers.find(({ forgotten }, i) => !forgotten && i === 2)!;
  t.equal(timer.ms, ANSWER_TIMEOUT_MS);
  timer.then();
  const families = await collecting;
  t.same(families.find(({ name }) => name === 'understudy_group_up')!.values, [
    { labels: { group: 'a' }, value: 1 },
    { labels: { group: 'b' }, value: 0 },
    { labels: { group: 'c' }, value: 0 },
  ]);
  metrics.receive(asked[2]!, [family('c', 1)]);
  t.pass('an answer too late is dropped');
});
