/** Rate limits, injected faults and admission through the whole proxy: what callers are told, and what breakers are not. */
import t from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';

const upstream = await ScriptedUpstream.start(t, 'upstream');
const lite = await ScriptedUpstream.start(t, 'lite');
const shadow = await ScriptedUpstream.start(t, 'shadow');
const model = (name: string, more: object = {}) => ({
  name,
  split: [{ model: `${name}@1 via ${upstream.address}` }],
  ...more,
});
const HOUR = { interval: '1h' };

const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_CONCURRENCY: '2' },
  document: {
    clusters: [{ name: 'web', endpoints: [upstream.address] }],
    routes: [
      { name: 'limited', pathPrefix: '/limited', cluster: 'web' },
      { name: 'slow', pathPrefix: '/slow', cluster: 'web' },
    ],
    models: [
      model('limited'),
      model('tried'),
      model('drilled', {
        fallback: [{ model: `lite@1 via ${lite.address}` }],
        shadows: [{ model: `drilled@2 via ${shadow.address}` }],
      }),
      model('aborted'),
    ],
    rateLimits: [
      { name: 'by-model', model: 'limited', requests: 3, ...HOUR },
      { name: 'by-route', route: 'limited', requests: 2, ...HOUR },
      { name: 'not-yet', model: 'tried', requests: 1, ...HOUR, enforced: '0%' },
    ],
    faults: [
      { name: 'drill', model: 'drilled', header: { name: 'x-drill', value: 'yes' }, abort: 'UNAVAILABLE' },
      { name: 'abort', model: 'aborted', abort: 'NOT_FOUND', httpStatus: 451 },
      { name: 'delay', route: 'slow', delay: '150ms' },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);
const breakers = async (of = proxy) => (await of.metrics()).sum('understudy_breaker_state', { state: 'open' });

async function http(path: string, body = '{}', at = proxy): Promise<Response> {
  return await fetch(`http://${at.address}${path}`, { method: 'POST', body });
}

t.test('a limit holds for the process, over all data threads, and says RESOURCE_EXHAUSTED or 429', async (test) => {
  const statuses: number[] = [];
  for (let i = 0; i < 8; i++) {
    // A connection each, so that both threads get some.
    const one = new GrpcCaller(proxy.address);
    const answer = await one.predict('limited');
    one.close();
    statuses.push(answer.status);
    if (answer.status !== 0) test.equal(answer.served['reason'], 'rate_limited');
  }
  test.equal(statuses.filter((status) => status === 0).length, 3);
  test.equal(statuses.filter((status) => status === 8).length, 5);
  test.equal((await http('/v1/models/limited:predict')).status, 429, 'REST');
  const reading = await proxy.metrics();
  test.equal(reading.sum('understudy_rate_limit_requests_total', { limit: 'by-model', result: 'refused' }), 6);
  test.equal(reading.sum('understudy_local_replies_total', { reason: 'rate_limited' }), 6);
});

t.test('a route is limited by itself', async (test) => {
  const statuses = [];
  for (let i = 0; i < 3; i++) statuses.push((await caller.predict('any', { ':path': '/limited/Call' })).status);
  test.equal(statuses[2], 8);
  test.notOk(statuses.slice(0, 2).includes(8));
});

t.test('a listener is limited whatever its requests are for', async (test) => {
  const limited = await ProxyProgram.start(test, {
    env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address },
    document: { models: [model('m')], rateLimits: [{ name: 'all', listener: 'outbound', requests: 2, ...HOUR }] },
  });
  const calling = GrpcCaller.to(test, limited.address);
  test.equal((await calling.predict('m')).status, 0);
  test.equal((await calling.predict('m', { ':path': '/other/Call' })).status, 0);
  test.equal((await calling.predict('m')).status, 8);
  test.equal((await http('/anything', '', limited)).status, 429);
});

t.test('a limit that is not enforced lets everything pass and counts it', async (test) => {
  for (let i = 0; i < 4; i++) test.equal((await caller.predict('tried')).status, 0);
  const reading = await proxy.metrics();
  test.equal(reading.sum('understudy_rate_limit_requests_total', { limit: 'not-yet', result: 'passed' }), 3);
});

t.test(
  'an abort is taken for a failure of the primary: a fallback answers, the breaker stays closed, the shadow sees nothing of it',
  async (test) => {
    const drilled = upstream.count;
    for (let i = 0; i < 30; i++) {
      const answer = await caller.predict('drilled', { 'x-drill': 'yes' });
      test.equal(servedBy(answer), 'lite');
    }
    test.equal(upstream.count, drilled, 'the primary was not asked');
    test.equal(servedBy(await caller.predict('drilled', { 'x-drill': 'no' })), 'upstream');
    test.equal(servedBy(await caller.predict('drilled')), 'upstream');
    test.equal(await breakers(), 0);
    const seen = await proxy.metricsOnce((r) => r.sum('understudy_mirror_requests_total') >= 32);
    test.equal(seen.sum('understudy_mirror_requests_total'), 32, 'every request was shown');
    test.equal(seen.sum('understudy_faults_injected_total', { fault: 'drill', kind: 'abort' }), 30);
  },
);

