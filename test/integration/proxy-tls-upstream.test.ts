/** TLS with upstreams: who is called, who is not and how that is counted, what the upstream sees, and large bodies. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { type Issued, TestAuthority } from '../support/certificates.ts';
import { GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-tls-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const authority = new TestAuthority();
const SPIFFE = 'spiffe://mesh.example/ns/models/sa/credit';
const HANDSHAKES = 'understudy_upstream_tls_handshakes_total';

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const caFile = file('ca.pem', authority.cert);
const issue = (names: string[], more = {}) => authority.issue({ names, ...more });
const secure = ({ cert, key }: Issued) => ({ tls: { cert, key } });

/** A proxy whose model `NAME` is served by the cluster of that name, and what else the document says. */
function proxyOf(
  test: Test,
  clusters: readonly { name: string; endpoints: string[]; tls: object }[],
  more: object = {},
) {
  const document = {
    clusters: clusters.map((cluster) => ({ model: cluster.name, ...cluster })),
    models: clusters.map(({ name }) => ({ name, split: [{ cluster: name }] })),
    ...more,
  };
  return ProxyProgram.start(test, { document });
}

t.test(
  'an upstream is called when its certificate says who it should be, by host, by SNI name or by SPIFFE identity',
  async (test) => {
    const byAddress = await ScriptedUpstream.start(test, 'by-address', secure(issue(['127.0.0.1'])));
    const byName = await ScriptedUpstream.start(test, 'by-name', secure(issue(['models.example'])));
    const asked: string[] = [];
    byName.server.on('secureConnection', (socket: TLSSocket & { servername: string }) => asked.push(socket.servername));
    const byIdentity = await ScriptedUpstream.start(test, 'by-identity', secure(issue([SPIFFE])));
    const proxy = await proxyOf(test, [
      { name: 'a', endpoints: [byAddress.address], tls: { caFile } },
      { name: 'b', endpoints: [byName.address], tls: { caFile, serverName: 'models.example' } },
      { name: 'c', endpoints: [byIdentity.address], tls: { caFile, names: ['other.example', SPIFFE] } },
    ]);
    const caller = GrpcCaller.to(test, proxy.address);
    for (const [model, name] of [
      ['a', 'by-address'],
      ['b', 'by-name'],
      ['c', 'by-identity'],
    ] as const) {
      const answer = await caller.predict(model);
      test.equal(answer.status, 0, model);
      test.equal(servedBy(answer), name);
    }
    test.same(asked, ['models.example']);
    const reading = await proxy.metrics();
    test.equal(reading.sum(HANDSHAKES, { result: 'ok' }), 3);
  },
);

t.test(
  'an upstream that is expired, unknown, somebody else, or speaks no HTTP/2 or no TLS 1.2 is not called, and the reason is counted',
  async (test) => {
    const day = 86_400_000;
    const expired = issue(['127.0.0.1'], { notBefore: new Date(0), notAfter: new Date(Date.now() - day) });
    const early = issue(['127.0.0.1'], {
      notBefore: new Date(Date.now() + day),
      notAfter: new Date(Date.now() + 2 * day),
    });
    const stranger = new TestAuthority('stranger').issue({ names: ['127.0.0.1'] });
    const twoIdentities = issue([SPIFFE, 'spiffe://mesh.example/ns/evil']);
    const bad: [string, Issued, object][] = [
      ['expired', expired, {}],
      ['expired', early, {}],
      ['untrusted', stranger, {}],
      ['wrong_name', issue(['127.0.0.2']), {}],
      ['wrong_name', twoIdentities, { names: [SPIFFE] }],
      ['wrong_name', issue(['*.example']), { names: ['models.example'] }],
    ];
    const upstreams = await Promise.all(
      bad.map(([, leaf], i) => ScriptedUpstream.start(test, `bad-${i}`, secure(leaf))),
    );
    const mute = createTlsServer(issue(['127.0.0.1']), (socket) => socket.on('error', () => {}).resume());
    mute.listen(0, '127.0.0.1');
    await once(mute, 'listening');
    test.teardown(() => mute.close());
    const noAlpn = `127.0.0.1:${(mute.address() as AddressInfo).port}`;
    const ancient = await ScriptedUpstream.start(test, 'ancient', {
      tls: {
        ...issue(['127.0.0.1']),
        minVersion: 'TLSv1',
        maxVersion: 'TLSv1.1',
        ciphers: 'DEFAULT@SECLEVEL=0',
      },
    });
    const proxy = await proxyOf(test, [
      ...bad.map(([, , tls], i) => ({ name: `m${i}`, endpoints: [upstreams[i]!.address], tls: { caFile, ...tls } })),
      { name: 'mute', endpoints: [noAlpn], tls: { caFile } },
      { name: 'ancient', endpoints: [ancient.address], tls: { caFile } },
    ]);
    const caller = GrpcCaller.to(test, proxy.address);
    for (const [i, [result]] of bad.entries()) {
      const answer = await caller.predict(`m${i}`);
      test.equal(answer.status, 14, result);
      test.equal(answer.served['reason'], 'connect_failed');
      test.equal(upstreams[i]!.count, 0, 'not a byte of a request reached it');
    }
    for (const name of ['mute', 'ancient']) test.equal((await caller.predict(name)).status, 14, name);
    test.equal(ancient.count, 0);
    const reading = await proxy.metrics();
    for (const result of ['expired', 'untrusted', 'wrong_name']) {
      test.equal(reading.sum(HANDSHAKES, { result }), bad.filter(([wanted]) => wanted === result).length, result);
    }
    test.equal(reading.sum(HANDSHAKES, { result: 'protocol' }), 2, 'no HTTP/2, and no TLS 1.2');
  },
);

