/** Which requests shadows see over processes, what the primary says twice, and what a shadow may count for. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, predictResponse, ScriptedUpstream } from '../support/scripted-upstream.ts';

const REQUESTS = 600;

const primary = await ScriptedUpstream.start(t, 'primary', { forget: true });
const canary = await ScriptedUpstream.start(t, 'canary', { forget: true });
const seen: Map<string, Set<number>>[] = [];

/** A shadow that notes, by the proxy that asked, the number in each request. */
async function notingShadow(): Promise<ScriptedUpstream> {
  const sets = new Map<string, Set<number>>();
  seen.push(sets);
  const upstream = await ScriptedUpstream.start(t, 'shadow', { forget: true });
  upstream.script = async (call) => {
    const from = String(call.headers['x-from']);
    const { inputs } = await call.request();
    const set = sets.get(from) ?? new Set();
    sets.set(from, set.add(inputs.x.float_val[0]));
    call.answer(predictResponse('shadow', await call.body));
  };
  return upstream;
}

const first = await notingShadow();
const second = await notingShadow();
const document = {
  models: [
    {
      name: 'm',
      split: [{ model: `m@1 via ${primary.address}` }],
      shadows: [
        { model: `m@2 via ${first.address}`, percent: '30%' },
        { model: `m@3 via ${second.address}`, percent: '30%' },
      ],
    },
    {
      name: 'noisy',
      split: [{ model: `noisy@1 via ${primary.address}` }],
      shadows: [{ model: `noisy@2 via ${canary.address}` }],
      comparison: { noiseFloor: '100%', harmLimit: '5%', safetyLimit: '30%' },
    },
    {
      name: 'shared',
      split: [
        { model: `shared@1 via ${primary.address}`, weight: '100%' },
        { model: `shared@2 via ${canary.address}`, weight: '0%' },
      ],
      shadows: [{ model: `shared@2 via ${canary.address}` }],
      breaker: { consecutiveFailures: 2 },
    },
  ],
};
const folder = mkdtempSync(join(tmpdir(), 'understudy-pairs-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const proxies = await Promise.all([
  ProxyProgram.start(t, { document, env: { UNDERSTUDY_PAIR_STORE: join(folder, 'pairs.db') } }),
  ProxyProgram.start(t, { document }),
]);
const [proxy] = proxies;
const callers = proxies.map((one) => GrpcCaller.to(t, one.address));
const caller = callers[0]!;

async function settled(program: ProxyProgram, model: string): Promise<void> {
  await program.metricsOnce((metrics) => metrics.sum('understudy_mirror_in_flight_requests', { model }) === 0);
}

t.test('two processes and two shadows of one share see the same requests, known by their messages', async (test) => {
  for (const [i, one] of callers.entries()) {
    for (let from = 0; from < REQUESTS; from += 20) {
      const numbers = Array.from({ length: 20 }, (_, k) => from + k);
      await Promise.all(numbers.map((number) => one.call(predictRequest('m', [number]), { 'x-from': String(i) })));
    }
    await settled(proxies[i]!, 'm');
  }
  // A shadow that was given up under pressure did not see its request; every other difference is one of selection.
  const lost = await Promise.all(
    proxies.map(async (program) => {
      const metrics = await program.metrics();
      const drops = (labels: object) => metrics.sum('understudy_mirror_drops_total', { model: 'm', ...labels });
      return drops({}) - drops({ reason: 'not_sampled' });
    }),
  );
  const sets = seen.flatMap((byProxy) => ['0', '1'].map((from) => byProxy.get(from)!));
  const all = new Set(sets.flatMap((set) => [...set]));
  test.equal(sets.length, 4);
  for (const [i, set] of sets.entries()) {
    const missing = all.size - set.size;
    test.ok(missing <= lost[i % 2]!, `${missing} missing, ${lost[i % 2]} given up`);
  }
  test.ok(lost[0]! + lost[1]! < REQUESTS / 10, 'which are few');
  test.ok(Math.abs(all.size - 0.3 * REQUESTS) < 60, `${all.size} of ${REQUESTS}`);
});

t.test('what the primary disagrees with itself is taken off what the shadow disagrees with it', async (test) => {
  let asked = 0;
  const flips = [0.25, 0.75];
  const steady = [0.75, 0.25];
  primary.script = async (call) =>
    call.answer(predictResponse('primary', await call.body, asked++ % 2 === 0 ? flips : steady));
  canary.script = async (call) => call.answer(predictResponse('shadow', await call.body, steady));
  const before = primary.count;
  const calls = 60;
  for (let i = 0; i < calls; i++) test.equal(servedBy(await caller.predict('noisy')), 'primary');
  await settled(proxy!, 'noisy');
  primary.script = answers('primary');
  canary.script = answers('canary');
  test.equal(primary.count - before, 2 * calls, 'each request was sent to it twice');
  const pairs = { model: 'noisy', cluster: 'noisy@2' };
  await proxy!.metricsOnce((metrics) => metrics.sum('understudy_comparison_pairs_total', pairs) === calls);
  const { models, clusters } = await proxy!.json('/models');
  const { comparison } = models.find(({ name }: { name: string }) => name === 'noisy').shadows[0];
  test.ok(comparison.noiseFloor > 0.9, `it is never the same twice: ${comparison.noiseFloor}`);
  test.equal(comparison.evidence.pairs, calls);
  test.equal(comparison.evidence.harm, false, 'the shadow that differs less than the primary itself is no harm');
  const own = clusters.find(({ name }: { name: string }) => name === 'noisy@1');
  test.equal(own.answers.primary, calls, 'and the second asking counts for nobody');
});

t.test(
  'a shadow on a cluster that serves callers counts neither in its breaker nor among its requests',
  async (test) => {
    canary.script = (call) => call.failInHead(14);
    for (let i = 0; i < 20; i++) test.equal(servedBy(await caller.predict('shared')), 'primary');
    await settled(proxy!, 'shared');
    canary.script = answers('canary');
    const metrics = await proxy!.metrics();
    test.ok(metrics.sum('understudy_mirror_requests_total', { model: 'shared' }) > 0, 'it was shown some');
    test.equal(metrics.sum('understudy_cluster_requests_total', { cluster: 'shared@2' }), 0);
    const { clusters } = await proxy!.json('/models');
    test.equal(clusters.find(({ name }: { name: string }) => name === 'shared@2').breaker.state, 'closed');
  },
);

t.test('pairs are kept and exported as lines, and a proxy without a store says so', async (test) => {
  await proxy!.metricsOnce((metrics) => metrics.sum('understudy_pair_store_pairs') > 100);
  const answer = await fetch(`${proxy!.adminUrl}/pairs?model=m&limit=50`);
  test.equal(answer.headers.get('content-type'), 'application/jsonl');
  const lines = (await answer.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  test.equal(lines.length, 50);
  test.ok(lines.every(({ model, request }) => model === 'm' && request.x.dtype === 'FLOAT'));
  const other = await fetch(`${proxies[1]!.adminUrl}/pairs`);
  test.equal(other.status, 404);
  const metrics = await proxy!.metrics();
  test.ok(metrics.sum('understudy_pair_store_writes_total', { result: 'written' }) > 100);
  test.equal(metrics.sum('understudy_pair_store_writes_total', { result: 'locked' }), 0);
});
