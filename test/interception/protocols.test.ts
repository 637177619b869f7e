/** What an intercepted connection may speak: HTTP however it is cut, and everything else as the bytes it is. */
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { TestAuthority } from '../support/certificates.ts';
import { InterceptionLab, PEER_V4, PEER_V6 } from '../support/interception-lab.ts';
import { ModelFolder } from '../support/model-folder.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { APPLICATION, EDGE_CLIENT, inPod, MODEL_SERVER, metric, startProxy } from '../support/sidecar-pod.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl', 'openssl');
/**
 * An HTTP server that says what it was asked; one that says the digest of all that it got once that has ended; and one that
 * speaks TLS and says the first line backwards.
 */
const SERVERS = `const answer = ({ method, url, headers }, response) => response.end(method + ' ' + url + ' of ' + headers.host);
  require('node:http').createServer(answer).listen(8700, '::');
  const digest = (socket) => {
    const hash = require('node:crypto').createHash('sha256');
    socket.on('data', (bytes) => hash.update(bytes)).on('end', () => socket.end(hash.digest('hex'))).on('error', () => {});
  };
  require('node:net').createServer({ allowHalfOpen: true }, digest).listen(8701, '::');
  const [cert, key] = process.argv.slice(1).map((path) => require('node:fs').readFileSync(path));
  const backwards = (socket) => socket.once('data', (line) => socket.end(String(line).trim().split('').reverse().join('')));
  require('node:tls').createServer({ cert, key }, backwards).listen(8443, '::');
  setTimeout(() => console.log('ready'));`;

t.test('protocols of intercepted connections', { skip }, async (t) => {
  const lab = new InterceptionLab();
  const folder = new ModelFolder();
  t.teardown(async () => {
    await lab.close();
    folder.remove();
  });
  const authority = new TestAuthority();
  const { cert, key } = authority.issue({ names: ['secret.example'] });
  const files = { ca: folder.at('ca.pem'), cert: folder.at('cert.pem'), key: folder.at('key.pem') };
  writeFileSync(files.ca, authority.cert);
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  await Promise.all([
    startProxy(lab),
    lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'peer', '[::]:8500', '8600', '9100']),
    lab.peer.spawnUntil(['ready'], process.execPath, ['-e', SERVERS, files.cert, files.key]),
  ]);
  lab.mustIntercept('install', '--outbound-ports', '5432,8443,8500,8600,8601,8700,8701,9100');
  const opaque = () => metric(lab, 'understudy_opaque_connections_total');
  const drip = (text: string, port: string) => inPod(lab, EDGE_CLIENT, 'drip', PEER_V4, port, text).said as string;

  t.test('HTTP/1 that comes a byte at a time is HTTP/1', async (t) => {
    const before = opaque();
    t.match(
      drip('GET /x HTTP/1.1\r\nhost: model.default.svc\r\n\r\n', '8700'),
      /^HTTP\/1.1 200[\s\S]*GET \/x of model/,
    );
    t.equal(opaque(), before);
  });
  t.test('HTTP/1 goes where it was dialled, whatever its target and its fields say', async (t) => {
    const steering = ['x-envoy-original-dst-host', 'l5d-dst-override', 'x-forwarded-host'];
    const fields = steering.map((name) => `${name}: 127.0.0.1:15000\r\n`).join('');
    const said = drip(`GET http://127.0.0.1:15000/config HTTP/1.1\r\nhost: 127.0.0.1:15000\r\n${fields}\r\n`, '8700');
    t.match(said, /^HTTP\/1.1 200[\s\S]*GET (http:\/\/127.0.0.1:15000)?\/config of 127.0.0.1:15000/);
  });
  t.test('a beginning of HTTP/2 that goes on otherwise, or not at all, is bytes', async (t) => {
    const before = opaque();
    t.equal(drip('PRI * HTTP/2.0\r\n\r\nSN', '8600').replaceAll('peer: ', ''), 'PRI * HTTP/2.0\r\n\r\nSN');
    t.equal(drip('PRI * HT', '8600'), 'peer: PRI * HT');
    t.equal(drip('POS', '8600'), 'peer: POS');
    t.equal(opaque(), before + 3);
  });
  t.test("an application's TLS passes through, and its certificate is the server's own", async (t) => {
    const before = opaque();
    for (const address of [`${PEER_V4}:8443`, `[${PEER_V6}]:8443`]) {
      const client = ['s_client', '-connect', address, '-servername', 'secret.example', '-CAfile', files.ca];
      const strict = ['-verify_return_error', '-verify_hostname', 'secret.example', '-ign_eof'];
      const { stdout, stderr } = lab.pod.run('openssl', [...client, ...strict], 'sesame\n');
      t.match(stdout, /emases/, stderr);
      t.match(stdout, /Verify return code: 0 \(ok\)/);
    }
    t.equal(opaque(), before + 2);
  });
  t.test('a server that speaks first is heard at once on a port that is known for it', async (t) => {
    // 5432 is one of those relayed without a look; there the proxy connects before it has read a byte.
    const greeter = await lab.peer.spawnUntil(['ready'], process.execPath, [
      '-e',
      "require('node:net').createServer((s) => s.end('postgres')).listen(5432, '::', () => console.log('ready'))",
    ]);
    t.same(inPod(lab, APPLICATION, 'listen', PEER_V6, '5432'), { said: 'postgres' });
    greeter.kill();
  });
  t.test('many bytes arrive as they were sent, and an end of one side leaves the other open', async (t) => {
    for (const host of [PEER_V4, PEER_V6]) {
      const { sent, said } = inPod(lab, EDGE_CLIENT, 'pour', host, '8701', '24');
      t.equal(said, sent, host);
    }
  });
  t.test('a port where nobody listens ends the connection, and the failure is counted', async (t) => {
    const cut = () => metric(lab, 'understudy_opaque_connections_cut_total', 'reason="connect_failed"');
    const before = cut();
    t.match(inPod(lab, APPLICATION, 'bytes', PEER_V4, '8601', 'anybody?'), { said: /closed|ECONNRESET/ });
    t.equal(cut(), before + 1);
  });
});
