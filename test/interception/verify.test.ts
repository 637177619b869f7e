import { spawnSync } from 'node:child_process';
import t from 'tap';
import { InterceptionLab, PEER_V4, PEER_V6 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables');
const noLegacy =
  spawnSync('iptables-legacy-save', ['-V']).error === undefined ? false : 'needs iptables of the legacy kind';
const NOT_VERIFIED = 5;

/** A pod with a default route, as real ones have, so that the probe's address can be dialled. */
function routedLab(): InterceptionLab {
  const lab = new InterceptionLab();
  lab.pod.must('ip', 'route', 'add', 'default', 'via', PEER_V4);
  lab.pod.must('ip', '-6', 'route', 'add', 'default', 'via', PEER_V6);
  return lab;
}

for (const backend of ['nft', 'legacy']) {
  const missing = skip || (backend === 'legacy' ? noLegacy : false);
  t.test(`verify proves both families and both directions, rules of kind ${backend}`, { skip: missing }, async (t) => {
    const lab = routedLab();
    t.teardown(() => lab.close());
    lab.mustIntercept('install', '--inbound-ports', '8500,9000', '--backend', backend);
    const told = lab.mustIntercept('verify', '--inbound-ports', '8500,9000');
    t.match(told, /IPv4 outbound: 192\.0\.2\.2 port 8500 came back right/);
    t.match(told, /IPv6 outbound: 2001:db8::2 port 8500 came back right/);
    t.match(told, /IPv4 inbound: 192\.0\.2\.3 port 8500 came back right/);
    t.match(told, /IPv6 inbound: 2001:db8::3 port 8500 came back right/);
    t.match(told, /IPv4 inbound: connections of other machines are led there/);
    t.match(told, /IPv6 inbound: connections of other machines are led there/);
  });
}

t.test('verify proves rules for users that it does not run as', { skip }, async (t) => {
  const lab = routedLab();
  t.teardown(() => lab.close());
  const only = ['--include-uids', '5000', '--exclude-gids', '0', '--exclude-inbound-cidrs', '0.0.0.0/0,::/0'];
  lab.mustIntercept('install', '--inbound-ports', '8500', ...only);
  t.match(lab.mustIntercept('verify', '--inbound-ports', '8500', ...only), /outbound.*came back right/);
});

t.test('verify fails for inbound when nothing leads there, or nobody listens', { skip }, async (t) => {
  const lab = routedLab();
  t.teardown(() => lab.close());
  const inbound = ['--outbound-ports', 'none', '--inbound-ports', '8500'];
  lab.mustIntercept('install', ...inbound);
  t.notMatch(lab.mustIntercept('verify', ...inbound), /outbound/);
  lab.pod.must('iptables', '-t', 'nat', '-D', 'PREROUTING', '-p', 'tcp', '-j', 'UNDERSTUDY_INBOUND');
  const cut = lab.intercept('verify', ...inbound);
  t.equal(cut.status, NOT_VERIFIED);
  t.match(cut.stderr, 'IPv4 inbound: connections of other machines are not led to the proxy');
  lab.mustIntercept('install', ...inbound, '--proxy-inbound-port', '15999');
  const elsewhere = lab.intercept('verify', ...inbound);
  t.equal(elsewhere.status, NOT_VERIFIED);
  t.match(elsewhere.stderr, /IPv4 inbound: .*ECONNREFUSED/);
});

t.test('verify gives up after five seconds, whatever the number of probes', { skip }, async (t) => {
  const lab = routedLab();
  t.teardown(() => lab.close());
  // Somebody swallows what is dialled: neither answered nor refused.
  for (const iptables of ['iptables', 'ip6tables']) lab.pod.must(iptables, '-A', 'OUTPUT', '-o', 'eth0', '-j', 'DROP');
  const beganMs = performance.now();
  const { status, stderr } = lab.intercept('verify', '--inbound-ports', '8500');
  t.equal(status, NOT_VERIFIED);
  t.equal(stderr.match(/no answer within 5000 ms/g)?.length, 4, stderr);
  t.ok(performance.now() - beganMs < 15_000, 'one limit for all of them');
});

t.test('verify fails with a code of its own when the rules are missing or lead elsewhere', { skip }, async (t) => {
  const lab = routedLab();
  t.teardown(() => lab.close());
  lab.peer.must('ip', 'route', 'add', 'unreachable', '192.0.2.0/24');
  lab.peer.must('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  const bare = lab.intercept('verify', '--families', '4');
  t.equal(bare.status, NOT_VERIFIED, bare.stderr);
  t.match(bare.stderr, 'did not come to the proxy');
  lab.mustIntercept('install', '--proxy-outbound-port', '15999');
  const elsewhere = lab.intercept('verify', '--families', '4');
  t.equal(elsewhere.status, NOT_VERIFIED);
  t.match(elsewhere.stderr, 'ECONNREFUSED');
});

t.test(
  'a family without a route is said to be unproved, and is a failure when asked for by name',
  { skip },
  async (t) => {
    const lab = routedLab();
    t.teardown(() => lab.close());
    lab.pod.must('ip', '-6', 'route', 'del', 'default');
    lab.mustIntercept('install');
    t.match(lab.mustIntercept('verify'), /IPv6 outbound: not proved, for there is no route/);
    t.equal(lab.intercept('verify', '--families', '6').status, NOT_VERIFIED);
  },
);
