/** What bounds a hedge: deadlines, callers that leave, the budget; and whom it counts against. */
import t from 'tap';
import { predictRequest, servedBy } from '../support/grpc-caller.ts';
import { accountedFor, answersWhen, openHedgeLab } from '../support/hedge-lab.ts';
import { until } from '../support/patience.ts';
import { answers, hangs } from '../support/scripted-upstream.ts';

const { proxy, caller, primary, twin, lite, spare, events, eventsOf } = await openHedgeLab(t);

t.test('a hedge has its own share of the deadline', async (test) => {
  primary.script = hangs;
  spare.script = hangs;
  const answer = await caller.predict('two', { 'grpc-timeout': '1000m' });
  test.equal(servedBy(answer), 'lite', 'the second fallback, within the deadline');
  test.match(answer.served, { reason: 'deadline_budget' });
  test.ok(answer.tookMs < 1000, `${answer.tookMs} ms`);
});

t.test('when nobody answers the deadline ends all of it', async (test) => {
  primary.script = hangs;
  lite.script = hangs;
  const seen = await eventsOf('m', async () => {
    test.equal((await caller.predict('m', { 'grpc-timeout': '300m' })).status, 4);
    await until(() => primary.calls.at(-1)!.resetCode === 8, 'the primary is cancelled');
    await until(() => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
  });
  test.same(seen, { started: 1, failed: 1 });
});

t.test('a caller that leaves cancels both', async (test) => {
  primary.script = hangs;
  lite.script = hangs;
  const before = lite.count;
  const seen = await eventsOf('m', async () => {
    const stream = caller.open();
    stream.on('error', () => {});
    stream.end(predictRequest('m'));
    await until(() => lite.count > before, 'the hedge is under way');
    stream.close(8);
    await until(() => primary.calls.at(-1)!.resetCode === 8, 'the primary is cancelled');
    await until(() => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
  });
  test.same(seen, { started: 1, cancelled: 1 });
});

t.test('hedges above the budget are not sent, and counted', async (test) => {
  const opened = Promise.withResolvers<void>();
  primary.script = answersWhen('primary', opened.promise);
  const before = lite.count;
  const seen = await eventsOf('thrifty', async () => {
    const answer = caller.predict('thrifty');
    const end = performance.now() + 5000;
    while ((await events('thrifty'))['over_budget'] === 0 && performance.now() < end);
    opened.resolve();
    test.equal(servedBy(await answer), 'primary');
  });
  test.same(seen, { over_budget: 1 });
  test.equal(lite.count, before);
});

t.test('cancelled losers count against nobody', async (test) => {
  primary.script = hangs;
  for (let i = 0; i < 12; i++) test.equal(servedBy(await caller.predict('judged')), 'lite');
  const metrics = await proxy.metrics();
  const outcomes = (outcome: string) =>
    metrics.sum('understudy_cluster_requests_total', { cluster: 'judged@1', outcome });
  test.equal(outcomes('cancelled'), 12);
  for (const outcome of ['upstream_reset', 'deadline', 'upstream_error', 'connect_failed'])
    test.equal(outcomes(outcome), 0);
  test.equal(metrics.sum('understudy_breaker_events_total', { cluster: 'judged@1' }), 0, 'its breaker saw nothing');
});

t.test('another endpoint of the same cluster is asked where that is wanted', async (test) => {
  const scripts = [primary, twin];
  for (let i = 0; i < 4; i++) {
    // Whichever is asked first hangs, the other one answers.
    let first = true;
    for (const upstream of scripts) {
      upstream.script = (call) => {
        if (!first) return answers(upstream.name)(call);
        first = false;
      };
    }
    const before = [primary.count, twin.count];
    const answer = await caller.predict('pair');
    test.equal(answer.status, 0, answer.message);
    test.match(answer.served, { 'served-by': 'pair@1', reason: 'hedge' });
    test.same([primary.count - before[0]!, twin.count - before[1]!], [1, 1]);
  }
});

t.test('the log says that an endpoint hedge does not reach streams', async (test) => {
  test.same(
    proxy.logged('hedge_not_for_streams').map(({ model }) => model),
    ['pair'],
  );
});

t.test('nothing stays in flight, and every hedge that was started is accounted for', async (test) => {
  await accountedFor(test, proxy, 19);
});
