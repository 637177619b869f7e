/** Requests that are sent again: where, how often, within which budget and time, and when no more. */
import t from 'tap';
import { failsNow as fails, endpointLab as lab, statuses } from '../support/endpoint-lab.ts';
import { servedBy } from '../support/grpc-caller.ts';
import { answers, hangs, type Script, type ScriptedUpstream } from '../support/scripted-upstream.ts';

t.test('retries end where their budget ends', async (test) => {
  const retries = { attempts: 3, budget: '0%', budgetFloor: 2 };
  const { upstreams, caller, proxy } = await lab(test, 2, { retries, outlier: { enabled: false } });
  for (const upstream of upstreams) upstream.script = fails;
  await statuses(caller, 20);
  const metrics = await proxy.metrics();
  const sent = metrics.sum('understudy_cluster_retries_total');
  test.ok(sent >= 2 && sent <= 8, `${sent} retries in a few seconds`);
  test.ok(metrics.sum('understudy_cluster_retries_over_budget_total') > 0);
  test.equal(upstreams[0]!.count + upstreams[1]!.count, 20 + sent);
});

t.test('a try that takes too long is given up for another endpoint', async (test) => {
  const retries = { perTryTimeout: '150ms', budgetFloor: 1000 };
  const { upstreams, caller } = await lab(test, 2, { retries, outlier: { enabled: false } });
  const [slow, quick] = upstreams as [ScriptedUpstream, ScriptedUpstream];
  slow.script = hangs;
  for (let i = 0; i < 60 && slow.count === 0; i++) {
    test.equal(servedBy(await caller.predict('credit', { 'grpc-timeout': '20S' })), 'e1');
  }
  test.ok(slow.count > 0, 'it was tried');
  test.ok(
    slow.calls.every((call) => call.resetCode === 8),
    'and told to stop',
  );
  quick.script = hangs;
  const answer = await caller.predict('credit', { 'grpc-timeout': '900m' });
  test.equal(answer.status, 4, "the last try has the request's own time");
  test.ok(answer.tookMs > 500, `${answer.tookMs} ms`);
});

t.test('a cluster of one endpoint tries again there only where it is told to', async (test) => {
  const { upstreams, caller } = await lab(test, 1);
  const [only] = upstreams as [ScriptedUpstream];
  let failures = 0;
  const failsTimes: Script = async (call) => {
    if (failures-- > 0) fails(call);
    else await answers('e0')(call);
  };
  only.script = failsTimes;
  failures = 1;
  test.equal((await caller.predict('credit')).status, 14, 'by default the caller hears it');
  const told = await lab(test, 1, { retries: { attempts: 2, budgetFloor: 1000, perTryTimeout: '200ms' } });
  const [again] = told.upstreams as [ScriptedUpstream];
  again.script = failsTimes;
  failures = 2;
  test.equal(servedBy(await told.caller.predict('credit')), 'e0');
  test.equal(again.count, 3);
  failures = 3;
  test.equal((await told.caller.predict('credit')).status, 14, 'and no more often');
  test.equal(again.count, 6);
  failures = 1;
  again.script = (call) =>
    failures-- > 0 ? call.failInHead(14, 'later', { 'grpc-retry-pushback-ms': '5000' }) : answers('e0')(call);
  test.equal((await told.caller.predict('credit')).status, 14, 'nor where it asks to be left alone');
  test.equal(again.count, 7);
  again.script = (call) => (again.count === 8 ? call.reset() : answers('e0')(call));
  test.equal(servedBy(await told.caller.predict('credit')), 'e0', 'after a reset');
  again.script = (call) => (again.count === 10 ? undefined : answers('e0')(call));
  test.equal(servedBy(await told.caller.predict('credit', { 'grpc-timeout': '20S' })), 'e0', 'after a slow try');
  test.equal(again.count, 11);
  const metrics = await told.proxy.metrics();
  test.equal(metrics.sum('understudy_cluster_retries_total'), 6);
});

t.test('an upstream that forbids another try gets none, and no other endpoint does', async (test) => {
  const { upstreams, caller, proxy } = await lab(test, 2, {
    outlier: { enabled: false },
    retries: { budgetFloor: 1000 },
  });
  const forbids: Record<string, Script> = {
    'in its head': (call) => call.failInHead(14, 'never', { 'grpc-retry-pushback-ms': '-1' }),
    'in its trailers': (call) => call.failInTrailers(14, 'never', { 'grpc-retry-pushback-ms': '-1' }),
  };
  for (const [where, script] of Object.entries(forbids)) {
    for (const upstream of upstreams) upstream.script = script;
    test.match(await caller.predict('credit'), { status: 14, message: 'never' }, where);
  }
  test.equal(upstreams[0]!.count + upstreams[1]!.count, 2);
  test.equal((await proxy.metrics()).sum('understudy_cluster_retries_total'), 0);
});

t.test('nothing is tried again once a byte of an answer went to the caller', async (test) => {
  const { upstreams, caller, proxy } = await lab(test, 2, { retries: { attempts: 3, budgetFloor: 1000 } });
  for (const upstream of upstreams) upstream.script = (call) => call.answerHalf(3_000_000);
  const answer = await caller.predict('credit');
  test.equal(answer.status === 0, false);
  test.ok(answer.body.length > 0, 'part of it had come');
  test.equal(upstreams[0]!.count + upstreams[1]!.count, 1);
  test.equal((await proxy.metrics()).sum('understudy_cluster_retries_total'), 0);
});

/*
 * Scenario: one of two endpoints fails every call, and each failure is sent again to the other.
 * Mechanism: the failed tries come in bursts, several in a row before the first good answer.
 * Consequence: counted against the cluster they opened its breaker, and calls failed that the other endpoint would take.
 */
t.test('a failure that another try made good is the endpoint’s and opens no breaker', async (test) => {
  const { upstreams, caller, proxy } = await lab(test, 2, {
    breaker: { consecutiveFailures: 2, minimumRequests: 4, errorPercent: '5%' },
    outlier: { enabled: false },
    retries: { attempts: 1, budgetFloor: 10_000 },
  });
  upstreams[0]!.script = fails;
  test.same([...(await statuses(caller, 60))], [[0, 60]]);
  test.ok(upstreams[0]!.count > 0);
  upstreams[1]!.script = fails;
  await statuses(caller, 10);
  const open = (await proxy.metrics()).sum('understudy_breaker_state', { state: 'open' });
  test.equal(open, 1, 'when no try is good the cluster has failed');
});
