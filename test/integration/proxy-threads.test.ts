/** Data threads: one that dies is replaced on the same port, the others go on, and what they share survives it. */
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import type { ProxyProgram } from '../support/proxy-program.ts';
import { answers, hangs, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { ThreadLab } from '../support/thread-lab.ts';

const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true });
const lite = await ScriptedUpstream.start(t, 'lite', { forget: true });
const lab = new ThreadLab(t);
const document = {
  clusters: [{ name: 'lite', model: 'lite', endpoints: [lite.address] }],
  models: [
    {
      name: 'm',
      split: [{ model: `m@1 via ${upstream.address}` }],
      shadows: [{ model: `m@2 via ${lite.address}` }],
    },
    {
      name: 'broken',
      split: [{ model: `broken@1 via ${upstream.address}` }],
      fallback: [{ cluster: 'lite' }],
      breaker: { consecutiveFailures: 1, open: '1h', maxOpen: '1h' },
    },
  ],
};

/** Calls from many new connections; which of them were answered. */
async function askMany(test: Test, proxy: ProxyProgram, model = 'm'): Promise<string[]> {
  const callers = Array.from({ length: 16 }, () => GrpcCaller.to(test, proxy.address));
  const all = await Promise.all(callers.map((caller) => caller.predict(model)));
  return all.map((answer) => (answer.status === 0 ? servedBy(answer) : `${answer.status} ${answer.message}`));
}

t.test('the only data thread dies and is replaced: same port, same configuration, same figures', async (test) => {
  const proxy = await lab.start(test, 1, document);
  const caller = GrpcCaller.to(test, proxy.address);
  test.equal(servedBy(await caller.predict('m')), 'upstream');
  upstream.script = hangs;
  const { count } = upstream;
  const cut = caller.predict('m');
  while (upstream.count === count) await delay(5);
  upstream.script = answers('upstream');
  await lab.crash(proxy, 0);
  const answer = await cut;
  test.not(answer.status, 0, 'what it carried is lost');
  test.same(new Set(await askMany(test, proxy)), new Set(['upstream']));
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_mirror_in_flight_requests') === 0);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0, 'gauges forget the dead');
  test.equal(metrics.sum('understudy_mirror_in_flight_requests'), 0);
  test.equal(
    metrics.sum('understudy_cluster_requests_total', { cluster: 'm@1', outcome: 'ok' }),
    17,
    'counters do not',
  );
  const compared = await proxy.metricsOnce((reading) => reading.sum('understudy_comparison_pairs_total') >= 16);
  test.ok(compared.sum('understudy_comparison_pairs_total') >= 16, 'its successor compares as well');
  await lab.crash(proxy, 0);
  test.same(new Set(await askMany(test, proxy)), new Set(['upstream']), 'and again');
  test.equal(await proxy.stop(), 0);
});

t.test('while one of two dies the other serves, and the breaker they share stays open', async (test) => {
  const proxy = await lab.start(test, 2, document);
  const callers = Array.from({ length: 16 }, () => GrpcCaller.to(test, proxy.address));
  upstream.script = (call) => call.failInHead(14);
  await callers[0]!.predict('broken');
  upstream.script = answers('upstream');
  test.same(new Set(await askMany(test, proxy, 'broken')), new Set(['lite']));
  await Promise.all(callers.map((caller) => caller.predict('m')));
  const before = upstream.count;
  await lab.crash(proxy, 1);
  const alive = callers.filter(({ session }) => !session.destroyed && !session.closed);
  test.ok(alive.length > 0 && alive.length < callers.length, `${alive.length} of 16 connections live on`);
  for (const caller of alive) test.equal(servedBy(await caller.predict('m')), 'upstream');
  test.ok(upstream.count > before);
  test.same(new Set(await askMany(test, proxy)), new Set(['upstream']));
  test.same(new Set(await askMany(test, proxy, 'broken')), new Set(['lite']), 'the successor knows of it');
  test.equal(await proxy.stop(), 0);
});

t.test('a data thread that dies at once each time is started again until it lives', async (test) => {
  const proxy = await lab.start(test, 1, document);
  lab.condemn('data-0', 'data-0 at start');
  proxy.child.kill('SIGUSR2');
  await proxy.until(() => proxy.logged('data_thread_error').length >= 3, 'some deaths');
  test.equal((await fetch(`${proxy.adminUrl}/readyz`)).status, 503);
  lab.condemn();
  await proxy.ready();
  test.same(new Set(await askMany(test, proxy)), new Set(['upstream']));
  test.equal(await proxy.stop(), 0);
});
