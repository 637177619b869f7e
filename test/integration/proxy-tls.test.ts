/** TLS with callers at the proxy's listeners: who is served, who is refused and how that is counted, and what passes. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, connect as netConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { promisify } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { type Issued, TestAuthority } from '../support/certificates.ts';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'understudy-tls-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const authority = new TestAuthority();
const stranger = new TestAuthority('stranger');
const caFile = join(folder, 'ca.pem');
writeFileSync(caFile, authority.cert);
const SPIFFE = 'spiffe://mesh.example/ns/shop/sa/web';

/** A certificate in a folder as the kubelet mounts it: `tls.crt` -> `..data/tls.crt`, `..data` -> `..N`. */
class Mounted {
  readonly certFile = join(folder, 'mount', 'tls.crt');
  readonly keyFile = join(folder, 'mount', 'tls.key');
  private count = 0;

  constructor(first: Issued) {
    mkdirSync(join(folder, 'mount'));
    this.swap(first);
    symlinkSync('..data/tls.crt', this.certFile);
    symlinkSync('..data/tls.key', this.keyFile);
  }

  swap({ cert, key }: Issued): void {
    const data = `..${++this.count}`;
    mkdirSync(join(folder, 'mount', data));
    writeFileSync(join(folder, 'mount', data, 'tls.crt'), cert);
    writeFileSync(join(folder, 'mount', data, 'tls.key'), key);
    symlinkSync(data, join(folder, 'mount', '..new'));
    renameSync(join(folder, 'mount', '..new'), join(folder, 'mount', '..data'));
  }
}

const mounted = new Mounted(authority.issue({ names: ['localhost', '127.0.0.1'], commonName: 'first' }));
const upstream = await ScriptedUpstream.start(t, 'upstream');
const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
t.teardown(() => echo.close());

const COMMON = {
  UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: upstream.address,
  UNDERSTUDY_TLS_CERT_FILE: mounted.certFile,
  UNDERSTUDY_TLS_KEY_FILE: mounted.keyFile,
  UNDERSTUDY_MODEL_M_PRIMARY: 'm@1',
};
const permissive = await ProxyProgram.start(t, {
  env: {
    ...COMMON,
    UNDERSTUDY_OUTBOUND_TLS: 'permissive',
    UNDERSTUDY_TLS_HANDSHAKE_TIMEOUT: '300ms',
    UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: `127.0.0.1:${(echo.address() as AddressInfo).port}`,
  },
});
const strict = await ProxyProgram.start(t, {
  env: {
    ...COMMON,
    UNDERSTUDY_CONCURRENCY: '2',
    UNDERSTUDY_OUTBOUND_TLS: 'strict',
    UNDERSTUDY_TLS_CA_FILE: caFile,
    UNDERSTUDY_TLS_CLIENT_CERTIFICATE: 'required',
    UNDERSTUDY_TLS_CLIENT_NAMES: `${SPIFFE},web.shop.example`,
    UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address,
  },
});
const HANDSHAKES = 'understudy_downstream_tls_handshakes_total';
const port = (proxy: ProxyProgram) => Number(proxy.address.split(':')[1]);

t.test('the same port serves HTTP/2 and HTTP/1.1 callers with TLS and without', async (test) => {
  const secure = GrpcCaller.to(test, permissive.address, { ca: authority.cert });
  const plain = GrpcCaller.to(test, permissive.address);
  for (const caller of [secure, plain]) {
    const answer = await caller.predict('m');
    test.equal(answer.status, 0);
    test.equal(servedBy(answer), 'upstream');
  }
  const client = new TfsClient(
    permissive.address,
    { 'grpc.ssl_target_name_override': 'localhost' },
    grpc.credentials.createSsl(Buffer.from(authority.cert)),
  );
  test.teardown(() => client.close());
  const answer = await client.predict({ model_spec: modelSpec('m'), inputs: { x: floats([1], [1]) } });
  test.equal(String(answer.outputs.served_by.string_val[0]), 'upstream', 'grpc-js');
});

t.test('openssl s_client sees TLS 1.3 by default, 1.2 if it must, and nothing older', async (test) => {
  const ask = (...args: string[]) => {
    const all = ['s_client', '-connect', permissive.address, '-CAfile', caFile, '-alpn', 'h2', '-brief', ...args];
    const child = execFile('openssl', all, { timeout: 10_000 });
    child.stdin!.end();
    let said = '';
    child.stderr!.on('data', (text) => {
      said += text;
    });
    return new Promise<string>((resolve) => child.on('close', () => resolve(said)));
  };
  if ((await run('openssl', ['version']).catch(() => null)) === null) {
    test.comment('skipped: openssl is missing');
    return;
  }
  const [newest, older, old] = [ask(), ask('-tls1_2'), ask('-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0')];
  test.match(await newest, /Protocol version: TLSv1\.3[\s\S]*Verification: OK/);
  test.match(await older, /Protocol version: TLSv1\.2/);
  test.notMatch(await old, /Protocol version/);
});

