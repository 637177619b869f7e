/** A new configuration under load: the kubelet's symlink swap is in force within 2 s, and no request is lost. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answersAfter, ScriptedUpstream } from '../support/scripted-upstream.ts';

const IN_FORCE_MS = 2000;

const volume = mkdtempSync(join(tmpdir(), 'understudy-reload-'));
t.teardown(() => rmSync(volume, { recursive: true, force: true }));
let generation = 0;

/** Changes a ConfigMap volume as the kubelet does: all of it in a new directory, then one rename of a link. */
function swap(document: object | string): void {
  const directory = `..2026_${++generation}`;
  mkdirSync(join(volume, directory));
  const text = typeof document === 'string' ? document : JSON.stringify(document);
  writeFileSync(join(volume, directory, 'config.yaml'), text);
  symlinkSync(directory, join(volume, '..data_tmp'));
  renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
  if (generation === 1) symlinkSync(join('..data', 'config.yaml'), join(volume, 'config.yaml'));
}

const slow = (name: string) => ({ script: answersAfter(name, 15), forget: true });
const one = await ScriptedUpstream.start(t, 'one', slow('one'));
const two = await ScriptedUpstream.start(t, 'two', slow('two'));
const document = (upstream: ScriptedUpstream, version: number) => ({
  models: [{ name: 'm', split: [{ model: `m@${version} via ${upstream.address}` }], breaker: { enabled: false } }],
});
swap(document(one, 1));
const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_CONFIG_FILE: join(volume, 'config.yaml'), UNDERSTUDY_CONCURRENCY: '2' },
});
const callers = Array.from({ length: 8 }, () => GrpcCaller.to(t, proxy.address));

t.test('swaps under load are each in force within 2 s, and no request is lost', async (test) => {
  let running = true;
  const failures: string[] = [];
  let calls = 0;
  let newest = '';
  let newestAtMs = 0;
  const load = callers.flatMap((caller) =>
    Array.from({ length: 4 }, async () => {
      while (running) {
        const answer = await caller.predict('m');
        calls++;
        if (answer.status !== 0) {
          failures.push(`${answer.status} ${answer.message} ${answer.resetCode}`);
          continue;
        }
        const name = servedBy(answer);
        if (name !== newest) {
          newest = name;
          newestAtMs = performance.now();
        }
      }
    }),
  );
  await delay(200);
  for (const [upstream, version] of [
    [two, 2],
    [one, 3],
    [two, 4],
  ] as const) {
    const swappedMs = performance.now();
    swap(document(upstream, version));
    while (newest !== upstream.name && performance.now() - swappedMs < IN_FORCE_MS + 500) await delay(10);
    test.ok(
      newest === upstream.name && newestAtMs - swappedMs < IN_FORCE_MS,
      `${Math.round(newestAtMs - swappedMs)} ms`,
    );
    await delay(200);
    test.ok(newestAtMs - swappedMs < IN_FORCE_MS, 'no thread stays behind');
  }
  running = false;
  await Promise.all(load);
  test.same(failures, []);
  test.ok(calls > 50, String(calls));
});

t.test('connections to an endpoint that is no longer used are closed once what they carry is done', async (test) => {
  await until(() => one.sessions.size === 0, 'the first has no connection');
  test.ok(two.sessions.size > 0);
});

t.test('a request in flight keeps the fallback it began with, though a swap takes it away', async (test) => {
  const failing = await ScriptedUpstream.start(test, 'failing', {
    script: async (call) => {
      await delay(1200);
      call.failInHead(14, 'late');
    },
  });
  swap({
    models: [
      {
        name: 'm',
        split: [{ model: `m@5 via ${failing.address}` }],
        fallback: [{ model: `lite via ${one.address}` }],
      },
    ],
  });
  await proxy.metricsOnce((metrics) => metrics.sum('understudy_config_revision') === 5);
  await proxy.ready();
  const flying = Promise.all(callers.map((caller) => caller.predict('m')));
  await delay(100);
  swap(document(two, 6));
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_config_revision') === 6);
  test.equal(metrics.sum('understudy_config_revision'), 6);
  const answers = await flying;
  test.same(
    answers.map((answer) => (answer.status === 0 ? servedBy(answer) : answer.message)),
    callers.map(() => 'one'),
  );
});

t.test(
  'what a shadow still has in flight is counted when reloads take the shadow away and bring it back',
  async (test) => {
    // A soak's books did not add up: a shadow that returned had a new object behind its name, which set the gauge to its
    // own count of none, while calls of the old one were still to be accounted for.
    const held = Promise.withResolvers<void>();
    const shadow = await ScriptedUpstream.start(test, 'shadow', {
      script: async (call) => {
        await held.promise;
        call.failInHead(14);
      },
    });
    const inForce = (revision: number) =>
      proxy.metricsOnce((metrics) => metrics.sum('understudy_config_revision') === revision);
    const shown = document(two, 8);
    const shadows = [{ model: `m@9 via ${shadow.address}` }];
    const mirrored = { models: [{ ...shown.models[0], shadows }] };
    const revision = (await proxy.metrics()).sum('understudy_config_revision');
    swap(mirrored);
    await inForce(revision + 1);
    await proxy.ready();
    const gauge = 'understudy_mirror_in_flight_requests';
    await callers[0]!.predict('m');
    swap(document(two, 10));
    await inForce(revision + 2);
    await proxy.ready();
    swap(mirrored);
    await inForce(revision + 3);
    await proxy.ready();
    await callers[0]!.predict('m');
    test.equal((await proxy.metricsOnce((metrics) => metrics.sum(gauge) === 2)).sum(gauge), 2);
    held.resolve();
    test.equal((await proxy.metricsOnce((metrics) => metrics.sum(gauge) === 0)).sum(gauge), 0);
    swap(document(two, 11));
    await inForce(revision + 4);
  },
);

t.test('a bad edit is refused and named, and the last good one keeps running', async (test) => {
  swap('models:\n  - name: m\n    spilt: []\n');
  await proxy.until(() => JSON.stringify(proxy.logs).includes('spilt'), 'a line that names the mistake');
  test.equal(servedBy(await callers[0]!.predict('m')), 'two');
  const config = JSON.stringify(await proxy.json('/config'));
  test.match(config, /spilt/, '/config tells of it');
  const revision = (await proxy.metrics()).sum('understudy_config_revision');
  swap(document(one, 12));
  await proxy.metricsOnce((metrics) => metrics.sum('understudy_config_revision') > revision);
  await proxy.ready();
  test.equal(servedBy(await callers[0]!.predict('m')), 'one');
});
