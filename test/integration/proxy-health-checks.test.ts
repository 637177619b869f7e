/** Active health checks through the whole proxy: who is taken out, who comes back, over TLS too, and what they cannot do. */
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { TestAuthority } from '../support/certificates.ts';
import { failsNow as fails, endpointLab as lab, statuses, untilState } from '../support/endpoint-lab.ts';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { type MetricsReading, ProxyProgram } from '../support/proxy-program.ts';
import { predictResponse, ScriptedUpstream } from '../support/scripted-upstream.ts';

t.test('checks that pass do not bring back an endpoint that was ejected for its answers', async (test) => {
  const healthCheck = { kind: 'tcp', interval: '50ms', healthyAfter: 1 };
  const outlier = { consecutiveFailures: 2, ejection: '1h', maxEjection: '1h' };
  const { upstreams, caller, proxy } = await lab(test, 2, { healthCheck, outlier, retries: { budgetFloor: 1000 } });
  const [bad] = upstreams as [ScriptedUpstream, ScriptedUpstream];
  bad.script = fails;
  await until(async () => {
    await statuses(caller, 10);
    return bad.count >= 2;
  }, 'it has failed twice');
  await untilState(proxy, bad.address, 'ejected');
  const checks = (reading: MetricsReading) => reading.sum('understudy_health_checks_total', { result: 'passed' });
  const before = checks(await proxy.metrics());
  await proxy.metricsOnce((reading) => checks(reading) >= before + 6, 10_000);
  const { count } = bad;
  test.same([...(await statuses(caller, 40))], [[0, 40]]);
  test.equal(bad.count, count, 'not a request went there');
  await untilState(proxy, bad.address, 'ejected');
});

t.test('health checks take endpoints out and, when none is left, refuse at once', async (test) => {
  const healthCheck = { kind: 'grpc', interval: '60ms', timeout: '1s', unhealthyAfter: 2, healthyAfter: 1 };
  const { upstreams, caller, proxy } = await lab(test, 2, { healthCheck, outlier: { enabled: false } });
  const sick = new Set<string>();
  for (const upstream of upstreams) {
    upstream.script = async (call) => {
      const body = await call.body;
      const isCheck = call.headers[':path'] === '/grpc.health.v1.Health/Check';
      call.answer(isCheck ? Buffer.from([8, sick.has(upstream.name) ? 2 : 1]) : predictResponse(upstream.name, body));
    };
  }
  sick.add('e0');
  await untilState(proxy, upstreams[0]!.address, 'unhealthy');
  for (let i = 0; i < 10; i++) test.equal(servedBy(await caller.predict('credit')), 'e1');
  sick.add('e1');
  await untilState(proxy, upstreams[1]!.address, 'unhealthy');
  const refused = await caller.predict('credit');
  test.equal(refused.status, 14);
  test.equal(decodeURIComponent(refused.message), 'no endpoint of the upstream is healthy');
  sick.delete('e0');
  await untilState(proxy, upstreams[0]!.address, 'healthy');
  test.equal(servedBy(await caller.predict('credit')), 'e0');
  const metrics = await proxy.metrics();
  test.ok(metrics.sum('understudy_health_checks_total', { result: 'failed' }) >= 4);
});

t.test('endpoints that speak TLS are checked over TLS, and one with the wrong name is not well', async (test) => {
  const authority = new TestAuthority();
  const caFile = `${test.testdir()}/ca.pem`;
  writeFileSync(caFile, authority.cert);
  const start = async (name: string, certified: string) => {
    const { cert, key } = authority.issue({ names: [certified] });
    const upstream = await ScriptedUpstream.start(test, name, { tls: { cert, key } });
    upstream.script = async (call) => {
      const body = await call.body;
      const isCheck = call.headers[':path'] === '/grpc.health.v1.Health/Check';
      call.answer(isCheck ? Buffer.from([8, 1]) : predictResponse(name, body));
    };
    return upstream;
  };
  const [good, wrong] = await Promise.all([start('good', '127.0.0.1'), start('wrong', 'else.example')]);
  const cluster = {
    name: 'credit@1',
    model: 'credit',
    endpoints: [good.address, wrong.address],
    tls: { caFile },
    healthCheck: { kind: 'grpc', interval: '60ms', unhealthyAfter: 1 },
  };
  const document = { clusters: [cluster], models: [{ name: 'credit', split: [{ cluster: 'credit@1' }] }] };
  const proxy = await ProxyProgram.start(test, { ready: false, document });
  await proxy.until(() => proxy.address !== '' && proxy.adminUrl !== '', 'its addresses');
  await untilState(proxy, wrong.address, 'unhealthy');
  await untilState(proxy, good.address, 'healthy');
  const caller = GrpcCaller.to(test, proxy.address);
  for (let i = 0; i < 5; i++) test.equal(servedBy(await caller.predict('credit')), 'good');
  test.ok((await proxy.metrics()).sum('understudy_health_checks_total', { result: 'passed' }) > 0);
});
