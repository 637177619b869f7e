import t from 'tap';
import { InterceptionLab, PEER_V4, PEER_V6 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables');
const NOT_VERIFIED = 5;

/** A pod with a default route, as real ones have, so that the probe's address can be dialled. */
function routedLab(): InterceptionLab {
  const lab = new InterceptionLab();
  lab.pod.must('ip', 'route', 'add', 'default', 'via', PEER_V4);
  lab.pod.must('ip', '-6', 'route', 'add', 'default', 'via', PEER_V6);
  return lab;
}

t.test('verify proves both families when the rules are in place', { skip }, async (t) => {
  const lab = routedLab();
  t.teardown(() => lab.close());
  lab.mustIntercept('install');
  const told = lab.mustIntercept('verify');
  t.match(told, /IPv4: 192\.0\.2\.2 port 8500 came back right/);
  t.match(told, /IPv6: 2001:db8::2 port 8500 came back right/);
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
    t.match(lab.mustIntercept('verify'), /IPv6: not proved, for there is no route/);
    t.equal(lab.intercept('verify', '--families', '6').status, NOT_VERIFIED);
  },
);