t.test('curl and nghttp are answered over ALPN', async (test) => {
  for (const version of ['--http1.1', '--http2']) {
    const curl = await run(
      'curl',
      [
        '-sS',
        '--cacert',
        caFile,
        version,
        '-w',
        '%{http_version} %{http_code}',
        '-o',
        '/dev/null',
        `https://localhost:${port(permissive)}/v1/models/m`,
      ],
      { timeout: 10_000 },
    ).catch((error) => error);
    if (curl.code === 'ENOENT') {
      test.comment('skipped: curl is missing');
      return;
    }
    test.match(curl.stdout, version === '--http2' ? /^2 / : /^1\.1 /, curl.stderr);
  }
  const nghttp = await run('nghttp', ['-nv', `https://${permissive.address}/x`], { timeout: 10_000 }).catch(
    (error) => error,
  );
  if (nghttp.code !== 'ENOENT') test.match(nghttp.stdout, /:status: \d+/);
});

t.test(
  'what is neither HTTP/2 nor HTTP/1 inside TLS is relayed, half-close included, and pauses a fast sender',
  async (test) => {
    const socket = tlsConnect({
      port: port(permissive),
      host: '127.0.0.1',
      ca: authority.cert,
      allowHalfOpen: true,
    } as ConnectionOptions);
    const sent = randomBytes(6 * 1024 * 1024);
    sent[0] = 1;
    socket.end(sent);
    const chunks: Buffer[] = [];
    // A reader that sleeps at first: what it does not take stays with the sender.
    await new Promise((resolve) => setTimeout(resolve, 200));
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    test.ok(Buffer.concat(chunks).equals(sent), 'every byte came back after our end was sent');
  },
);

t.test('callers with the right name are served, all others are refused and counted by why', async (test) => {
  const issued = (options: Parameters<TestAuthority['issue']>[0], by = authority) => by.issue(options);
  const good = [issued({ names: [SPIFFE] }), issued({ names: ['WEB.shop.example'] })];
  for (const { cert, key } of good) {
    const caller = GrpcCaller.to(test, strict.address, { ca: authority.cert, cert, key });
    test.equal((await caller.predict('m')).status, 0);
  }
  const yesterday = new Date(Date.now() - 86_400_000);
  const bad: [string, Issued | null][] = [
    ['expired', issued({ names: [SPIFFE], notBefore: new Date(0), notAfter: yesterday })],
    ['wrong_name', issued({ names: ['spiffe://mesh.example/ns/shop/sa/other'] })],
    ['wrong_name', issued({ names: [SPIFFE, 'spiffe://mesh.example/ns/x'] })],
    ['wrong_name', issued({ names: ['www.web.shop.example'], commonName: 'web.shop.example' })],
    ['untrusted', issued({ names: [SPIFFE] }, stranger)],
    ['no_certificate', null],
  ];
  const before = await strict.metrics();
  for (const [result, leaf] of bad) {
    const caller = GrpcCaller.to(test, strict.address, { ca: authority.cert, ...leaf });
    test.equal((await caller.predict('m')).status, -1, result);
  }
  const count = (result: string) => bad.filter(([wanted]) => wanted === result).length;
  const after = await strict.metricsOnce((reading) => reading.sum(HANDSHAKES) - before.sum(HANDSHAKES) >= bad.length);
  for (const result of ['expired', 'wrong_name', 'untrusted', 'no_certificate']) {
    test.equal(after.sum(HANDSHAKES, { result }) - before.sum(HANDSHAKES, { result }), count(result), result);
  }
  test.equal(upstream.calls.length > 0, true);
});

