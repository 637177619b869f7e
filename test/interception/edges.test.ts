/** Edges of interception, with the real proxy on both sides of a pod: unusual callers, self calls, probes. */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { InterceptionLab, PEER_V4, PEER_V6, POD_V4, POD_V6 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { APPLICATION, EDGE_CLIENT, inPeer, inPod, MODEL_SERVER, metric, startProxy } from '../support/sidecar-pod.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl');
const PROBE = fileURLToPath(new URL('../../deploy/image/probe.mjs', import.meta.url));
const SERVICE_V4 = '10.96.0.10';
const SERVICE_V6 = 'fd96::10';
/** An application's HTTP server: /healthz is well, everything else is not. */
const HTTP_SERVER = `const answer = (request, response) => response.writeHead(request.url === '/healthz' ? 200 : 500).end('x');
  const http = require('node:http');
  for (const port of process.argv.slice(1)) http.createServer(answer).listen(Number(port), '::');
  setTimeout(() => console.log('ready'));`;

/** What the node does for a Service: its address leads to the pod, also when the pod itself asks. */
function makeServices(lab: InterceptionLab): void {
  for (const [iptables, service, pod, peer] of [
    ['iptables', SERVICE_V4, POD_V4, PEER_V4],
    ['ip6tables', SERVICE_V6, `[${POD_V6}]`, PEER_V6],
  ] as const) {
    const bare = pod.replace(/[[\]]/g, '');
    lab.pod.must('ip', 'route', 'add', service, 'via', peer);
    lab.peer.must(
      iptables,
      ...['-t', 'nat', '-A', 'PREROUTING', '-p', 'tcp', '-d', service, '--dport', '8500'],
      ...['-j', 'DNAT', '--to-destination', `${pod}:8500`],
    );
    lab.peer.must(iptables, '-t', 'nat', '-A', 'POSTROUTING', '-s', bare, '-d', bare, '-j', 'MASQUERADE');
  }
  lab.peer.must('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
}

t.test('a proxy that stands on both sides of a pod', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  makeServices(lab);
  const [, , http] = await Promise.all([
    startProxy(lab, { UNDERSTUDY_OUTBOUND_OPAQUE_IDLE_TIMEOUT: '1s', UNDERSTUDY_METRICS_LISTEN: '[::]:15020' }),
    lab.pod.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'own', '[::]:8500', '8600']),
    lab.pod.spawnUntil(['ready'], process.execPath, ['-e', HTTP_SERVER, '8700', '8701']),
    lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'peer', '[::]:8500', '8600', '9100']),
  ]);
  lab.mustIntercept(
    ...['install', '--outbound-ports', '8500,8600,9100', '--exclude-uids', '4000'],
    ...['--inbound-ports', 'all', '--exclude-inbound-ports', '8701,15020'],
  );
  const pod = (file: string, ...args: string[]) => inPod(lab, file, ...args);
  const peer = (file: string, ...args: string[]) => inPeer(lab, file, ...args);
  /** Several commands of the application in one process, for each start of one takes longer than all of them. */
  const allInPod = (...commands: string[][]): { said: string }[] => pod(APPLICATION, 'all', JSON.stringify(commands));
  const allInPeer = (...commands: string[][]): { said: string }[] => peer(APPLICATION, 'all', JSON.stringify(commands));
  const accepted = () => metric(lab, 'understudy_downstream_connections_total');

  t.test('leaves calls of the pod to its own address and to localhost with the application', async (t) => {
    const before = accepted();
    const said = allInPod(
      ...[POD_V4, `[${POD_V6}]`, '127.0.0.1', '[::1]'].map((host) => ['say', `${host}:8500`, 'me']),
    );
    t.same(said, Array(4).fill({ said: 'own: me' }));
    t.equal(accepted(), before, 'on neither side');
  });
  t.test('carries a call of the pod to itself by the address of its Service, across both sides', async (t) => {
    for (const host of [SERVICE_V4, `[${SERVICE_V6}]`]) {
      const before = accepted();
      t.same(pod(APPLICATION, 'say', `${host}:8500`, 'me'), { said: 'own: me' }, host);
      t.equal(accepted(), before + 2, 'outbound and inbound');
    }
  });
  t.test('counts what goes to original destinations apart from everything else', async (t) => {
    // Scenario: calls go on to where they were meant, and no cluster is configured. Mechanism: clusters made on the fly
    // borrowed the statistics of the first configured one, and without any wrote into those of the process.
    // Consequence: each call counted as a connection that stays open, or as an answer of the first model.
    const counted = () => metric(lab, 'understudy_cluster_requests_total', 'cluster="@original"');
    const open = () => metric(lab, 'understudy_downstream_open_connections');
    const before = [counted(), open()];
    t.same(pod(APPLICATION, 'say', `${PEER_V4}:8500`, 'on'), { said: 'peer: on' });
    t.same([counted(), open()], [before[0]! + 1, before[1]]);
  });
  t.test('leaves the excluded user alone', async (t) => {
    const before = accepted();
    const as = ['--reuid=4000', '--regid=4000', '--clear-groups', process.execPath, APPLICATION];
    const said = lab.pod.must('setpriv', ...as, 'say', `${PEER_V4}:8500`, 'by myself');
    t.same(JSON.parse(said), { said: 'peer: by myself' });
    t.equal(accepted(), before);
  });
  t.test('carries calls from the node to the application, both families', async (t) => {
    const said = allInPeer(
      ['say', `${POD_V4}:8500`, 'in'],
      ['say', `[${POD_V6}]:8500`, 'in'],
      ['bytes', POD_V4, '8600', 'raw'],
    );
    t.same(said, [{ said: 'own: in' }, { said: 'own: in' }, { said: 'own: raw' }]);
  });
  t.test('carries a call to a v4-mapped address to the IPv4 address it is', async (t) => {
    const before = accepted();
    t.same(pod(APPLICATION, 'bytes', `::ffff:${PEER_V4}`, '8600', 'mapped'), { said: 'peer: mapped' });
    t.equal(accepted(), before + 1);
  });
  t.test('knows HTTP/2 whose preface comes a byte at a time', async (t) => {
    t.same(pod(EDGE_CLIENT, 'fragments', `${PEER_V4},${PEER_V6}`, '8500'), [{ frame: 4 }, { frame: 4 }]);
  });
  t.test('lets a server on an unlisted port speak first once the client was silent for the time set', async (t) => {
    t.same(allInPod(['listen', PEER_V4, '9100'], ['listen', PEER_V6, '9100']), Array(2).fill({ said: 'peer\n' }));
  });
  t.test('ends a connection on which neither side ever says a word, and counts it', async (t) => {
    const cut = () => metric(lab, 'understudy_opaque_connections_cut_total', 'reason="idle"');
    const before = cut();
    const { closedAfterMs } = pod(EDGE_CLIENT, 'silence', PEER_V4, '8600');
    t.ok(closedAfterMs >= 1000, `after ${closedAfterMs} ms`);
    t.equal(cut(), before + 1);
  });
  t.test('is not steered by headers', async (t) => {
    const elsewhere = [`${POD_V4}:8500`, '127.0.0.1:15000', '10.77.0.99:1'];
    t.same(pod(EDGE_CLIENT, 'steer', `${PEER_V4}:8500`, elsewhere.join()), Array(3).fill({ said: 'peer: hi' }));
  });
  t.test('lets the probes of the node tell the truth about the application', async (t) => {
    const curl = (url: string) => lab.peer.run('curl', ['-sf', '-o', '/dev/null', '--max-time', '5', url]).status === 0;
    const grpc = (address: string) => lab.peer.run(process.execPath, [PROBE, `grpc:${address}`]).status === 0;
    const tcp = (port: string) => lab.peer.run('curl', ['-s', '--max-time', '5', `telnet://${POD_V4}:${port}`]);
    t.ok(curl(`http://${POD_V4}:8700/healthz`), 'HTTP, a port that is rewritten');
    t.ok(curl(`http://[${POD_V6}]:8700/healthz`), 'HTTP, rewritten, IPv6');
    t.notOk(curl(`http://${POD_V4}:8700/sick`), 'HTTP, rewritten, sick');
    t.ok(curl(`http://${POD_V4}:8701/healthz`), 'HTTP, a port that is left alone');
    t.ok(grpc(`${POD_V4}:8500`), 'gRPC, rewritten');
    t.ok(curl(`http://${POD_V4}:15020/livez`), "the proxy's own port for probes");
    const ended = once(http!, 'exit');
    http!.kill('SIGKILL');
    await ended;
    t.notOk(curl(`http://${POD_V4}:8700/healthz`), 'HTTP, rewritten, its server gone');
    t.notOk(grpc(`${POD_V4}:8700`), 'gRPC, rewritten, its server gone');
    t.equal(tcp('8701').status, 7, 'TCP, left alone, its server gone: refused');
    // Whoever only connects meets the proxy: deploy/README.md says so.
    t.not(tcp('8700').status, 7, 'TCP, rewritten, its server gone: connects all the same');
  });
});
