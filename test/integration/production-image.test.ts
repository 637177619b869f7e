/**
 * The production image without Docker: its file tree, assembled by the Dockerfile's own lines, becomes the read-only root
 * of containers that run as the image's user; and the pod that the injector makes is started from it in its order.
 */
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { assemble } from '../../deploy/image/assemble.ts';
import { InterceptionLab, PEER_V4, PEER_V6 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { TfsClient } from '../support/tfs-client.ts';
import { PodRunner, stageImage } from '../unit/deploy/image/pod-runner.ts';
import { readOnlyRootUnavailable } from '../unit/deploy/image/read-only-root.ts';
import { DEFAULTS, initContainer, inject, pod } from '../unit/deploy/injector/reviews.ts';

const skip = readOnlyRootUnavailable() || namespacesUnavailable('iptables', 'ip6tables');
const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const APPLICATION = program('../unit/deploy/image/loan-application.ts');
const MODEL_SERVER = program('../support/model-server.ts');
const MODELS = program('../../deploy/demo/models');

t.test('the pod that the injector makes, run from the assembled images', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-image-'));
  const lab = new InterceptionLab();
  t.teardown(async () => {
    await lab.close();
    rmSync(folder, { recursive: true, force: true });
  });
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
  const injected = inject(pod(annotations, { volumes: [{ name: 'models', emptyDir: {} }] }));
  const images = {
    [DEFAULTS['understudy.dev/image']]: stageImage('production', join(folder, 'production')),
    [DEFAULTS['understudy.dev/interception-image']]: stageImage('interception', join(folder, 'interception')),
  };
  const volumes = { 'understudy-run': volume('understudy-run'), models: volume('models') };
  const runner = new PodRunner(lab.pod, images, volumes, mountPoint);
  const apply = (model: string) => JSON.parse(lab.pod.must(process.execPath, APPLICATION, `${PEER_V4}:8500`, model));
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
