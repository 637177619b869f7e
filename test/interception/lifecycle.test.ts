/**
 * A pod from its start to its end, with real processes and signals in the order in which a kubelet sends them: the proxy is
 * ready when the worker's models are, and carries the application's calls until the application has ended.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { InterceptionLab, PEER_V4 } from '../support/interception-lab.ts';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { startProxy } from '../support/sidecar-pod.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl');
const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const WORKER = program('../../inference-worker/main.ts');
const APPLICATION = program('../support/departing-application.ts');
/** What the application was written to call; nobody answers at that address. */
const NAME = 'model.default.svc';
const READY_WITHIN_MS = 20_000;

/** Starts the application; `nextLine` gives what it says of each call. */
function startApplication(lab: InterceptionLab, lingerMs: number) {
  // Its own process, not `ip netns exec`, gets the signal: exec replaces the one with the other.
  const child = lab.pod.spawn(process.execPath, [APPLICATION, `${NAME}:8500`, 'doubles', `${lingerMs}`]);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return { child, nextLine: async () => JSON.parse(String((await lines.next()).value)) };
}

async function endOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode;
  return (await once(child, 'exit'))[0] as number | null;
}

function readyz(lab: InterceptionLab): string {
  const { stdout } = lab.pod.run('curl', ['-s', '-w', '%{http_code}', 'http://127.0.0.1:15000/readyz']);
  return stdout;
}

/** Whether `/readyz` comes to answer 200. */
async function becomesReady(lab: InterceptionLab): Promise<boolean> {
  const end = performance.now() + READY_WITHIN_MS;
  while (!readyz(lab).endsWith('200')) {
    if (performance.now() > end) return false;
    await delay(100);
  }
  return true;
}

t.test('a pod from start to end', { skip }, async (t) => {
  const lab = new InterceptionLab();
  const models = new ModelFolder();
  t.teardown(async () => {
    await lab.close();
    models.remove();
  });
  chmodSync(models.path, 0o755);
  models.put('doubles', 1, scaleModel(2));
  lab.pod.setHosts({ [NAME]: PEER_V4 });
  const socket = `unix:${models.at('worker.sock')}`;
  const proxySettings = {
    UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: socket,
    UNDERSTUDY_OUTBOUND_OTHER_MODELS: 'worker',
    UNDERSTUDY_MODEL_DOUBLES_PRIMARY: 'doubles@1',
  };
  const startWorker = () =>
    lab.pod.spawnUntil(['worker_ready'], process.execPath, [
      WORKER,
      `--model=doubles@all:${models.at('doubles')}`,
      `--group=primary:${models.at('worker.sock')}:doubles`,
      '--socket_mode=0666',
    ]);

  let worker!: ChildProcess;
  t.test('is ready once the model that it serves is loaded, not before', async (t) => {
    const proxy = await startProxy(lab, proxySettings);
    t.match(readyz(lab), /doubles.*503$/s);
    worker = await startWorker();
    t.ok(await becomesReady(lab));
    proxy.kill('SIGTERM');
    t.equal(await endOf(proxy), 0);
  });

  lab.mustIntercept('install', '--outbound-ports', '8500');

  t.test('serves the last call of an application that was told to go together with the proxy', async (t) => {
    const proxy = await startProxy(lab, {
      ...proxySettings,
      UNDERSTUDY_SHUTDOWN_DELAY: '4s',
      UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '20s',
    });
    t.ok(await becomesReady(lab));
    const application = startApplication(lab, 300);
    t.same(await application.nextLine(), { call: 'first', y: [2, 4] });
    const beganMs = performance.now();
    application.child.kill('SIGTERM');
    proxy.kill('SIGTERM');
    t.same(await application.nextLine(), { call: 'last', y: [2, 4] }, 'on a connection opened after the signal');
    t.equal(await endOf(application.child), 0);
    t.equal(await endOf(proxy), 0);
    t.ok(performance.now() - beganMs < 18_000, 'and the proxy does not use up its deadline');
  });

  t.test('goes down in the order of a kubelet: application, proxy, worker, each in good order', async (t) => {
    const proxy = await startProxy(lab, proxySettings);
    t.ok(await becomesReady(lab));
    const application = startApplication(lab, 500);
    t.same(await application.nextLine(), { call: 'first', y: [2, 4] });
    application.child.kill('SIGTERM');
    t.same(await application.nextLine(), { call: 'last', y: [2, 4] }, 'its last call is answered by the worker');
    t.equal(await endOf(application.child), 0);
    t.equal(proxy.exitCode, null, 'the proxy was there for it to the end');
    proxy.kill('SIGTERM');
    t.equal(await endOf(proxy), 0);
    t.equal(worker.exitCode, null, 'as the worker was for the proxy');
    worker.kill('SIGTERM');
    t.equal(await endOf(worker), 0);
  });
});
