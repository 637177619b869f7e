import t, { type Test } from 'tap';
import {
  type Caller,
  InterceptionLab,
  PEER_V4,
  PEER_V6,
  POD_V4,
  POD_V6,
  PROXY_ID,
} from '../support/interception-lab.ts';
import { NamespaceAgent } from '../support/namespace-agent.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables');

/** What the stand-in proxy says of a connection that was meant for `host:port`. */
function redirected(host: string, port: number) {
  return { verdict: 'redirected', destination: { host, port, family: host.includes(':') ? 6 : 4 } };
}

/** A lab, and an agent on each side of it that dials and installs. */
async function openLab(test: Test) {
  const lab = await InterceptionLab.open();
  test.teardown(() => lab.close());
  const [pod, peer] = [new NamespaceAgent(lab.pod), new NamespaceAgent(lab.peer)];
  return {
    dial: (host: string, port: number, caller: Caller = {}) => pod.dial({ host, port, ...caller }),
    dialFromPeer: (host: string, port: number) => peer.dial({ host, port }),
    intercept: (...argv: string[]) => pod.mustIntercept(argv),
  };
}

t.test('outbound connections', { skip }, async (t) => {
  const { dial, dialFromPeer, intercept } = await openLab(t);
  t.same(await dial(PEER_V4, 8500), { server: 'peer', from: `::ffff:${POD_V4}` }, 'without rules the peer answers');
  await intercept('install', '--outbound-ports', '8500,8600', '--exclude-uids', '4000');

  t.test('an IPv4 destination comes back as dialled', async (t) => {
    t.match(await dial(PEER_V4, 8500), redirected(PEER_V4, 8500));
  });
  t.test('an IPv6 destination comes back as dialled', async (t) => {
    t.match(await dial(PEER_V6, 8500), redirected(PEER_V6, 8500));
  });
  t.test('a v4-mapped destination comes back as the IPv4 address it is', async (t) => {
    t.match(await dial(`::ffff:${PEER_V4}`, 8600), redirected(PEER_V4, 8600));
  });
  t.test('a destination where nobody listens comes to the proxy all the same', async (t) => {
    t.match(await dial('10.77.0.99', 8500), redirected('10.77.0.99', 8500));
  });
  t.test('a port that is not listed is left alone', async (t) => {
    t.match(await dial(PEER_V4, 9000), { server: 'peer' });
  });
  t.test("the proxy's own user reaches the peer, both families", async (t) => {
    t.match(await dial(PEER_V4, 8500, { uid: PROXY_ID }), { server: 'peer' });
    t.match(await dial(PEER_V6, 8500, { uid: PROXY_ID }), { server: 'peer' });
  });
  t.test("the proxy's own group reaches the peer, both families", async (t) => {
    t.match(await dial(PEER_V4, 8500, { gid: PROXY_ID }), { server: 'peer' });
    t.match(await dial(PEER_V6, 8500, { gid: PROXY_ID }), { server: 'peer' });
  });
  t.test('an excluded user reaches the peer, another does not', async (t) => {
    t.match(await dial(PEER_V4, 8500, { uid: 4000 }), { server: 'peer' });
    t.match(await dial(PEER_V4, 8500, { uid: 4001 }), redirected(PEER_V4, 8500));
  });
  t.test('calls to localhost and to the own address stay with the application', async (t) => {
    for (const host of ['127.0.0.1', '::1', POD_V4, POD_V6])
      t.match(await dial(host, 8500), { server: 'application' }, host);
  });
  t.test('a direct hit on a listener is told apart, from inside and from outside', async (t) => {
    for (const host of ['127.0.0.1', POD_V4, POD_V6]) {
      t.match(await dial(host, 15001), { verdict: 'direct', destination: null }, `${host} from the pod`);
    }
    t.match(await dialFromPeer(POD_V4, 15001), { verdict: 'direct' });
    t.match(await dialFromPeer(POD_V6, 15006), { verdict: 'direct' });
  });
  t.test('a second install with other options replaces the first', async (t) => {
    await intercept(
      'install',
      '--outbound-ports',
      'all',
      '--exclude-outbound-ports',
      '8600',
      '--exclude-outbound-cidrs',
      `${PEER_V6}/128`,
    );
    t.match(await dial(PEER_V4, 9000), redirected(PEER_V4, 9000), 'all ports');
    t.match(await dial(PEER_V4, 8600), { server: 'peer' }, 'an excluded port');
    t.match(await dial(PEER_V6, 9000), { server: 'peer' }, 'an excluded block');
    t.match(await dial(PEER_V4, 8500, { uid: 4000 }), redirected(PEER_V4, 8500), 'the user excluded before');
  });
  t.test('included blocks and included groups bound what is intercepted', async (t) => {
    await intercept('install', '--include-outbound-cidrs', '10.77.0.0/24', '--include-gids', '5000,5001');
    t.match(await dial(PEER_V4, 8500, { gid: 5001 }), redirected(PEER_V4, 8500));
    t.match(await dial(PEER_V4, 8500, { gid: 5002 }), { server: 'peer' });
    t.match(await dial(PEER_V6, 8500, { gid: 5001 }), { server: 'peer' });
  });
  t.test('an excluded interface is left alone', async (t) => {
    await intercept('install', '--exclude-interfaces', 'eth+');
    t.match(await dial(PEER_V4, 8500), { server: 'peer' });
  });
  t.test('forty scattered ports are all intercepted, across several rules', async (t) => {
    const ports = Array.from({ length: 40 }, (_, i) => 8500 + 10 * i);
    await intercept('install', '--outbound-ports', ports.join(','));
    t.match(await dial(PEER_V4, 8500), redirected(PEER_V4, 8500));
    t.match(await dial(PEER_V4, 8890), redirected(PEER_V4, 8890));
    t.match(await dial(PEER_V4, 9000), { server: 'peer' });
  });
});

