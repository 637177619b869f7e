/** The breaker of a model version, as callers and the admin address see it, with four data threads that share it. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { InferStream, streams } from '../support/infer-stream.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import {
  answers,
  answersAfter,
  hangs,
  predictResponse,
  type Script,
  ScriptedUpstream,
} from '../support/scripted-upstream.ts';

const OPEN_MS = 600;

const primary = await ScriptedUpstream.start(t, 'primary', { forget: true });
const lite = await ScriptedUpstream.start(t, 'lite', { forget: true });
/** There while the proxy looks for it, and then no more. */
const gone = await ScriptedUpstream.start(t, 'gone');
const shade = await ScriptedUpstream.start(t, 'shade', { forget: true });
let restStatus = 200;
const rest = createServer((request, response) => {
  request.resume();
  response.writeHead(restStatus, { 'retry-after': new Date(Date.now() + 120_000).toUTCString() }).end('{}');
});
await new Promise<void>((resolve) => rest.listen(0, '127.0.0.1', resolve));
t.teardown(() => rest.close());
t.teardown(() => rest.closeAllConnections());
const portOf = (server: Server) => (server.address() as AddressInfo).port;
const fallback = [{ cluster: 'lite' }];
const model = (name: string, breaker: object) => ({
  name,
  split: [{ model: `${name}@1 via ${primary.address}` }],
  fallback,
  breaker: { open: `${OPEN_MS}ms`, maxOpen: `${OPEN_MS}ms`, jitter: '0%', ...breaker },
});
const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_CONCURRENCY: '4' },
  document: {
    clusters: [
      { name: 'lite', model: 'lite', endpoints: [lite.address] },
      {
        name: 'shade@1',
        model: 'shade',
        version: '1',
        endpoints: [shade.address],
        breaker: { consecutiveFailures: 1, open: '10ms', maxOpen: '1h' },
      },
    ],
    models: [
      model('row', { consecutiveFailures: 5, minimumRequests: 1000 }),
      model('share', { consecutiveFailures: 0, minimumRequests: 20, errorPercent: '50%' }),
      model('ignored', { consecutiveFailures: 3, minimumRequests: 3 }),
      model('probe', { consecutiveFailures: 1 }),
      model('held', {}),
      model('slow', { consecutiveFailures: 3, maxLatency: '150ms' }),
      model('asked', { consecutiveFailures: 1, open: '10ms', maxOpen: '1h' }),
      model('bounded', { consecutiveFailures: 1, maxOpen: '2s' }),
      ...['head', 'trailers', 'reset', 'cut', 'timeout', 'output'].map((kind) => ({
        ...model(kind, { consecutiveFailures: 1, open: '1h', maxOpen: '1h' }),
        checkOutputs: true,
      })),
      {
        ...model('connect', { consecutiveFailures: 1, open: '1h', maxOpen: '1h' }),
        split: [{ model: `connect@1 via ${gone.address}` }],
      },
      model('streamed', { consecutiveFailures: 1, open: '10ms', maxOpen: '1h' }),
      { ...model('shown', {}), shadows: [{ cluster: 'shade@1' }] },
      { ...model('full', { consecutiveFailures: 1 }), limits: { concurrentRequests: 1 } },
      {
        name: 'rest',
        split: [{ model: `rest@1 via 127.0.0.1:${portOf(rest)}` }],
        breaker: { consecutiveFailures: 1, maxOpen: '1h' },
      },
    ],
  },
});
/** So many that each data thread has some: the kernel deals connections out. */
const callers = Array.from({ length: 24 }, () => GrpcCaller.to(t, proxy.address));
const caller = callers[0]!;
const fails: Script = (call) => call.failInHead(14, 'down');

/** State of the breaker of a model's version 1. */
async function state(name: string): Promise<string> {
  const { clusters } = await proxy.json('/models');
  return clusters.find((cluster: { name: string }) => cluster.name === `${name}@1`).breaker.state;
}

/** One call from each connection; how many the primary was asked, and who answered. */
async function askAll(name: string): Promise<{ asked: number; reasons: Set<string> }> {
  const before = primary.count;
  const all = await Promise.all(callers.map((each) => each.predict(name)));
  return { asked: primary.count - before, reasons: new Set(all.map(({ served }) => served['reason'] ?? 'primary')) };
}

