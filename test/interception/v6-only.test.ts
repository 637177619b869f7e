/** A pod in a network of IPv6 alone: listeners, rules, proof and both directions without an IPv4 address but loopback's. */
import t from 'tap';
import { InterceptionLab, PEER_V6, POD_V6 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { APPLICATION, inPeer, inPod, MODEL_SERVER, metric, startProxy } from '../support/sidecar-pod.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl');
const NAME = 'model.default.svc';

t.test('a pod without IPv4', { skip }, async (t) => {
  const lab = new InterceptionLab('6');
  t.teardown(() => lab.close());
  lab.pod.setHosts({ [NAME]: PEER_V6 });
  lab.pod.must('ip', '-6', 'route', 'add', 'default', 'via', PEER_V6);
  t.notMatch(lab.pod.must('ip', '-4', 'addr', 'show', 'dev', 'eth0'), 'inet ');
  await Promise.all([
    startProxy(lab),
    lab.pod.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'own', '[::]:8500', '8600']),
    lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'peer', '[::]:8500', '8600']),
  ]);
  const before = lab.savedRules();
  const rules = ['--outbound-ports', '8500,8600', '--inbound-ports', '8500,8600'];
  lab.mustIntercept('install', ...rules);
  const told = lab.mustIntercept('verify', ...rules);
  t.match(told, /IPv6 outbound: .*came back right/);
  t.match(told, /IPv6 inbound: .*came back right/);
  t.match(told, /IPv4 outbound: not proved, for there is no route/);

  const accepted = () => metric(lab, 'understudy_downstream_connections_total');
  const atFirst = accepted();
  t.same(inPod(lab, APPLICATION, 'say', `${NAME}:8500`, 'out'), { said: 'peer: out' });
  t.same(inPod(lab, APPLICATION, 'bytes', PEER_V6, '8600', 'raw'), { said: 'peer: raw' });
  t.same(inPeer(lab, APPLICATION, 'say', `[${POD_V6}]:8500`, 'in'), { said: 'own: in' });
  t.same(inPeer(lab, APPLICATION, 'bytes', POD_V6, '8600', 'raw'), { said: 'own: raw' });
  t.equal(accepted(), atFirst + 4, 'all of them through the proxy');
  t.same(inPod(lab, APPLICATION, 'say', `[${POD_V6}]:8500`, 'me'), { said: 'own: me' });
  t.equal(accepted(), atFirst + 4, 'but for the call of the pod to itself');
  lab.mustIntercept('remove');
  t.same(lab.savedRules(), before);
});
