/**
 * The production image without Docker: its file tree, assembled by the Dockerfile's own lines, becomes the read-only root
 * of containers that run as the image's user; and the pod that the injector makes is started from it in its order.
 */
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { assemble } from '../../deploy/image/assemble.ts';
import { InterceptionLab, PEER_V4, PEER_V6, POD_V4 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { TfsClient } from '../support/tfs-client.ts';
import { PodRunner, stageImage } from '../unit/deploy/image/pod-runner.ts';
import { readOnlyRootUnavailable } from '../unit/deploy/image/read-only-root.ts';
import { DEFAULTS, initContainer, inject, pod } from '../unit/deploy/injector/reviews.ts';

const skip = readOnlyRootUnavailable() || namespacesUnavailable('iptables', 'ip6tables', 'curl');
const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const APPLICATION = program('../unit/deploy/image/loan-application.ts');
const MODEL_SERVER = program('../support/model-server.ts');
const MODELS = program('../../deploy/demo/models');

/** A pod and a peer joined by a link, image trees, and the pod's volumes; the pod's network is as in a cluster. */
async function openHouse() {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-image-'));
  const lab = new InterceptionLab();
  const close = async () => {
    await lab.close();
    rmSync(folder, { recursive: true, force: true });
  };
  chmodSync(folder, 0o755);
  const mountPoint = join(folder, 'root');
  mkdirSync(mountPoint);
  const volume = (name: string) => join(folder, 'volumes', name);
  for (const name of ['understudy-run', 'models']) mkdirSync(volume(name), { recursive: true });
  chownSync(volume('understudy-run'), 1717, 1717);
  cpSync(MODELS, volume('models'), { recursive: true });
  for (const stage of ['production', 'interception']) assemble(stage, join(folder, stage));
  // As in every pod; without a default route nothing could be dialled that proves the rules.
  lab.pod.must('ip', 'route', 'add', 'default', 'via', PEER_V4);
  lab.pod.must('ip', '-6', 'route', 'add', 'default', 'via', PEER_V6);
  const images = {
    [DEFAULTS['understudy.dev/image']]: stageImage('production', join(folder, 'production')),
    [DEFAULTS['understudy.dev/interception-image']]: stageImage('interception', join(folder, 'interception')),
  };
  const volumes = { 'understudy-run': volume('understudy-run'), models: volume('models') };
  const runner = new PodRunner(lab.pod, images, volumes, mountPoint);
  return { folder, lab, volume, runner, close };
}

/** What the application was written to call. */
const NAME = 'model.default.svc';
const VOLUMES = { volumes: [{ name: 'models', emptyDir: {} }] };

t.test('an application pod as the injector makes it, run from the assembled images', { skip }, async (t) => {
  const { folder, lab, volume, runner, close } = await openHouse();
  t.teardown(close);
  await lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'peer', `${PEER_V4}:8500`]);

  const annotations = {
    'understudy.dev/models': 'volume:models',
    'understudy.dev/fallback-models': 'credit-risk-lite',
    'model.understudy.dev/credit-risk.primary': 'credit-risk@1',
    'model.understudy.dev/credit-risk.fallback': 'credit-risk-lite',
    'worker.understudy.dev/version_policy': 'all',
    'proxy.understudy.dev/outbound-other-models': 'upstream',
    'intercept.understudy.dev/outbound-ports': '8500',
  };
  const injected = inject(pod(annotations, VOLUMES));
  lab.pod.setHosts({ [NAME]: PEER_V4 });
  const apply = (model: string) => JSON.parse(lab.pod.must(process.execPath, APPLICATION, `${NAME}:8500`, model));
  t.match(apply('credit-risk'), { servedBy: 'peer' }, 'before, the application is answered by the server it dials');

  await runner.start(injected.spec.initContainers);
  t.same(runner.order, ['understudy-worker', 'understudy-proxy', 'understudy-interception']);

  t.test('serves the unchanged application from the worker, through the proxy', async (t) => {
    const answer = apply('credit-risk');
    t.equal(answer.version, '1');
    t.equal(answer.probabilities.length, 2);
    t.ok(Math.abs(answer.probabilities[0] + answer.probabilities[1] - 1) < 1e-5, 'a real model answered');
    t.match(apply('somebody-elses'), { servedBy: 'peer' }, 'and lets other models go on to where they were meant');
  });

  t.test('has the worker answer on its Unix socket too', async (t) => {
    const client = new TfsClient(`unix:${volume('understudy-run')}/fallback.sock`);
    t.teardown(() => client.close());
    t.match(await client.status({ model_spec: { name: 'credit-risk-lite' } }), {
      model_version_status: [{ version: '1' }],
    });
  });

  t.test('runs everything but the rules as an unprivileged user on a file system nobody can write', async (t) => {
    const write =
      "try { require('fs').writeFileSync('/understudy/x', ''); console.log('written') } catch (e) { console.log(e.code, process.getuid(), process.getgid()) }";
    for (const name of ['understudy-worker', 'understudy-proxy']) {
      const { output } = runner.exec(initContainer(injected, name), ['/understudy/bin/node', '-e', write]);
      t.equal(output.trim(), 'EROFS 1717 1717', name);
    }
    const own =
      "console.log(require('fs').existsSync('/bin/sh'), require('fs').readFileSync('/proc/self/status', 'utf8').match(/CapEff:\\s*(\\w+)/)[1])";
    const { output } = runner.exec(initContainer(injected, 'understudy-proxy'), ['/understudy/bin/node', '-e', own]);
    t.equal(output.trim(), 'false 0000000000000000', 'with no shell and no capability');
    t.notOk(existsSync(join(folder, 'production/node_modules/.bin')), 'and without npm');
  });

  t.test('stops the proxy before the worker, both in good order', async (t) => {
    t.same(await runner.stop(), { 'understudy-proxy': 0, 'understudy-worker': 0 });
  });
});