t.test('failures in a row open it for all data threads at once', async (test) => {
  primary.script = fails;
  for (let i = 0; i < 5; i++) test.equal((await caller.predict('row')).served['reason'], 'status');
  test.equal(await state('row'), 'open');
  test.same(await askAll('row'), { asked: 0, reasons: new Set(['breaker_open']) });
});

t.test('after its period one request probes, over all threads, and a failed probe opens it again', async (test) => {
  await delay(OPEN_MS + 50);
  const { asked, reasons } = await askAll('row');
  test.equal(asked, 1, 'one probe');
  test.same(reasons, new Set(['status', 'breaker_open']));
  test.equal(await state('row'), 'open');
});

t.test('a probe that succeeds closes it for all threads', async (test) => {
  primary.script = answers('primary');
  await delay(OPEN_MS + 50);
  test.equal(servedBy(await caller.predict('row')), 'primary', 'the probe is a real request');
  test.equal(await state('row'), 'closed');
  test.same(await askAll('row'), { asked: callers.length, reasons: new Set(['primary']) });
});

const kinds: Record<string, Script> = {
  head: fails,
  trailers: (call) => call.failInTrailers(13, 'bug'),
  reset: (call) => call.reset(),
  cut: (call) => void call.answerHalf(),
  timeout: hangs,
  output: async (call) => call.answer(predictResponse('primary', await call.body, [Number.NaN])),
  connect: hangs,
};

for (const [kind, script] of Object.entries(kinds)) {
  t.test(`a failure counts by its kind: ${kind}`, async (test) => {
    primary.script = script;
    if (kind === 'connect') await gone.close();
    const answer = await caller.predict(kind, kind === 'timeout' ? { 'grpc-timeout': '300m' } : {});
    test.equal(servedBy(answer), 'lite');
    test.equal(await state(kind), 'open');
    test.equal((await caller.predict(kind)).served['reason'], 'breaker_open');
    primary.script = answers('primary');
  });
}

t.test('a share of failures over all threads opens it', async (test) => {
  let flip = 0;
  primary.script = (call) => (flip++ % 2 === 0 ? call.failInHead(14) : void answers('primary')(call));
  await askAll('share');
  await askAll('share');
  test.equal(await state('share'), 'open');
  primary.script = answers('primary');
});

t.test('sheddings of the upstream and callers that cancel never count', async (test) => {
  primary.script = (call) => call.failInTrailers(14, 'full', { 'x-understudy-reason': 'batch_queue_full' });
  for (let i = 0; i < 2; i++) test.same((await askAll('ignored')).reasons, new Set(['status']));
  primary.script = (call) => call.failInHead(14, 'full', { 'x-understudy-reason': 'batch_queue_full' });
  await askAll('ignored');
  test.equal(await state('ignored'), 'closed');
  primary.script = hangs;
  for (const each of callers) {
    const before = primary.count;
    const stream = each.open();
    stream.on('error', () => {});
    stream.end(predictRequest('ignored'));
    await until(async () => primary.count > before);
    stream.close(8);
  }
  const metrics = await proxy.metricsOnce(
    (reading) =>
      reading.sum('understudy_cluster_requests_total', { cluster: 'ignored@1', outcome: 'cancelled' }) === 24,
  );
  test.equal(metrics.sum('understudy_cluster_requests_total', { cluster: 'ignored@1', outcome: 'cancelled' }), 24);
  test.equal(metrics.sum('understudy_cluster_requests_total', { cluster: 'ignored@1', outcome: 'overloaded' }), 72);
  test.equal(await state('ignored'), 'closed');
  primary.script = answers('primary');
});

t.test('errors that blame the caller never count', async (test) => {
  primary.script = (call) => call.failInHead(3, 'bad shape');
  for (let i = 0; i < 2; i++) await askAll('ignored');
  test.equal(await state('ignored'), 'closed');
  primary.script = answers('primary');
});

