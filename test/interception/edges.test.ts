/** Edges of interception, with the real proxy on both sides of a pod: unusual callers, own ports, self calls. */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { InterceptionLab, PEER_V4, PEER_V6, POD_V4, POD_V6, PROXY_ID } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl');
const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MODEL_SERVER = program('../support/model-server.ts');
const APPLICATION = program('../support/application.ts');
const EDGE = program('../support/edge-client.ts');
const PROXY = program('../../proxy/main.ts');

/** Sum of a metric's samples, as the proxy in the pod tells it. */
function metric(lab: InterceptionLab, name: string): number {
  const text = lab.pod.must('curl', '-s', 'http://127.0.0.1:15000/metrics');
  return text
    .split('\n')
    .filter((line) => line.startsWith(name) && /[ {]/.test(line[name.length]!))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

t.test('a proxy that stands on both sides of a pod', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  const as = [`--reuid=${PROXY_ID}`, `--regid=${PROXY_ID}`, '--clear-groups', process.execPath, PROXY];
  await Promise.all([
    lab.pod.spawnUntil(['127.0.0.1:15001', '[::1]:15001', '15006', '127.0.0.1:15000'], 'setpriv', as, {
      PATH: process.env['PATH'],
      UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:15001,[::1]:15001',
      UNDERSTUDY_INBOUND_LISTEN: '[::]:15006',
      UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:15000',
      UNDERSTUDY_OUTBOUND_OTHER_MODELS: 'upstream',
      UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT: '200ms',
    }),
    lab.pod.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'own', '[::]:8500', '8600']),
    lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'peer', '[::]:8500', '8600', '9100']),
  ]);
  lab.mustIntercept('install', '--outbound-ports', '8500,8600,9100', '--inbound-ports', '8500,8600');
  const pod = (file: string, ...args: string[]) => JSON.parse(lab.pod.must(process.execPath, file, ...args));
  const peer = (file: string, ...args: string[]) => JSON.parse(lab.peer.must(process.execPath, file, ...args));

  t.test('refuses those who dial its inbound port, from inside and from the node, and loops to nobody', async (t) => {
    const before = metric(lab, 'understudy_opaque_connections_total');
    for (const host of ['127.0.0.1', '::1', POD_V4, POD_V6])
      t.match(pod(APPLICATION, 'bytes', host, '15006', 'x').said, /closed|ECONNRESET/, host);
    for (const host of [POD_V4, POD_V6])
      t.match(peer(APPLICATION, 'bytes', host, '15006', 'x').said, /closed|ECONNRESET/);
    t.match(
      peer(APPLICATION, 'bytes', POD_V4, '15001', 'x').said,
      'ECONNREFUSED',
      'outbound is not reachable from outside',
    );
    t.equal(metric(lab, 'understudy_opaque_connections_total'), before, 'nothing was relayed');
  });
  t.test('leaves calls of the pod to itself and to localhost with the application', async (t) => {
    const before = metric(lab, 'understudy_downstream_connections_total');
    for (const host of [POD_V4, `[${POD_V6}]`, '127.0.0.1', '[::1]'])
      t.same(pod(APPLICATION, 'say', `${host}:8500`, 'me'), { said: 'own: me' }, host);
    t.equal(metric(lab, 'understudy_downstream_connections_total'), before, 'on neither side');
  });
  t.test('carries calls from the node to the application, both families', async (t) => {
    for (const host of [POD_V4, `[${POD_V6}]`])
      t.same(peer(APPLICATION, 'say', `${host}:8500`, 'in'), { said: 'own: in' }, host);
    t.same(peer(APPLICATION, 'bytes', POD_V4, '8600', 'raw'), { said: 'own: raw' });
  });
  t.test('knows HTTP/2 whose preface comes a byte at a time', async (t) => {
    for (const host of [PEER_V4, PEER_V6]) t.same(pod(EDGE, 'fragments', host, '8500'), { frame: 4 }, host);
  });
  t.test(
    'lets a server on an unlisted port speak first once the client has been silent for the time set',
    async (t) => {
      t.same(pod(APPLICATION, 'listen', PEER_V4, '9100'), { said: 'peer\n' });
      t.same(pod(APPLICATION, 'listen', PEER_V6, '9100'), { said: 'peer\n' });
    },
  );
  t.test('is not steered by headers', async (t) => {
    for (const elsewhere of [`${POD_V4}:8500`, '127.0.0.1:15000', '10.77.0.99:1'])
      t.same(pod(EDGE, 'steer', `${PEER_V4}:8500`, elsewhere), { said: 'peer: hi' }, elsewhere);
  });
});
