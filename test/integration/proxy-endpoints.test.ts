/** A cluster of several endpoints: who gets requests, who is ejected and comes back, and what names change. */
import { rmSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { failsNow as fails, endpointLab as lab, statuses, untilState } from '../support/endpoint-lab.ts';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, answersAfter, ScriptedUpstream } from '../support/scripted-upstream.ts';

t.test('a dead endpoint of three costs no caller an answer', async (test) => {
  const { upstreams, caller, proxy } = await lab(test, 3);
  const before = await statuses(caller, 30);
  test.same([...before], [[0, 30]]);
  test.ok(
    upstreams.every(({ count }) => count > 0),
    'all three are used',
  );
  await upstreams[0]!.close();
  test.same([...(await statuses(caller, 60))], [[0, 60]]);
  const metrics = await proxy.metrics();
  test.ok(metrics.sum('understudy_cluster_retries_total') > 0, 'some were sent again');
});

t.test('an endpoint that fails in its trailers is ejected, and one real request brings it back', async (test) => {
  const outlier = { consecutiveFailures: 3, ejection: '300ms' };
  const { upstreams, caller, proxy } = await lab(test, 2, { outlier, retries: { budgetFloor: 1000 } });
  const [bad] = upstreams as [ScriptedUpstream, ScriptedUpstream];
  bad.script = fails;
  const stopAt = performance.now() + 20_000;
  let ejections = 0;
  while (ejections === 0 && performance.now() < stopAt) {
    test.same([...(await statuses(caller, 20))], [[0, 20]], 'retries hide it from callers');
    ejections = (await proxy.metrics()).sum('understudy_endpoint_ejections_total');
  }
  test.ok(ejections > 0);
  const ejectedAt = bad.count;
  await statuses(caller, 20);
  test.ok(bad.count - ejectedAt <= 3, 'at most a probe now and then');
  bad.script = answers('e0');
  await until(async () => {
    await statuses(caller, 5);
    return bad.count - ejectedAt >= 10;
  }, 'it serves again');
  await untilState(proxy, bad.address, 'healthy');
});

t.test('with every endpoint failing at most half are ejected, and the caller hears the upstream', async (test) => {
  const { upstreams, caller, proxy } = await lab(test, 4, {
    outlier: { consecutiveFailures: 2 },
    retries: { attempts: 0 },
  });
  for (const upstream of upstreams) upstream.script = fails;
  test.same([...(await statuses(caller, 40))], [[14, 40]]);
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_endpoint_state', { state: 'ejected' }), 2);
  const last = await caller.predict('credit');
  test.equal(last.message, 'not now');
});

/*
 * Scenario: one of three endpoints fails every call at once, the others take their time.
 * Mechanism: by requests in flight alone the failing one always looks idle; each failure counts for a while.
 * Consequence: without that it would get nearly all calls.
 */
t.test('an endpoint that fails at once does not draw the calls to itself', async (test) => {
  const { upstreams, caller } = await lab(test, 3, { outlier: { enabled: false }, retries: { attempts: 0 } });
  const [bad, ...well] = upstreams as [ScriptedUpstream, ScriptedUpstream, ScriptedUpstream];
  bad.script = fails;
  for (const upstream of well) upstream.script = answersAfter(upstream.name, 30);
  let left = 240;
  const calling = async () => {
    while (left-- > 0) await caller.predict('credit');
  };
  await Promise.all(Array.from({ length: 12 }, calling));
  test.ok(bad.count > 0, 'it is still tried');
  test.ok(bad.count < 80, `${bad.count} of 240 calls: less than an equal share`);
});

t.test(
  'a name that moves takes its connections along, and one of several addresses is several endpoints',
  async (test) => {
    // Two upstreams on one port of two loopback addresses, and a name service that is a file.
    const first = await ScriptedUpstream.start(test, 'first');
    const second = new ScriptedUpstream('second');
    await second.listen(first.port, '127.0.0.2');
    test.teardown(() => second.close());
    const table = `${test.testdir()}/hosts.json`;
    const say = (addresses: string[]) => writeFileSync(table, JSON.stringify(addresses));
    say(['127.0.0.1']);
    const preload = `
    import dns from 'node:dns'; import { readFileSync } from 'node:fs'; import { syncBuiltinESMExports } from 'node:module';
    const read = () => JSON.parse(readFileSync(${JSON.stringify(table)}, 'utf8'));
    const plain = dns.lookup, promised = dns.promises.lookup;
    const entry = (address) => ({ address, family: 4 });
    dns.lookup = (name, options, done) => {
      if (name !== 'models.test') return plain(name, options, done);
      const all = read().map(entry);
      setImmediate(() => (options.all ? done(null, all) : done(null, all[0].address, 4)));
    };
    dns.promises.lookup = async (name, options) =>
      name === 'models.test' ? read().map(entry) : promised(name, options);
    syncBuiltinESMExports();`;
    const cluster = (name: string, discovery: string) => ({
      name,
      model: name,
      endpoints: [`models.test:${first.port}`],
      discovery,
      dnsRefresh: '100ms',
    });
    const proxy = await ProxyProgram.start(test, {
      ready: false,
      nodeArgs: ['--import', `data:text/javascript,${encodeURIComponent(preload)}`],
      document: {
        clusters: [cluster('moving', 'name'), cluster('spread', 'addresses')],
        models: ['moving', 'spread'].map((name) => ({ name, split: [{ cluster: name }] })),
      },
    });
    await proxy.until(() => proxy.address !== '' && proxy.adminUrl !== '', 'its addresses');
    const caller = GrpcCaller.to(test, proxy.address);
    test.equal(servedBy(await caller.predict('moving')), 'first');
    say(['127.0.0.2']);
    await until(async () => servedBy(await caller.predict('moving')) === 'second', 'the old connection is left');
    say(['127.0.0.1', '127.0.0.2']);
    const seen = new Set<string | undefined>();
    await until(async () => seen.add(servedBy(await caller.predict('spread'))).size === 2, 'both are asked');
    test.same([...seen].sort(), ['first', 'second']);
    rmSync(table);
    const failed = await proxy.metricsOnce(
      (reading) => reading.sum('understudy_name_lookups_total', { result: 'failed' }) >= 4,
      10_000,
    );
    test.ok(failed.sum('understudy_name_lookups_total', { result: 'failed' }) >= 4, 'the name has vanished');
    for (const name of ['moving', 'spread'])
      test.equal((await caller.predict(name)).status, 0, `${name}: what was known stands`);
  },
);