t.test('a model-server pod as the injector makes it, with a fallback of its own', { skip }, async (t) => {
  const { lab, runner, close } = await openHouse();
  t.teardown(close);
  const annotations = {
    'understudy.dev/shape': 'model-server',
    'understudy.dev/models': 'volume:models',
    'understudy.dev/metrics': 'true',
    'model.understudy.dev/credit-risk.primary': 'credit-risk via 127.0.0.1:8500',
    'model.understudy.dev/credit-risk.fallback': 'credit-risk-lite',
  };
  const injected = inject(pod(annotations, VOLUMES));
  const ask = (model: string) =>
    JSON.parse(lab.peer.must(process.execPath, APPLICATION, `${POD_V4}:8500`, model)) as Record<string, unknown>;
  await runner.start(injected.spec.initContainers);
  const server = await lab.pod.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'own', '0.0.0.0:8500']);

  t.match(ask('credit-risk'), { servedBy: 'own' }, 'a caller of the pod is answered by its model server');
  t.match(ask('somebody-elses'), { servedBy: 'own' }, 'for models without an entry too');
  const metrics = lab.peer.must('curl', '--silent', '--max-time', '5', `http://${POD_V4}:15020/metrics`);
  t.match(metrics, /^understudy_\w+\{[^}]*credit-risk[^}]*\} [1-9]/m, 'through the proxy, which Prometheus can ask');
  const admin = lab.peer.run('curl', ['--silent', '--max-time', '5', `http://${POD_V4}:15000/config`]);
  t.equal(admin.status, 7, 'and nobody outside the pod can ask for more');

  server.kill('SIGKILL');
  await once(server, 'exit');
  const stoodIn = ask('credit-risk');
  t.match(stoodIn, { probabilities: [Number, Number] }, 'and by the fallback when it is gone');
  t.notOk(stoodIn['version'], 'which has no version of the model that was asked');
  t.same(await runner.stop(), { 'understudy-proxy': 0, 'understudy-worker': 0 });
});
