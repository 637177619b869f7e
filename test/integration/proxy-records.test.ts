/** What the proxy writes down about each request and connection: access log and request metrics. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-records-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const primary = await ScriptedUpstream.start(t, 'primary');
const web = http.createServer((request, response) => {
  response.statusCode = request.url === '/gone' ? 410 : 200;
  response.end('page');
});
web.listen(0, '127.0.0.1');
await once(web, 'listening');
t.teardown(() => web.close());
t.teardown(() => web.closeAllConnections());
const webAddress = `127.0.0.1:${(web.address() as net.AddressInfo).port}`;

let logs = 0;
async function start(
  test: Test,
  env: Record<string, string>,
  more: object = {},
): Promise<{ proxy: ProxyProgram; lines: () => string[] }> {
  const path = join(folder, `access-${logs++}.log`);
  const proxy = await ProxyProgram.start(test, {
    env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: webAddress, UNDERSTUDY_ACCESS_LOG_FILE: path, ...env },
    document: {
      ...more,
      clusters: [{ name: 'web', endpoints: [webAddress] }],
      routes: [{ name: 'gone', path: '/gone', cluster: 'web' }],
      models: [
        { name: 'm', split: [{ model: `m@1 via ${primary.address}` }] },
        {
          name: 'dead',
          split: [{ model: 'dead@1 via 127.0.0.1:1' }],
          fallback: [{ model: `m@1 via ${primary.address}` }],
        },
        { name: 'lost', split: [{ model: 'lost@1 via 127.0.0.1:1' }] },
      ],
    },
    ready: false,
  });
  return { proxy, lines: () => readFileSync(path, 'utf8').split('\n').slice(0, -1) };
}

async function visit(proxy: ProxyProgram, path: string): Promise<number> {
  const answer = await fetch(`http://${proxy.address}${path}`);
  await answer.text();
  return answer.status;
}

t.test(
  'JSON lines tell of requests, failures and opaque connections with the server name of their TLS',
  async (test) => {
    const { proxy, lines } = await start(test, { UNDERSTUDY_ACCESS_LOG: 'json' });
    const caller = GrpcCaller.to(test, proxy.address);
    await caller.predict('m');
    await caller.predict('dead');
    await caller.predict('lost');
    test.equal(await visit(proxy, '/gone'), 410);
    const [host = '', port = ''] = proxy.address.split(':');
    // The upstream does not speak TLS: what matters is the hello that passed through.
    const secure = tls.connect({ host, port: Number(port), servername: 'models.example' });
    await once(secure, 'error');
    await until(() => lines().length >= 5, 'the lines are written', 10_000);
    const records = lines().map((line) => JSON.parse(line));
    const [ok, replaced, lost, gone, opaque] = records;
    test.match(ok, {
      protocol: 'HTTP/2',
      model: 'm',
      cluster: 'm@1',
      version: '1',
      status: 0,
      httpStatus: 200,
      flags: '-',
    });
    test.match(replaced, { model: 'dead', cluster: 'm@1', flags: 'FB', primary: false });
    test.match(lost, { model: 'lost', status: 14, flags: 'UF' });
    test.match(gone, { protocol: 'HTTP/1.1', method: 'GET', path: '/gone', route: 'gone', httpStatus: 410 });
    test.match(opaque, { protocol: 'opaque', destination: webAddress, serverName: 'models.example' });
    test.ok(records.every((record) => record.durationMs >= 0 && !Number.isNaN(Date.parse(record.time))));
  },
);

t.test(
  'text lines follow a template; values that could be mistaken are quoted; failures are logged whatever the sample',
  async (test) => {
    const { proxy, lines } = await start(test, {
      UNDERSTUDY_ACCESS_LOG: 'text',
      UNDERSTUDY_ACCESS_LOG_SAMPLE: '0%',
      UNDERSTUDY_ACCESS_LOG_TEMPLATE: '<{method} {path}> {model} status={status} {flags} ua={userAgent} {serverName}',
    });
    const caller = GrpcCaller.to(test, proxy.address);
    for (let i = 0; i < 20; i++) await caller.predict('m');
    await caller.predict('lost');
    await until(() => lines().some((line) => line.includes('lost')), 'the failure is written', 10_000);
    test.equal(lines().filter((line) => line.includes(' m status=0')).length, 0, 'successes are sampled away');
    test.match(lines().at(-1), /^<POST \/tensorflow\.serving\.PredictionService\/Predict> lost status=14 UF ua=\S+ -$/);
  },
);

t.test('a template that names no field is refused with the fields there are', async (test) => {
  const proxy = new ProxyProgram({ env: { UNDERSTUDY_ACCESS_LOG_TEMPLATE: '{time} {duration}' } });
  test.teardown(() => proxy.kill());
  test.not(await proxy.exit, 0);
  test.match(JSON.stringify(proxy.logs), /UNDERSTUDY_ACCESS_LOG_TEMPLATE.*\{duration\}.*durationMs/);
});

t.test('requests are counted by route and status, connections that are refused by reason', async (test) => {
  const { proxy } = await start(test, { UNDERSTUDY_OUTBOUND_MAX_CONNECTIONS: '3', UNDERSTUDY_CONCURRENCY: '1' });
  const caller = GrpcCaller.to(test, proxy.address);
  await caller.predict('m');
  await caller.predict('lost');
  await visit(proxy, '/gone');
  await visit(proxy, '/page');
  const metrics = await proxy.metrics();
  const of = (name: string, labels: Record<string, string>) => metrics.sum(`understudy_route_${name}`, labels);
  test.equal(of('requests_total', { route: 'gone', outcome: 'answered' }), 1);
  test.equal(of('http_responses_total', { route: 'gone', status_class: '4xx' }), 1);
  test.equal(of('http_responses_total', { route: '-', status_class: '2xx' }), 1);
  test.equal(of('grpc_responses_total', { route: '-', grpc_status: '0' }), 1);
  test.equal(of('grpc_responses_total', { route: '-', grpc_status: '14' }), 1);
  test.equal(of('requests_total', { route: '-', outcome: 'refused' }), 1);
  test.equal(
    metrics.sum('understudy_cluster_responses_total', { cluster: 'm@1', model_version: '1', grpc_status: '0' }),
    1,
  );
  const [host = '', port = ''] = proxy.address.split(':');
  const sockets = Array.from({ length: 8 }, () => net.connect(Number(port), host).on('error', () => {}));
  test.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  const refused = { reason: 'max_connections' };
  const name = 'understudy_downstream_connection_refusals_total';
  const full = await proxy.metricsOnce((reading) => reading.sum(name, refused) > 0, 10_000);
  test.ok(full.sum(name, refused) >= 5, `${full.sum(name, refused)} of 8 beside the caller's own`);
});

t.test(
  'a log that nobody reads holds nobody up: lines are dropped and counted, and the end comes in time',
  async (test) => {
    const proxy = await ProxyProgram.start(test, {
      stdout: 'pipe',
      env: {
        UNDERSTUDY_ACCESS_LOG: 'json',
        UNDERSTUDY_CONCURRENCY: '1',
        UNDERSTUDY_SHUTDOWN_DELAY: '0s',
        UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '2s',
      },
      document: { models: [{ name: 'm', split: [{ model: `m@1 via ${primary.address}` }] }] },
    });
    proxy.child.stdout!.pause();
    const caller = GrpcCaller.to(test, proxy.address);
    const dropped = async () => (await proxy.metrics()).sum('understudy_access_log_dropped_total');
    const agent = { 'user-agent': 'a'.repeat(8000) };
    const took: number[] = [];
    // The pipe holds 64 KiB, the write under way and what waits for it 1 MiB each: lines of 8 KB fill all soon.
    for (let i = 0; i < 500; i++) {
      const answer = await caller.predict('m', agent);
      if (answer.status !== 0) test.fail(`${answer.status} ${answer.message}`);
      took.push(answer.tookMs);
    }
    took.sort((a, b) => a - b);
    test.comment(`callers meanwhile: p50 ${took[250]!.toFixed(2)} ms, p99 ${took[495]!.toFixed(2)} ms`);
    test.ok((await dropped()) > 100, `${await dropped()} lines were dropped`);
    const startedMs = performance.now();
    test.equal(await proxy.stop(), 0);
    test.ok(performance.now() - startedMs < 15_000, 'nobody waits for the reader');
  },
);

t.test('what we refuse ourselves has its flag', async (test) => {
  const { proxy, lines } = await start(
    test,
    { UNDERSTUDY_ACCESS_LOG: 'json' },
    {
      rateLimits: [{ name: 'one', model: 'm', requests: 1, interval: '1h' }],
      faults: [{ name: 'drill', model: 'lost', abort: 'UNAVAILABLE' }],
    },
  );
  const caller = GrpcCaller.to(test, proxy.address);
  await caller.predict('m');
  await caller.predict('m');
  await caller.predict('lost');
  await until(() => lines().length >= 3, 'the lines are written', 10_000);
  const flags = lines().map((line) => JSON.parse(line).flags);
  test.same(flags.slice(0, 3), ['-', 'RL', 'FI']);
});
