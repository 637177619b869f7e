/**
 * The main promise: an application that dials a model server in another namespace is answered by the sidecar, without a
 * changed line or address; and what the sidecar does not claim reaches the place it was meant for.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { InterceptionLab, PEER_V4, PEER_V6, PROXY_ID } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv');
const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MODEL_SERVER = program('../support/model-server.ts');
const APPLICATION = program('../support/application.ts');
const PROXY = program('../../proxy/main.ts');

/** A pod with worker, proxy and rules, and a peer with somebody's model server; ports 8500, 8600 and 3306 are intercepted. */
async function openPod(): Promise<{
  lab: InterceptionLab;
  application: (...args: string[]) => unknown;
  close: () => Promise<void>;
}> {
  const lab = new InterceptionLab();
  const folder = mkdtempSync(join(tmpdir(), 'understudy-interception-'));
  const close = async () => {
    await lab.close();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    chmodSync(folder, 0o755);
    const socket = `unix:${join(folder, 'worker.sock')}`;
    await Promise.all([
      lab.pod.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'sidecar', socket]),
      lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'peer', '[::]:8500', '8600', '3306']),
      startProxy(lab, socket),
    ]);
  } catch (error) {
    await close();
    throw error;
  }
  const application = (...args: string[]) => JSON.parse(lab.pod.must(process.execPath, APPLICATION, ...args));
  return { lab, application, close };
}

/** Runs the proxy in the pod as its own user and group, and waits until it listens. */
function startProxy(lab: InterceptionLab, worker: string): Promise<unknown> {
  const as = [`--reuid=${PROXY_ID}`, `--regid=${PROXY_ID}`, '--clear-groups'];
  return lab.pod.spawnUntil(['127.0.0.1:15001', '[::1]:15001'], 'setpriv', [...as, process.execPath, PROXY], {
    ...process.env,
    UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:15001,[::1]:15001',
    UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: worker,
    UNDERSTUDY_OUTBOUND_OTHER_MODELS: 'upstream',
    UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT: '200ms',
    UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY: 'credit-risk@1',
  });
}

t.test('an application that dials a model server in another namespace', { skip }, async (t) => {
  const { lab, application, close } = await openPod();
  t.teardown(close);
  const before = lab.savedRules();
  const target = `${PEER_V4}:8500`;
  const targetV6 = `[${PEER_V6}]:8500`;
  t.match(application('predict', target, 'credit-risk'), { servedBy: 'peer' }, 'is answered by that server at first');
  lab.mustIntercept('install', '--outbound-ports', '8500,8600,3306');

  t.test('is answered by the sidecar, over IPv4 and IPv6', async (t) => {
    t.match(application('predict', target, 'credit-risk'), { servedBy: 'sidecar', version: '1' });
    t.match(application('predict', targetV6, 'credit-risk'), { servedBy: 'sidecar', version: '1' });
  });
  t.test('is answered by the server it dialled for a model that no route claims', async (t) => {
    t.match(application('predict', target, 'somebody-elses'), { servedBy: 'peer' });
    t.match(application('predict', targetV6, 'somebody-elses'), { servedBy: 'peer' });
  });
  t.test('is answered by the server it dialled for a service that is no model API', async (t) => {
    t.same(application('say', target, 'hello'), { said: 'peer: hello' });
    t.same(application('say', targetV6, 'hello'), { said: 'peer: hello' });
  });
  t.test('reaches its destination as opaque bytes when it does not speak HTTP', async (t) => {
    t.same(application('bytes', PEER_V4, '8600', 'not http'), { said: 'peer: not http' });
    t.same(application('bytes', PEER_V6, '8600', 'not http'), { said: 'peer: not http' });
  });
  t.test('hears a server that speaks first', async (t) => {
    t.same(application('listen', PEER_V4, '3306'), { said: 'peer\n' });
  });
  t.test('is answered by its server again once the rules are gone, and nothing of them is left', async (t) => {
    lab.mustIntercept('remove');
    t.match(application('predict', target, 'credit-risk'), { servedBy: 'peer' });
    t.same(lab.savedRules(), before);
  });
});