t.test('without a fallback the caller gets the configured status in its protocol', async (test) => {
  const answer = await caller.predict('aborted');
  test.equal(answer.status, 5);
  test.equal(answer.served['reason'], 'fault_injected');
  test.equal((await http('/v1/models/aborted:predict')).status, 451);
  for (let i = 0; i < 30; i++) await caller.predict('aborted');
  test.equal(await breakers(), 0);
});

t.test(
  'a delayed request keeps what it sends meanwhile, and one that is given up leaves nothing behind',
  async (test) => {
    const before = upstream.count;
    const stream = caller.open({ ':path': '/slow/Call' });
    stream.on('error', () => {});
    stream.write(Buffer.alloc(5));
    await new Promise((resolve) => setTimeout(resolve, 30));
    stream.end(Buffer.from('rest'));
    stream.resume();
    await new Promise((resolve) => stream.on('close', resolve));
    const call = upstream.calls.at(-1)!;
    test.equal((await call.body).length, 9);
    test.equal(upstream.count, before + 1);
    const gone = caller.open({ ':path': '/slow/Call' });
    gone.on('error', () => {});
    gone.end(Buffer.alloc(5));
    await proxy.metricsOnce((r) => r.sum('understudy_faults_injected_total', { fault: 'delay' }) === 2);
    gone.close(8);
    await proxy.metricsOnce((r) => r.sum('understudy_downstream_open_streams') === 0);
    await new Promise((resolve) => setTimeout(resolve, 250));
    test.equal(upstream.count, before + 1, 'it never reached the upstream');
  },
);

t.test('admission sheds with UNAVAILABLE and 503, and never opens a breaker by it', async (test) => {
  const narrow = await ProxyProgram.start(test, {
    env: { UNDERSTUDY_CONCURRENCY: '2' },
    document: { models: [model('narrow', { limits: { concurrentRequests: 1 } })] },
  });
  const calling = GrpcCaller.to(test, narrow.address);
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { script } = upstream;
  upstream.script = async (call) => {
    await held;
    await script(call);
  };
  const [first, ...shed] = Array.from({ length: 41 }, () => calling.predict('narrow'));
  const answers = await Promise.all(shed);
  for (const answer of answers) {
    test.equal(answer.status, 14);
    test.equal(answer.served['reason'], 'admission_overflow');
  }
  test.equal((await http('/v1/models/narrow:predict', '{}', narrow)).status, 503);
  release();
  test.equal((await first!).status, 0);
  upstream.script = script;
  test.equal(await breakers(narrow), 0);
  test.equal((await calling.predict('narrow')).status, 0, 'and serves on');
});

t.test('what a proxy behind this one sheds opens no breaker here either', async (test) => {
  const far = await ProxyProgram.start(test, {
    document: {
      models: [
        model('limited'),
        model('aborted'),
        model('narrow', { limits: { concurrentRequests: 1 } }),
        model('well'),
      ],
      rateLimits: [{ name: 'none', model: 'limited', requests: 1, ...HOUR }],
      faults: [{ name: 'abort', model: 'aborted', abort: 'UNAVAILABLE' }],
    },
  });
  const behind = (name: string) => ({
    name,
    split: [{ model: `${name}@1 via ${far.address}` }],
    breaker: { consecutiveFailures: 2, errorPercent: '1%', minimumRequests: 2 },
  });
  const names = ['limited', 'aborted', 'narrow', 'well'];
  const near = await ProxyProgram.start(test, { document: { models: names.map(behind) } });
  const calling = GrpcCaller.to(test, near.address);
  await calling.predict('limited');
  const { script } = upstream;
  upstream.script = () => {};
  void calling.predict('narrow');
  await far.metricsOnce((r) => r.sum('understudy_cluster_in_flight_requests', { cluster: 'narrow@1' }) === 1, 10_000);
  for (const [name, status, reason] of [
    ['limited', 8, 'rate_limited'],
    ['aborted', 14, 'fault_injected'],
    ['narrow', 14, 'admission_overflow'],
  ] as const) {
    for (let i = 0; i < 10; i++) {
      const answer = await calling.predict(name);
      test.equal(answer.status, status, name);
      test.equal(answer.served['reason'], reason);
    }
  }
  test.equal(await breakers(near), 0);
  upstream.script = (call) => call.failInHead(14);
  for (let i = 0; i < 3; i++) await calling.predict('well');
  test.equal(await breakers(near), 1, 'a failure behind it does');
  upstream.script = script;
});

t.test('every mistake in limits and faults is named at once', async (test) => {
  const bad = new ProxyProgram({
    document: {
      models: [model('m')],
      rateLimits: [
        { name: 'a', requests: 1 },
        { name: 'a', model: 'missing', requests: 1 },
        { name: 'c', model: 'm', requests: 1 },
        { name: 'd', model: 'm', requests: 1 },
      ],
      faults: [
        { name: 'e', model: 'm' },
        { name: 'f', route: 'none', httpStatus: 500 },
      ],
    },
  });
  test.equal(await bad.exit, 1);
  const said = bad.logs.map((log) => String(log['text'])).join('\n');
  for (const text of [
    'rateLimits[0]',
    'rateLimits[1].name',
    'rateLimits[1].model',
    'rateLimits[3]',
    'faults[0]',
    'faults[1].route',
    'faults[1].httpStatus',
  ]) {
    test.ok(said.includes(text), `${text} in ${said}`);
  }
});