t.test('a deadline that passes while the caller still sends its request does not count', async (test) => {
  // The caller held the request: nobody can answer what has not been asked.
  const whole = predictRequest(
    'ignored',
    Array.from({ length: 50_000 }, () => 1),
  );
  await Promise.all(
    callers.slice(0, 6).map(async (each) => {
      const stream = each.open({ 'grpc-timeout': '100m' });
      stream.on('error', () => {});
      stream.write(whole.subarray(0, 100_000));
      await new Promise((resolve) => stream.on('close', resolve));
    }),
  );
  test.equal(await state('ignored'), 'closed');
});

t.test('a probe whose caller cancels lets the next request probe', async (test) => {
  primary.script = fails;
  await caller.predict('probe');
  test.equal(await state('probe'), 'open');
  await delay(OPEN_MS + 50);
  primary.script = hangs;
  const stream = caller.open();
  stream.on('error', () => {});
  stream.end(predictRequest('probe'));
  await until(async () => (await state('probe')) === 'half_open');
  test.equal(await state('probe'), 'half_open');
  test.same((await askAll('probe')).asked, 0, 'while it probes nobody else does');
  stream.close(8);
  primary.script = answers('primary');
  await until(async () => servedBy(await callers[5]!.predict('probe')) === 'primary');
  test.equal(servedBy(await callers[5]!.predict('probe')), 'primary');
  test.equal(await state('probe'), 'closed');
});

t.test('a probe that hangs gives its place up at its deadline', async (test) => {
  primary.script = fails;
  await caller.predict('probe');
  await delay(OPEN_MS + 50);
  primary.script = hangs;
  const probe = caller.predict('probe', { 'grpc-timeout': '2S' });
  await until(async () => (await state('probe')) === 'half_open');
  test.equal(await state('probe'), 'half_open');
  test.match((await probe).served, { reason: 'deadline_budget' });
  test.equal(await state('probe'), 'open', 'that was a failure');
  primary.script = answers('primary');
  await delay(OPEN_MS + 50);
  test.equal(servedBy(await caller.predict('probe')), 'primary');
});

t.test('an operator holds it open and closed, for all threads', async (test) => {
  const hold = (action: string) => proxy.json(`/breaker?cluster=held@1&action=${action}`, 'POST');
  await hold('hold_open');
  await until(async () => (await askAll('held')).asked === 0);
  test.same((await askAll('held')).reasons, new Set(['breaker_open']));
  test.equal(await state('held'), 'held_open');
  await hold('release');
  await until(async () => (await askAll('held')).asked === 24);
  test.equal(servedBy(await caller.predict('held')), 'primary');
  test.equal(await state('held'), 'closed');
  await hold('hold_closed');
  await until(async () => (await state('held')) === 'held_closed');
  primary.script = fails;
  for (let i = 0; i < 2; i++) test.same(await askAll('held'), { asked: 24, reasons: new Set(['status']) });
  test.equal(await state('held'), 'held_closed');
  await hold('release');
  primary.script = answers('primary');
});

t.test('an operator opens it once, and closes it once; it goes on judging', async (test) => {
  const command = (action: string) => proxy.json(`/breaker?cluster=held@1&action=${action}`, 'POST');
  primary.script = answers('primary');
  await command('close');
  await command('open');
  await until(async () => (await state('held')) === 'open');
  test.same((await askAll('held')).reasons, new Set(['breaker_open']));
  await delay(OPEN_MS + 50);
  test.equal(servedBy(await caller.predict('held')), 'primary', 'a probe, once its period is over');
  await command('open');
  await until(async () => (await state('held')) === 'open');
  await command('close');
  await until(async () => (await state('held')) === 'closed');
  test.equal(servedBy(await caller.predict('held')), 'primary');
  test.match(await command('hold'), { error: /hold_open/ });
  const described = (await proxy.json('/breakers')).find((one: { cluster: string }) => one.cluster === 'held@1');
  const last = described.transitions.slice(-2).map((entry: { reason: string }) => entry.reason);
  test.same(last, ['opened', 'closed']);
});