t.test('inbound connections', { skip }, async (t) => {
  const { dial, dialFromPeer, intercept } = await openLab(t);
  await intercept('install', '--outbound-ports', 'none', '--inbound-ports', 'all', '--exclude-inbound-ports', '9000');

  t.test('a caller from outside comes to the proxy with the address it dialled', async (t) => {
    t.match(await dialFromPeer(POD_V4, 8500), { ...redirected(POD_V4, 8500), from: `::ffff:${PEER_V4}` });
    t.match(await dialFromPeer(POD_V6, 8500), redirected(POD_V6, 8500));
  });
  t.test('an excluded inbound port is left alone', async (t) => {
    t.match(await dialFromPeer(POD_V4, 9000), { server: 'application' });
  });
  t.test("the proxy's delivery to the application arrives and does not come back", async (t) => {
    t.match(await dial(POD_V4, 8500, { uid: PROXY_ID, source: '127.0.0.6' }), { server: 'application' });
    t.match(await dial(POD_V6, 8500, { uid: PROXY_ID, source: '::6' }), { server: 'application' });
  });
  t.test("the proxy's call to its own pod crosses the inbound side, as any caller's would", async (t) => {
    t.match(await dial(POD_V4, 8500, { uid: PROXY_ID }), redirected(POD_V4, 8500));
    t.match(await dial(POD_V6, 8500, { gid: PROXY_ID }), redirected(POD_V6, 8500));
    t.match(await dial(POD_V4, 9000, { uid: PROXY_ID }), { server: 'application' }, 'its exclusions hold there too');
  });
  t.test('the application calling itself crosses neither side', async (t) => {
    t.match(await dial(POD_V4, 8500), { server: 'application' });
    t.match(await dial('127.0.0.1', 8500), { server: 'application' });
  });
  t.test('a caller from an excluded block is left alone', async (t) => {
    await intercept('install', '--inbound-ports', '8500', '--exclude-inbound-cidrs', `${PEER_V4}/32`);
    t.match(await dialFromPeer(POD_V4, 8500), { server: 'application' });
    t.match(await dialFromPeer(POD_V6, 8500), redirected(POD_V6, 8500));
  });
});
