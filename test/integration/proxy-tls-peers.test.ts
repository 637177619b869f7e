/**
 * TLS and mTLS with programs that are not ours: openssl s_client, curl, nghttp, grpc-js and node:http2 against the
 * proxy's certificate when it is good, expired, somebody else's, and rotated; and with a client certificate that is good,
 * expired, somebody else's, unknown, missing, and rotated.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { type Issued, type LeafOptions, TestAuthority } from '../support/certificates.ts';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-tls-peers-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const authority = new TestAuthority();
const upstream = await ScriptedUpstream.start(t, 'upstream');
const SPIFFE = 'spiffe://mesh.example/ns/shop/sa/web';
/** What callers know the proxy by; grpc-js takes no address for one. */
const NAMES = ['127.0.0.1', 'localhost'];
const DAY_MS = 86_400_000;
const PAST = { notBefore: new Date(0), notAfter: new Date(Date.now() - DAY_MS) };
const HANDSHAKES = 'understudy_downstream_tls_handshakes_total';

/** Writes as one swap: who looks meanwhile sees the old file or the new one. */
function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  return path;
}

const caFile = file('ca.pem', authority.cert);

/** A certificate in files and in memory. */
interface Identity extends Issued {
  readonly certFile: string;
  readonly keyFile: string;
}

function identity(name: string, options: LeafOptions, by = authority): Identity {
  const issued = by.issue(options);
  return { ...issued, certFile: file(`${name}.crt`, issued.cert), keyFile: file(`${name}.key`, issued.key) };
}

/** What became of one visit: what was said on the way, and whether an answer came. */
interface Visit {
  readonly answered: boolean;
  readonly said: string;
}

type Visitor = (address: string, client: Identity | null) => Promise<Visit>;

