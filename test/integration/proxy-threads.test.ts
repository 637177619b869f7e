/** Data threads: one that dies is replaced on the same port, the others go on, and what they share survives it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { type MetricsReading, ProxyProgram } from '../support/proxy-program.ts';
import { answers, hangs, ScriptedUpstream } from '../support/scripted-upstream.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-threads-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const victims = join(folder, 'victims');
const preload = fileURLToPath(new URL('../support/crash-on-signal.mjs', import.meta.url));
const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true });
const lite = await ScriptedUpstream.start(t, 'lite', { forget: true });
const narrow = await ScriptedUpstream.start(t, 'narrow', { forget: true, maxConcurrentStreams: 1 });

const REFUSED = 'understudy_cluster_refusals_total';
/** Connections that a data thread has to one endpoint at most. */
const CONNECTIONS = 16;

function start(test: Test, threads: number): Promise<ProxyProgram> {
  writeFileSync(victims, '');
  return ProxyProgram.start(test, {
    nodeArgs: ['--import', preload],
    env: { UNDERSTUDY_CONCURRENCY: String(threads), UNDERSTUDY_TEST_CRASH: victims },
    document: {
      clusters: [
        { name: 'lite', model: 'lite', endpoints: [lite.address] },
        { name: 'queued', model: 'queued', endpoints: [narrow.address], limits: { pendingRequests: 4 } },
      ],
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
        { name: 'bounded', split: [{ model: `bounded@1 via ${upstream.address}` }], limits: { concurrentRequests: 5 } },
        { name: 'queued', split: [{ cluster: 'queued' }] },
        {
          name: 'split',
          split: [
            { model: `split@1 via ${upstream.address}`, weight: '50%' },
            { model: `split@2 via ${lite.address}`, weight: '50%' },
          ],
          sticky: { header: 'x-customer' },
        },
      ],
    },
  });
}

/** Makes data threads throw; resolves when their successors are ready. */
async function crash(proxy: ProxyProgram, ...threads: number[]): Promise<void> {
  writeFileSync(victims, threads.map((thread) => `data-${thread}`).join('\n'));
  const before = proxy.logged('data_thread_died').length;
  proxy.child.kill('SIGUSR2');
  await proxy.until(() => proxy.logged('data_thread_died').length === before + threads.length, 'deaths');
  await proxy.ready();
}

/** Calls from many new connections; which of them were answered. */
async function askMany(test: Test, proxy: ProxyProgram, model = 'm'): Promise<string[]> {
  const callers = Array.from({ length: 16 }, () => GrpcCaller.to(test, proxy.address));
  const all = await Promise.all(callers.map((caller) => caller.predict(model)));
  return all.map((answer) => (answer.status === 0 ? servedBy(answer) : `${answer.status} ${answer.message}`));
}

t.test('the only data thread dies and is replaced: same port, same configuration, same figures', async (test) => {
  const proxy = await start(test, 1);
  const caller = GrpcCaller.to(test, proxy.address);
  test.equal(servedBy(await caller.predict('m')), 'upstream');
  upstream.script = hangs;
  const cut = caller.predict('m');
  await delay(50);
  upstream.script = answers('upstream');
  await crash(proxy, 0);
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
  await crash(proxy, 0);
  test.same(new Set(await askMany(test, proxy)), new Set(['upstream']), 'and again');
  test.equal(await proxy.stop(), 0);
});

t.test('while one of two dies the other serves, and the breaker they share stays open', async (test) => {
  const proxy = await start(test, 2);
  const callers = Array.from({ length: 16 }, () => GrpcCaller.to(test, proxy.address));
  upstream.script = (call) => call.failInHead(14);
  await callers[0]!.predict('broken');
  upstream.script = answers('upstream');
  test.same(new Set(await askMany(test, proxy, 'broken')), new Set(['lite']));
  await Promise.all(callers.map((caller) => caller.predict('m')));
  const before = upstream.count;
  await crash(proxy, 1);
  const alive = callers.filter(({ session }) => !session.destroyed && !session.closed);
  test.ok(alive.length > 0 && alive.length < callers.length, `${alive.length} of 16 connections live on`);
  for (const caller of alive) test.equal(servedBy(await caller.predict('m')), 'upstream');
  test.ok(upstream.count > before);
  test.same(new Set(await askMany(test, proxy)), new Set(['upstream']));
  test.same(new Set(await askMany(test, proxy, 'broken')), new Set(['lite']), 'the successor knows of it');
  test.equal(await proxy.stop(), 0);
});