t.test(
  'an upstream that asks who calls is shown the certificate, and a new one after its files change',
  async (test) => {
    const server = issue(['127.0.0.1']);
    const seen: string[] = [];
    const upstream = await ScriptedUpstream.start(test, 'asks', {
      tls: { ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: true },
    });
    upstream.server.on('secureConnection', (socket: TLSSocket) => {
      seen.push(String(socket.getPeerCertificate().subject.CN));
    });
    const first = issue(['proxy.example'], { commonName: 'first' });
    const certFile = file('client.crt', first.cert);
    const keyFile = file('client.key', first.key);
    const proxy = await proxyOf(test, [
      { name: 'm', endpoints: [upstream.address], tls: { caFile, certFile, keyFile } },
    ]);
    const caller = GrpcCaller.to(test, proxy.address);
    test.equal((await caller.predict('m')).status, 0);
    const second = issue(['proxy.example'], { commonName: 'second' });
    file('client.key', second.key);
    file('client.crt', second.cert);
    await proxy.until(() => proxy.logged('certificate_reloaded').length > 0, 'the reload');
    test.equal((await caller.predict('m')).status, 0);
    test.same(seen, ['first'], 'the open connection goes on');
    upstream.cut();
    await proxy.metricsOnce((reading) => reading.sum('understudy_upstream_open_connections') === 0);
    test.equal((await caller.predict('m')).status, 0);
    test.same(seen, ['first', 'second']);
  },
);

t.test('bodies of many records pass both ways over HTTP/2, and a slow upstream holds back its caller', async (test) => {
  const upstream = await ScriptedUpstream.start(test, 'large', {
    ...secure(issue(['127.0.0.1'])),
    script: async (call) => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const body = await call.body;
      call.answer(Buffer.from(`${body.length} `.padEnd(4_000_000, 'x')));
    },
  });
  const proxy = await proxyOf(test, [{ name: 'm', endpoints: [upstream.address], tls: { caFile } }]);
  const caller = GrpcCaller.to(test, proxy.address);
  const request = predictRequest(
    'm',
    Array.from({ length: 1_000_000 }, (_, i) => i),
  );
  const answers = await Promise.all([caller.call(request), caller.call(request)]);
  for (const answer of answers) {
    test.equal(answer.status, 0);
    test.equal(answer.body.length, 4_000_005);
    test.match(answer.body.subarray(5, 20).toString(), new RegExp(`^${request.length} `));
  }
});

t.test('HTTP/1.1 upstreams are called over TLS too', async (test) => {
  const server = createHttpsServer(issue(['127.0.0.1']), (request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => response.end(`${bytes} `.padEnd(1_000_000, 'y')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.teardown(() => server.close());
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const document = {
    clusters: [{ name: 'web', endpoints: [address], tls: { caFile } }],
    passthrough: { cluster: 'web' },
  };
  const proxy = await ProxyProgram.start(test, { document });
  const [host, port] = proxy.address.split(':');
  const text = await new Promise<string>((resolve, reject) => {
    const request = httpRequest({ host, port, method: 'POST', path: '/anything', timeout: 10_000 }, (response) => {
      let said = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        said += chunk;
      });
      response.on('end', () => resolve(said));
    });
    request.on('error', reject);
    request.end(Buffer.alloc(700_000));
  });
  test.equal(text.length, 1_000_000);
  test.match(text, /^700000 /);
});

t.test('files that cannot be used stop a start, and everything wrong is named at once', async (test) => {
  const proxy = new ProxyProgram({
    env: {
      UNDERSTUDY_INBOUND_TLS: 'strict',
      UNDERSTUDY_TLS_CLIENT_CERTIFICATE: 'required',
      UNDERSTUDY_TLS_CLIENT_NAMES: '*.example',
    },
    document: { clusters: [{ name: 'x', endpoints: ['unix:/tmp/x'], tls: { certFile: 'only.pem' } }] },
  });
  test.equal(await proxy.exit, 1);
  const said = proxy.logs.map((log) => String(log['text'])).join('\n');
  for (const name of [
    'TLS_CERT_FILE',
    'TLS_KEY_FILE',
    'TLS_CA_FILE',
    'TLS_CLIENT_NAMES',
    'tls.keyFile',
    'tls.serverName',
  ]) {
    test.match(said, name);
  }
  const missing = new ProxyProgram({
    document: { clusters: [{ name: 'x', endpoints: ['127.0.0.1:1'], tls: { caFile: join(folder, 'absent.pem') } }] },
  });
  test.equal(await missing.exit, 1);
  test.match(missing.logs.map((log) => String(log['text'])).join('\n'), /clusters \(x\)\.tls.*absent\.pem/);
});