/** Runs a program with nothing to read; null when this machine does not have it. */
function run(program: string, args: string[], input = ''): Promise<string | null> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { timeout: 20_000 }, (error, stdout, stderr) => {
      resolve((error as NodeJS.ErrnoException | null)?.code === 'ENOENT' ? null : `${stdout}${stderr}`);
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

const missing = new Set<string>();

async function visitBy(program: string, args: string[], answered: RegExp, input = ''): Promise<Visit> {
  const said = await run(program, args, input);
  if (said === null) missing.add(program);
  return { answered: said !== null && answered.test(said), said: said ?? '' };
}

const REQUEST = 'GET /nobody HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';

const visitors: Record<string, Visitor> = {
  openssl: (address, client) =>
    visitBy(
      'openssl',
      [
        's_client',
        ...['-connect', address, '-CAfile', caFile, '-verify_return_error', '-verify_ip', '127.0.0.1'],
        ...['-alpn', 'http/1.1', '-ign_eof', '-nocommands'],
        ...(client === null ? [] : ['-cert', client.certFile, '-key', client.keyFile]),
      ],
      /ALPN protocol: http\/1\.1[\s\S]*HTTP\/1\.1 404/,
      REQUEST,
    ),
  curl: (address, client) =>
    visitBy(
      'curl',
      [
        ...['-sS', '--cacert', caFile, '--http2', '-o', '/dev/null', '-w', '%{http_version} %{http_code}'],
        ...(client === null ? [] : ['--cert', client.certFile, '--key', client.keyFile]),
        `https://${address}/nobody`,
      ],
      /^2 404/,
    ),
  // nghttp looks at nobody's certificate but shows its own.
  nghttp: (address, client) =>
    visitBy(
      'nghttp',
      [
        '-nv',
        ...(client === null ? [] : [`--cert=${client.certFile}`, `--key=${client.keyFile}`]),
        `https://${address}/nobody`,
      ],
      /:status: 404/,
    ),
  'grpc-js': async (address, client) => {
    const credentials = grpc.credentials.createSsl(
      Buffer.from(authority.cert),
      client === null ? null : Buffer.from(client.key),
      client === null ? null : Buffer.from(client.cert),
    );
    const tfs = new TfsClient(address, { 'grpc.ssl_target_name_override': 'localhost' }, credentials);
    try {
      await tfs.predict({ model_spec: modelSpec('m'), inputs: { x: floats([1], [1]) } });
      return { answered: true, said: '' };
    } catch (error) {
      return { answered: false, said: String(error) };
    } finally {
      tfs.close();
    }
  },
  'node:http2': async (address, client) => {
    const caller = new GrpcCaller(address, {
      ca: authority.cert,
      ...(client && { cert: client.cert, key: client.key }),
    });
    const { status } = await caller.predict('m');
    caller.close();
    return { answered: status === 0, said: '' };
  },
};

function proxyWith(server: Identity, env: Record<string, string> = {}): Promise<ProxyProgram> {
  return ProxyProgram.start(t, {
    env: {
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: upstream.address,
      UNDERSTUDY_MODEL_M_PRIMARY: 'm@1',
      UNDERSTUDY_OUTBOUND_TLS: 'strict',
      UNDERSTUDY_TLS_CERT_FILE: server.certFile,
      UNDERSTUDY_TLS_KEY_FILE: server.keyFile,
      ...env,
    },
  });
}

/** All visitors at once; those whose programs are missing are left out. */
async function visitAll(address: string, client: Identity | null): Promise<[string, Visit][]> {
  const all = await Promise.all(
    Object.entries(visitors).map(async ([name, visit]) => [name, await visit(address, client)] as [string, Visit]),
  );
  return all.filter(([name]) => !missing.has(name));
}

const good = identity('server', { names: NAMES, commonName: 'first' });
const proxy = await proxyWith(good);
const mutual = await proxyWith(good, {
  UNDERSTUDY_CONCURRENCY: '2',
  UNDERSTUDY_TLS_CA_FILE: caFile,
  UNDERSTUDY_TLS_CLIENT_CERTIFICATE: 'required',
  UNDERSTUDY_TLS_CLIENT_NAMES: SPIFFE,
});

t.test('everybody is served over a good certificate, and ALPN gives each the protocol it asks for', async (test) => {
  for (const [name, visit] of await visitAll(proxy.address, null)) test.ok(visit.answered, `${name}\n${visit.said}`);
  for (const program of missing) test.comment(`left out: ${program} is missing`);
});

t.test('nobody who looks talks to a proxy whose certificate is expired or somebody else’s', async (test) => {
  const bad: [string, Identity, RegExp][] = [
    ['expired', identity('expired', { names: NAMES, ...PAST }), /expired/i],
    ['wrong name', identity('else', { names: ['else.example'] }), /mismatch|does not match|altnames|no alternative/i],
  ];
  const before = upstream.count;
  await Promise.all(
    bad.map(async ([what, server, why]) => {
      const one = await proxyWith(server);
      for (const [name, visit] of await visitAll(one.address, null)) {
        if (name === 'nghttp') continue;
        test.notOk(visit.answered, `${what}: ${name}`);
        if (name === 'openssl' || name === 'curl') test.match(visit.said, why);
      }
      await one.kill();
    }),
  );
  test.equal(upstream.count, before);
});

t.test('with mTLS callers whose certificate is good are served, all others not, whoever they are', async (test) => {
  const caller = identity('caller', { names: [SPIFFE] });
  for (const [name, visit] of await visitAll(mutual.address, caller)) test.ok(visit.answered, `${name}\n${visit.said}`);
  const bad: [string, Identity | null][] = [
    ['expired', identity('caller-expired', { names: [SPIFFE], ...PAST })],
    ['wrong_name', identity('caller-else', { names: ['spiffe://mesh.example/ns/shop/sa/other'] })],
    ['untrusted', identity('caller-unknown', { names: [SPIFFE] }, new TestAuthority('stranger'))],
    ['no_certificate', null],
  ];
  const calls = upstream.count;
  for (const [result, client] of bad) {
    const before = (await mutual.metrics()).sum(HANDSHAKES, { result });
    const visits = await visitAll(mutual.address, client);
    for (const [name, visit] of visits) test.notOk(visit.answered, `${result}: ${name}\n${visit.said}`);
    // Some programs try more than once.
    const after = await mutual.metricsOnce((r) => r.sum(HANDSHAKES, { result }) - before >= visits.length, 10_000);
    test.ok(after.sum(HANDSHAKES, { result }) - before >= visits.length, result);
  }
  test.equal(upstream.count, calls, 'not one request went on');
});

t.test('where certificates of callers are optional, one that is shown is judged all the same', async (test) => {
  const lenient = await proxyWith(good, {
    UNDERSTUDY_TLS_CA_FILE: caFile,
    UNDERSTUDY_TLS_CLIENT_CERTIFICATE: 'optional',
  });
  const cases: [string, Issued | null, boolean][] = [
    ['none', null, true],
    ['good', authority.issue({ names: [SPIFFE] }), true],
    ['expired', authority.issue({ names: [SPIFFE], ...PAST }), false],
    ['unknown', new TestAuthority('stranger').issue({ names: [SPIFFE] }), false],
  ];
  for (const [what, client, served] of cases) {
    const caller = GrpcCaller.to(test, lenient.address, { ca: authority.cert, ...client });
    test.equal((await caller.predict('m')).status, served ? 0 : -1, what);
  }
});

t.test('a rotated certificate is shown to everybody who comes, and those who are there stay', async (test) => {
  const caller = identity('caller-stays', { names: [SPIFFE] });
  const callers = Array.from({ length: 6 }, () =>
    GrpcCaller.to(test, mutual.address, { ca: authority.cert, cert: caller.cert, key: caller.key }),
  );
  for (const one of callers) test.equal((await one.predict('m')).status, 0);
  let asking = true;
  // Asked all through the swap: none of them may notice.
  const asked = callers.map(async (one) => {
    const statuses = new Set<number>();
    while (asking) statuses.add((await one.predict('m')).status);
    return [...statuses];
  });
  const second = authority.issue({ names: NAMES, commonName: 'second' });
  file('server.key', second.key);
  file('server.crt', second.cert);
  for (const one of [proxy, mutual])
    await one.until(() => one.logged('certificate_reloaded').length === 1, 'the reload');
  asking = false;
  test.same(
    await Promise.all(asked),
    callers.map(() => [0]),
  );
  const rotated = identity('caller-rotated', { names: [SPIFFE], commonName: 'next' });
  for (const [name, visit] of await visitAll(mutual.address, rotated)) {
    test.ok(visit.answered, `${name}\n${visit.said}`);
    if (name === 'openssl') test.match(visit.said, /subject=.*second/);
  }
  for (const one of callers) {
    test.equal((await one.predict('m')).status, 0);
    test.notOk(one.session.closed, 'on the connection it began with');
  }
});
