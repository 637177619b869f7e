/** What two data threads share: bounds, ejections, sticky splits, sums, and a Unix socket that only one of them can have. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:http2';
import { connect as netConnect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { answerOf, GrpcCaller, PREDICT, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import type { MetricsReading } from '../support/proxy-program.ts';
import { answers, hangs, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { ThreadLab } from '../support/thread-lab.ts';

const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true });
const lite = await ScriptedUpstream.start(t, 'lite', { forget: true });
const narrow = await ScriptedUpstream.start(t, 'narrow', { forget: true, maxConcurrentStreams: 1 });
const bad = await ScriptedUpstream.start(t, 'bad', { forget: true, script: (call) => call.failInTrailers(14) });
const lab = new ThreadLab(t);
const document = {
  clusters: [
    { name: 'queued', model: 'queued', endpoints: [narrow.address], limits: { pendingRequests: 4 } },
    {
      name: 'pair',
      model: 'pair',
      endpoints: [bad.address, lite.address],
      outlier: { consecutiveFailures: 5, ejection: '1h', maxEjection: '1h' },
      retries: { budgetFloor: 1000 },
    },
  ],
  models: [
    { name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] },
    { name: 'bounded', split: [{ model: `bounded@1 via ${upstream.address}` }], limits: { concurrentRequests: 5 } },
    { name: 'queued', split: [{ cluster: 'queued' }] },
    { name: 'pair', split: [{ cluster: 'pair' }] },
    {
      name: 'split',
      split: [
        { model: `split@1 via ${upstream.address}`, weight: '50%' },
        { model: `split@2 via ${lite.address}`, weight: '50%' },
      ],
      sticky: { header: 'x-customer' },
    },
  ],
};

const REFUSED = 'understudy_cluster_refusals_total';
/** Connections that a data thread has to one endpoint at most. */
const CONNECTIONS = 16;

t.test('both threads send one customer to one version, and what they count is one sum', async (test) => {
  const proxy = await lab.start(test, 2, document);
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

t.test('an endpoint that one thread ejects gets nothing from the other either', async (test) => {
  const proxy = await lab.start(test, 2, document);
  const callers = Array.from({ length: 16 }, () => GrpcCaller.to(test, proxy.address));
  const askAll = () => Promise.all(callers.map((caller) => caller.predict('pair')));
  const ejected = async () => (await proxy.metrics()).sum('understudy_endpoint_state', { state: 'ejected' });
  await until(async () => {
    for (const answer of await askAll()) test.equal(servedBy(answer), 'lite', 'a retry hides the failure');
    return (await ejected()) === 1;
  }, 'it is ejected');
  const { count } = bad;
  for (let i = 0; i < 5; i++) await askAll();
  test.equal(bad.count, count, 'from neither thread');
  test.equal((await proxy.metrics()).sum('understudy_endpoint_ejections_total'), 1, 'counted once');
  test.equal(await proxy.stop(), 0);
});

t.test('admission holds over both threads, and what a dying one had no longer counts', async (test) => {
  const proxy = await lab.start(test, 2, document);
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
  await lab.crash(proxy, 0, 1);
  test.ok((await Promise.all([...open, ...waiting])).every(({ status }) => status !== 0));
  // All five places are free again: as many calls at once as fit are answered.
  const caller = GrpcCaller.to(test, proxy.address);
  const again = await Promise.all(Array.from({ length: 5 }, () => caller.predict('bounded')));
  test.same(again.map(servedBy), Array(5).fill('upstream'));
  test.equal(await proxy.stop(), 0);
});

t.test(
  'a Unix socket is served by one of two threads, over one that a killed process left, and again after a death',
  async (test) => {
    const path = join(lab.folder, 'outbound.sock');
    const left = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen('${path}', () => console.log())`,
    ]);
    await once(left.stdout, 'data');
    left.kill('SIGKILL');
    await once(left, 'exit');
    test.ok(existsSync(path), 'it lies there');
    const proxy = await lab.start(test, 2, document, { UNDERSTUDY_OUTBOUND_LISTEN: `unix:${path},127.0.0.1:0` });
    const ask = async () => {
      const session = connect('http://x', { createConnection: () => netConnect(path) });
      session.on('error', () => {});
      const stream = session.request({
        ':method': 'POST',
        ':path': PREDICT,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const answer = answerOf(stream);
      stream.end(predictRequest('m'));
      const { status } = await answer;
      session.destroy();
      return status;
    };
    test.equal(await ask(), 0);
    await lab.crash(proxy, 0);
    test.equal(await ask(), 0);
    test.equal(await proxy.stop(), 0);
    test.notOk(existsSync(path), 'nothing is left behind');
  },
);