t.test('both threads send one customer to one version, and what they count is one sum', async (test) => {
  const proxy = await start(test, 2);
  const callers = Array.from({ length: 16 }, () => GrpcCaller.to(test, proxy.address));
  const versions = new Set<string>();
  for (const customer of ['a', 'b', 'c', 'd', 'e', 'f']) {
    const answered = await Promise.all(callers.map((caller) => caller.predict('split', { 'x-customer': customer })));
    const names = new Set(answered.map(servedBy));
    test.equal(names.size, 1, `${customer}: ${[...names]}`);
    versions.add([...names][0]!);
  }
  test.equal(versions.size, 2, 'both versions have customers');
  const labels = { outcome: 'ok' };
  const sum = (cluster: string) => (reading: MetricsReading) =>
    reading.sum('understudy_cluster_requests_total', { cluster, ...labels });
  const reading = await proxy.metricsOnce((r) => sum('split@1')(r) + sum('split@2')(r) === 6 * 16);
  test.equal(sum('split@1')(reading) + sum('split@2')(reading), 6 * 16);
  test.equal(await proxy.stop(), 0);
});

t.test('admission holds over both threads, and what a dying one had no longer counts', async (test) => {
  const proxy = await start(test, 2);
  const callers = Array.from({ length: 24 }, () => GrpcCaller.to(test, proxy.address));
  upstream.script = hangs;
  const before = upstream.count;
  const open = callers.map((caller) => caller.predict('bounded'));
  const refused = await proxy.metricsOnce((reading) => reading.sum(REFUSED, { reason: 'concurrency' }) >= 19, 20_000);
  test.equal(refused.sum(REFUSED, { cluster: 'bounded@1', reason: 'concurrency' }), 19, 'five are in flight');
  test.equal(upstream.count - before, 5);
  // A stream at a time on each connection: who finds none waits. First both threads learn of that.
  for (const caller of callers) test.equal(servedBy(await caller.predict('queued')), 'narrow');
  narrow.script = hangs;
  const waiting = callers.flatMap((caller) => Array.from({ length: 10 }, () => caller.predict('queued')));
  const shed = waiting.length - 2 * CONNECTIONS - 4;
  const full = await proxy.metricsOnce((reading) => reading.sum(REFUSED, { reason: 'pending' }) >= shed, 20_000);
  test.equal(full.sum(REFUSED, { cluster: 'queued', reason: 'pending' }), shed, 'four wait, over both threads');
  upstream.script = answers('upstream');
  await crash(proxy, 0, 1);
  test.ok((await Promise.all([...open, ...waiting])).every(({ status }) => status !== 0));
  // All five places are free again: as many calls at once as fit are answered.
  const caller = GrpcCaller.to(test, proxy.address);
  const again = await Promise.all(Array.from({ length: 5 }, () => caller.predict('bounded')));
  test.same(again.map(servedBy), Array(5).fill('upstream'));
  test.equal(await proxy.stop(), 0);
});

t.test('a data thread that dies at once each time is started again until it lives', async (test) => {
  const proxy = await start(test, 1);
  writeFileSync(victims, 'data-0\ndata-0 at start');
  proxy.child.kill('SIGUSR2');
  await proxy.until(() => proxy.logged('data_thread_error').length >= 3, 'some deaths');
  test.equal((await fetch(`${proxy.adminUrl}/readyz`)).status, 503);
  writeFileSync(victims, '');
  await proxy.ready();
  test.same(new Set(await askMany(test, proxy)), new Set(['upstream']));
  test.equal(await proxy.stop(), 0);
});
