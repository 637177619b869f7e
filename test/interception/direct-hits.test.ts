/**
 * The matrix of those who dial the pod's own addresses: whose process, which address, which port. Nobody reaches a listener
 * of the proxy by an address that is not its own, and no connection comes back to the proxy a second time.
 */
import t from 'tap';
import { InterceptionLab, POD_V4, POD_V6, PROXY_ID } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { until } from '../support/patience.ts';
import { EDGE_CLIENT, inPeer, inPod, MODEL_SERVER, metric, startProxy } from '../support/sidecar-pod.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl');
const LOOPBACK = ['127.0.0.1', '::1'];
const POD = [POD_V4, POD_V6];
const [ADMIN, OUTBOUND, INBOUND, METRICS, SERVER, NOBODY] = ['15000', '15001', '15006', '15020', '8600', '8999'];
const PORTS = [ADMIN, OUTBOUND, INBOUND, METRICS, SERVER, NOBODY].join();
const TEXT = 'no HTTP\r\n\r\n';

/** What becomes of a connection. An HTTP server calls the text bad; the application says it back behind its name. */
const HTTP = 'HTTP/1.1 400 Bad Request';
const OWN = 'own: no HTTP';
const REFUSED = 'ECONNREFUSED';
/** Accepted by the proxy and ended by it at once. */
const CLOSED = /^(closed|ECONNRESET|EPIPE)$/;

/** From inside by loopback: listeners of the proxy there, the application itself, nobody; IPv6 has no admin listener. */
const byLoopback = (host: string) => ({
  [`${host} ${ADMIN}`]: host === '127.0.0.1' ? HTTP : REFUSED,
  [`${host} ${OUTBOUND}`]: CLOSED,
  [`${host} ${INBOUND}`]: CLOSED,
  [`${host} ${METRICS}`]: HTTP,
  [`${host} ${SERVER}`]: OWN,
  [`${host} ${NOBODY}`]: REFUSED,
});
/** The application by the pod's address: with nothing between it and the sockets that are bound there. */
const untouched = (host: string) => ({
  [`${host} ${ADMIN}`]: REFUSED,
  [`${host} ${OUTBOUND}`]: REFUSED,
  [`${host} ${INBOUND}`]: CLOSED,
  [`${host} ${METRICS}`]: HTTP,
  [`${host} ${SERVER}`]: OWN,
  [`${host} ${NOBODY}`]: REFUSED,
});
/** Through the inbound side: handed on to the address that was dialled, where loopback's listeners are not. */
const inbound = (host: string) => ({
  ...untouched(host),
  [`${host} ${ADMIN}`]: CLOSED,
  [`${host} ${NOBODY}`]: CLOSED,
});
const all = (hosts: readonly string[], expected: (host: string) => object) => Object.assign({}, ...hosts.map(expected));

t.test("those who dial the pod's own addresses", { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  await Promise.all([
    startProxy(lab, { UNDERSTUDY_METRICS_LISTEN: '[::]:15020' }),
    lab.pod.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'own', '[::]:8500', SERVER]),
  ]);
  lab.mustIntercept(
    ...['install', '--outbound-ports', 'all'],
    ...['--inbound-ports', 'all', '--exclude-inbound-ports', METRICS],
  );
  const counted = () => [
    metric(lab, 'understudy_downstream_connections_total'),
    metric(lab, 'understudy_downstream_connection_refusals_total', 'reason="not_redirected"'),
  ];
  /** Connections that the proxy took, and those that it refused for being meant for its listener, since the last look. */
  let before = counted();
  const since = () => {
    const now = counted();
    const grown = now.map((value, i) => value - before[i]!);
    before = now;
    return grown;
  };

  t.test('an application, by loopback and by the address of its pod', async (t) => {
    const said = inPod(lab, EDGE_CLIENT, 'reach', [...LOOPBACK, ...POD].join(), PORTS, TEXT);
    t.match(said, { ...all(LOOPBACK, byLoopback), ...all(POD, untouched) });
    t.same(since(), [2, 4], 'two dialled the outbound listener, four the inbound one; nothing was redirected');
  });
  t.test('the proxy itself: it crosses the inbound side by the address of its pod, once', async (t) => {
    const as = ['--reuid', `${PROXY_ID}`, '--regid', `${PROXY_ID}`, '--clear-groups', process.execPath, EDGE_CLIENT];
    const said = lab.pod.must('setpriv', ...as, 'reach', [...LOOPBACK, ...POD].join(), PORTS, TEXT);
    t.match(JSON.parse(said), { ...all(LOOPBACK, byLoopback), ...all(POD, inbound) });
    t.same(since(), [8, 4], 'as above, and three ports of two addresses through the inbound side');
  });
  t.test('the node: through the inbound side, once', async (t) => {
    t.match(inPeer(lab, EDGE_CLIENT, 'reach', POD.join(), PORTS, TEXT), all(POD, inbound));
    t.same(since(), [6, 2]);
  });
  t.test('and none of it is left behind', async (t) => {
    await until(() => metric(lab, 'understudy_downstream_open_connections') === 0, 'no connection is open');
    t.equal(metric(lab, 'understudy_downstream_open_connections'), 0);
  });
});