t.test('a caller with a certificate resumes its session with either data thread, in both versions', async (test) => {
  const { cert, key } = authority.issue({ names: [SPIFFE] });
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const common = {
      port: port(strict),
      host: '127.0.0.1',
      ca: authority.cert,
      cert,
      key,
      minVersion: version,
      maxVersion: version,
      ALPNProtocols: ['http/1.1'],
    };
    const visit = (session?: Buffer) =>
      new Promise<{ reused: boolean; session: Buffer | undefined; said: string }>((resolve, reject) => {
        const socket = tlsConnect({ ...common, ...(session && { session }) });
        let latest: Buffer | undefined;
        let said = '';
        let reused = false;
        socket.on('secureConnect', () => {
          reused = socket.isSessionReused();
        });
        socket.on('session', (given) => {
          latest = given;
        });
        socket.on('error', reject);
        socket.on('data', (chunk) => {
          said += chunk;
          socket.end();
        });
        socket.on('close', () => resolve({ reused, session: latest, said }));
        socket.write('GET /v1/models/none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      });
    const first = await visit();
    test.match(first.said, /^HTTP\/1\.1 /);
    for (let i = 0; i < 6; i++) {
      const again = await visit(first.session);
      test.ok(again.reused, `${version} resumed`);
      test.match(again.said, /^HTTP\/1\.1 /);
    }
  }
});

t.test('handshakes beyond the bound are not begun', async (test) => {
  const narrow = await ProxyProgram.start(test, {
    env: { ...COMMON, UNDERSTUDY_OUTBOUND_TLS: 'strict', UNDERSTUDY_TLS_MAX_HANDSHAKES: '1' },
  });
  const open = (words: string) => {
    const socket = netConnect(port(narrow), '127.0.0.1');
    socket.on('error', () => {});
    socket.resume();
    socket.write(Buffer.from(words, 'hex'));
    test.teardown(() => socket.destroy());
    return new Promise((resolve) => socket.on('close', resolve));
  };
  const first = open('1603010200');
  await narrow.metricsOnce((r) => r.sum('understudy_downstream_open_connections') === 1);
  await open('1603010200');
  const reading = await narrow.metrics();
  test.equal(reading.sum(HANDSHAKES, { result: 'overflow' }), 1);
  test.equal(reading.sum('understudy_downstream_open_connections'), 1, 'the first goes on');
  await narrow.kill();
  await first;
});

t.test('a caller without TLS is refused where TLS is required', async (test) => {
  const before = await strict.metrics();
  for (const words of ['GET / HTTP/1.1\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\x01opaque']) {
    const socket = netConnect(port(strict), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(words);
    await new Promise((resolve) => socket.on('close', resolve));
    test.equal(socket.bytesRead, 0);
  }
  const after = await strict.metricsOnce((r) => r.sum(HANDSHAKES, { result: 'plain_refused' }) >= 3);
  test.equal(
    after.sum(HANDSHAKES, { result: 'plain_refused' }) - before.sum(HANDSHAKES, { result: 'plain_refused' }),
    3,
  );
});

t.test('a handshake that stalls, breaks off or is none ends, and nothing of it stays open', async (test) => {
  const stalled = netConnect(port(permissive), '127.0.0.1');
  stalled.on('error', () => {});
  stalled.write(Buffer.from('1603010200', 'hex'));
  const gone = netConnect(port(permissive), '127.0.0.1', () => gone.end(Buffer.from('1603010200010001fc0303', 'hex')));
  gone.on('error', () => {});
  gone.resume();
  const garbage = netConnect(port(permissive), '127.0.0.1');
  garbage.on('error', () => {});
  garbage.resume();
  garbage.write(Buffer.concat([Buffer.from('1603010010', 'hex'), Buffer.alloc(16, 0x5a)]));
  await Promise.all([stalled, gone, garbage].map((socket) => new Promise((resolve) => socket.on('close', resolve))));
  const reading = await permissive.metricsOnce(
    (r) => r.sum(HANDSHAKES, { result: 'timed_out' }) > 0 && r.sum('understudy_downstream_open_connections') === 0,
    5000,
  );
  test.equal(reading.sum(HANDSHAKES, { result: 'timed_out' }), 1);
  test.ok(reading.sum(HANDSHAKES, { result: 'protocol' }) >= 1, 'garbage');
  test.equal(reading.sum('understudy_downstream_open_connections'), 0);
});

t.test('a swapped certificate serves new connections, open ones go on, and a broken one is not used', async (test) => {
  const caller = GrpcCaller.to(test, permissive.address, { ca: authority.cert });
  test.equal((await caller.predict('m')).status, 0);
  const shown = () =>
    new Promise<string>((resolve, reject) => {
      const socket: TLSSocket = tlsConnect({ port: port(permissive), host: '127.0.0.1', ca: authority.cert }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      });
      socket.on('error', reject);
    });
  test.equal(await shown(), 'first');
  const second = authority.issue({
    names: ['127.0.0.1'],
    commonName: 'second',
    notAfter: new Date(Date.now() + 3600_000),
  });
  mounted.swap(second);
  await permissive.until(() => permissive.logged('certificate_reloaded').length === 1, 'the reload');
  test.equal(await shown(), 'second');
  test.equal((await caller.predict('m')).status, 0, 'the open connection');
  const [entry] = await permissive.json('/tls');
  test.match(entry.certificate, { subject: /second/, names: /127\.0\.0\.1/, issuer: /test authority/ });
  const reading = await permissive.metrics();
  const expiry = reading.sum('understudy_tls_certificate_expiry_seconds');
  test.ok(Math.abs(expiry - Date.now() / 1000 - 3600) < 600);

  mounted.swap({ cert: second.cert, key: authority.issue({ names: ['x'] }).key });
  await permissive.until(() => permissive.logged('certificate_kept').length === 1, 'the refusal');
  test.equal(await shown(), 'second');
  const refused = await permissive.metrics();
  test.equal(refused.sum('understudy_tls_certificate_reloads_total', { result: 'refused' }), 1);
  test.not((await permissive.json('/tls'))[0].refused, null);

  mounted.swap(authority.issue({ names: ['127.0.0.1'], commonName: 'third' }));
  await permissive.until(() => permissive.logged('certificate_reloaded').length === 2, 'the recovery');
  test.equal(await shown(), 'third');
});