t.test('answers over the latency limit count as failures, though callers get them', async (test) => {
  primary.script = answersAfter('primary', 250);
  for (let i = 0; i < 3; i++) test.equal(servedBy(await caller.predict('slow')), 'primary');
  test.equal(await state('slow'), 'open');
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_cluster_slow_answers_total', { cluster: 'slow@1' }), 3);
  primary.script = answers('primary');
});

async function openFor(name: string): Promise<number> {
  const all = await proxy.json('/breakers');
  return all.find((one: { cluster: string }) => one.cluster === `${name}@1`).openForMs;
}

t.test('the wait an upstream asks for in head or trailers lengthens the open period, to its bound', async (test) => {
  primary.script = (call) => call.failInTrailers(14, 'later', { 'grpc-retry-pushback-ms': '600000' });
  await caller.predict('asked');
  test.ok((await openFor('asked')) > 500_000, 'grpc-retry-pushback-ms in trailers');
  primary.script = (call) => call.failInHead(14, 'later', { 'retry-after': '600' });
  await caller.predict('bounded');
  const bounded = await openFor('bounded');
  test.ok(bounded > OPEN_MS && bounded <= 2000, `${bounded} ms: retry-after in seconds, cut to maxOpen`);
  primary.script = answers('primary');
});

t.test('the end of a stream of messages may ask for a wait too', async (test) => {
  primary.script = (call) => call.failInHead(14, 'later', { 'grpc-retry-pushback-ms': '600000' });
  lite.script = streams('lite');
  const stream = new InferStream(test, proxy.address);
  stream.send('streamed', 'a');
  await stream.until(1);
  await stream.finish();
  test.ok((await openFor('streamed')) > 500_000);
  primary.script = answers('primary');
  lite.script = answers('lite');
});

t.test("a shadow that asks for a wait is spared as long, and its model's primary is not", async (test) => {
  shade.script = (call) => call.failInHead(14, 'later', { 'retry-after': '600' });
  test.equal(servedBy(await caller.predict('shown')), 'primary');
  await until(async () => (await state('shade')) === 'open');
  test.ok((await openFor('shade')) > 500_000);
  const seen = shade.count;
  for (let i = 0; i < 5; i++) test.equal(servedBy(await caller.predict('shown')), 'primary');
  test.equal(shade.count, seen);
});

t.test('over REST the HTTP status counts, and a date says when to come back', async (test) => {
  const url = `http://${proxy.address}/v1/models/rest/versions/1:predict`;
  const ask = async () => {
    const answer = await fetch(url, { method: 'POST', body: '{"instances":[[1]]}' });
    await answer.arrayBuffer();
    return answer.status;
  };
  restStatus = 429;
  test.equal(await ask(), 429);
  test.equal(await state('rest'), 'closed', "the caller's fault");
  restStatus = 503;
  test.equal(await ask(), 503);
  const described = (await proxy.json('/breakers')).find((one: { cluster: string }) => one.cluster === 'rest@1');
  test.equal(described.state, 'open');
  test.ok(described.openForMs > 60_000, `${described.openForMs} ms`);
});

t.test('what admission sheds never counts', async (test) => {
  primary.script = answersAfter('primary', 200);
  const before = primary.count;
  const all = await Promise.all(callers.map((each) => each.predict('full')));
  const shed = all.filter(({ served }) => served['reason'] === 'overflow').length;
  test.equal(shed, callers.length - (primary.count - before));
  test.ok(shed > 0, `${shed} were shed: each of four threads takes one at a time`);
  test.equal(await state('full'), 'closed');
  primary.script = answers('primary');
});

t.test('transitions are logged and counted once', async (test: Test) => {
  const metrics = await proxy.metrics();
  const events = (event: string) => metrics.sum('understudy_breaker_events_total', { cluster: 'row@1', event });
  test.equal(events('consecutive_failures'), 1);
  test.equal(events('probe_started'), 2);
  test.equal(events('probe_failed'), 1);
  test.equal(events('probe_succeeded'), 1);
  const logged = proxy.logged('breaker').filter((log) => log['cluster'] === 'row@1');
  test.same(
    logged.map(({ from, to }) => `${from} ${to}`),
    ['closed open', 'open half_open', 'half_open open', 'open half_open', 'half_open closed'],
  );
});
