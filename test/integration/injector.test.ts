/**
 * The injector as a program: real AdmissionReviews over HTTPS, a certificate that changes under way, bounds, and the end.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Agent, Client, Pool, request } from 'undici';
import { applyPatch } from '../unit/deploy/injector/json-patch.ts';
import { DEFAULTS, pod, review } from '../unit/deploy/injector/reviews.ts';

const MAIN = fileURLToPath(new URL('../../deploy/injector/main.ts', import.meta.url));
const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'needs openssl';
const HOST = 'understudy-injector.understudy.svc';

/** A Secret as the kubelet mounts it: files are links to `..data/`, which is a link that is swapped. */
class MountedSecret {
  readonly folder = mkdtempSync(join(tmpdir(), 'understudy-injector-'));
  private swaps = 0;

  constructor() {
    this.swap();
    for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('..data', name), this.at(name));
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  get certificate(): string {
    return readFileSync(this.at('..data/tls.crt'), 'utf8');
  }

  /** A new self-signed pair, put in place as the kubelet does. `spoil` changes it before. */
  swap(spoil: (folder: string) => void = () => {}): void {
    const version = `..2026_${++this.swaps}`;
    mkdirSync(this.at(version));
    const subject = ['-subj', `/CN=${HOST}`, '-addext', `subjectAltName=DNS:${HOST}`];
    const files = ['-keyout', this.at(`${version}/tls.key`), '-out', this.at(`${version}/tls.crt`)];
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];
    execFileSync('openssl', ['req', ...kind, ...subject, ...files], { stdio: 'ignore' });
    spoil(this.at(version));
    symlinkSync(version, this.at('..data_tmp'));
    renameSync(this.at('..data_tmp'), this.at('..data'));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

class Injector {
  readonly events: Record<string, unknown>[] = [];
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  errors = '';

  constructor(env: Record<string, string>) {
    this.child = spawn(process.execPath, [MAIN], {
      env: {
        ...process.env,
        UNDERSTUDY_INJECTOR_LISTEN: '127.0.0.1:0',
        UNDERSTUDY_INJECTOR_SHUTDOWN_DELAY: '0s',
        ...env,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.exit = once(this.child, 'close').then(([code]) => code as number | null);
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      if (line.startsWith('{')) this.events.push(JSON.parse(line));
      else this.errors += `${line}\n`;
    });
  }

  static async start(secret: MountedSecret): Promise<{ injector: Injector; origin: string; port: number }> {
    writeFileSync(secret.at('defaults.yaml'), JSON.stringify(DEFAULTS));
    const injector = new Injector({
      UNDERSTUDY_INJECTOR_CERT_FILE: secret.at('tls.crt'),
      UNDERSTUDY_INJECTOR_KEY_FILE: secret.at('tls.key'),
      UNDERSTUDY_INJECTOR_DEFAULTS_FILE: secret.at('defaults.yaml'),
    });
    const { port } = await injector.until('listening');
    return { injector, origin: `https://127.0.0.1:${port}`, port: port as number };
  }

  async until(event: string): Promise<Record<string, unknown>> {
    for (let i = 0; i < 500; i++) {
      const found = this.events.find((each) => each['event'] === event);
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`no ${event}: ${JSON.stringify(this.events)} ${this.errors}`);
  }
}

/** Trusts exactly the certificate that the secret holds now, under the name of the Service. */
function tlsOf(secret: MountedSecret) {
  return { ca: secret.certificate, servername: HOST };
}

t.test('the injector', { skip }, async (t) => {
  const secret = new MountedSecret();
  const { injector, origin, port } = await Injector.start(secret);
  const agent = new Agent({ connect: tlsOf(secret) });
  t.teardown(async () => {
    injector.child.kill('SIGKILL');
    await agent.destroy();
    secret.remove();
  });
  const post = async (body: string, type = 'application/json', path = '/mutate') => {
    const answer = await request(`${origin}${path}`, {
      method: 'POST',
      body,
      headers: { 'content-type': type },
      dispatcher: agent,
    });
    return { status: answer.statusCode, text: await answer.body.text() };
  };
  const ask = async (object: unknown, fields: object = {}) =>
    JSON.parse((await post(JSON.stringify(review(object, fields)))).text);

  t.test('answers a review with a patch that an independent JSONPatch applies, once and for all', async (t) => {
    const original = pod({ 'understudy.dev/models': 'pvc:credit-models' });
    const answer = await ask(original);
    t.match(answer, {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: '705ab4f5-6393-11e8-b7cc-42010a800002', allowed: true, patchType: 'JSONPatch' },
    });
    const patched = applyPatch(original, JSON.parse(Buffer.from(answer.response.patch, 'base64').toString('utf8')));
    t.same(
      patched.spec.initContainers.map(({ name }: { name: string }) => name),
      ['understudy-worker', 'understudy-proxy', 'understudy-interception'],
    );
    const again = await ask(patched);
    t.same(
      again.response,
      { uid: answer.response.uid, allowed: true },
      'the second review of the same pod changes nothing',
    );
  });

  t.test('refuses a pod with mistakes, in words for the person who made it', async (t) => {
    const { response } = await ask(pod({ 'understudy.dev/shape': 'both', 'understudy.dev/models': 'disk:m' }));
    t.match(response, { allowed: false, status: { code: 400, reason: 'BadRequest', message: /shape.*models/ } });
    t.notOk(response.patch);
  });

  t.test('lets everything pass that is not a new pod', async (t) => {
    for (const fields of [
      { operation: 'UPDATE' },
      { resource: { group: 'apps', version: 'v1', resource: 'deployments' } },
      { subResource: 'ephemeralcontainers' },
    ]) {
      const { response } = await ask(pod(), fields);
      t.same(response, { uid: response.uid, allowed: true }, JSON.stringify(fields));
    }
  });

  t.test('answers what is no AdmissionReview with 400 and wrong requests with their status', async (t) => {
    for (const body of [
      '',
      'not json',
      '[]',
      '{}',
      '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}',
      '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u"}}',
      '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":7}}',
    ]) {
      t.match(await post(body), { status: 400 }, JSON.stringify(body));
    }
    t.match(await post('{}', 'text/yaml'), { status: 415 });
    t.match(await post('{}', 'application/json', '/other'), { status: 404 });
    t.match((await request(`${origin}/mutate`, { dispatcher: agent })).statusCode, 405);
  });

  t.test('refuses bodies above its bound, announced or not, and goes on', async (t) => {
    const big = 'x'.repeat(4 * 1024 * 1024 + 1);
    t.match(await post(big), { status: 413 });
    const stream = async (megabytes: number) => {
      const body = Readable.from(Array.from({ length: megabytes }, () => Buffer.alloc(1024 * 1024, 0x20)));
      const headers = { 'content-type': 'application/json' };
      const answer = await request(`${origin}/mutate`, { method: 'POST', body, headers, dispatcher: agent });
      await answer.body.dump();
      return answer.statusCode;
    };
    t.equal(await stream(6), 413);
    await t.rejects(stream(40), 'a body without end is cut');
    t.match(await ask(pod()), { response: { allowed: true } });
  });

  t.test('says that it is well, and counts its verdicts', async (t) => {
    const health = await request(`${origin}/healthz`, { dispatcher: agent });
    t.equal(health.statusCode, 200);
    const metrics = await request(`${origin}/metrics`, { dispatcher: agent });
    t.match(await metrics.body.text(), /understudy_injector_reviews_total\{outcome="injected"\} \d/);
  });

  t.test('takes over a swapped certificate within two seconds while open connections go on', async (t) => {
    const held = new Client(origin, { connect: tlsOf(secret) });
    let connections = 0;
    held.on('connect', () => connections++);
    const old = secret.certificate;
    const healthy = async (client: Client | Pool) => {
      const { statusCode, body } = await client.request({ path: '/healthz', method: 'GET' });
      await body.dump();
      return statusCode;
    };
    t.equal(await healthy(held), 200);
    secret.swap();
    await injector.until('certificate_reloaded');
    const fresh = new Pool(origin, { connect: tlsOf(secret) });
    t.equal(await healthy(fresh), 200, 'new connections see the new certificate');
    t.equal(await healthy(held), 200);
    t.equal(connections, 1, 'the connection made before is the same');
    const distrusting = new Pool(origin, { connect: { ca: old, servername: HOST } });
    await t.rejects(healthy(distrusting), 'the old certificate is gone');

    const good = secret.certificate;
    secret.swap((folder) => writeFileSync(join(folder, 'tls.key'), 'not a key'));
    await injector.until('certificate_kept');
    const peer = connect({ host: '127.0.0.1', port, ca: good, servername: HOST });
    await once(peer, 'secureConnect');
    t.ok(peer.authorized, 'a pair that does not fit is not used: the last good one stays');
    peer.destroy();
    await Promise.all([held.destroy(), fresh.destroy(), distrusting.destroy()]);
  });

  t.test('answers what has begun when it is told to stop, and ends', async (t) => {
    const body = JSON.stringify(review(pod()));
    const late = connect({ host: '127.0.0.1', port, servername: HOST, rejectUnauthorized: false });
    await once(late, 'secureConnect');
    late.write(
      `POST /mutate HTTP/1.1\r\nhost: ${HOST}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`,
    );
    late.write(body.slice(0, 100));
    await new Promise((resolve) => setTimeout(resolve, 100));
    injector.child.kill('SIGTERM');
    await injector.until('draining');
    late.write(body.slice(100));
    let text = '';
    for await (const chunk of late) text += chunk;
    t.match(text, /^HTTP\/1\.1 200[\s\S]*"allowed":true/);
    t.equal(await injector.exit, 0);
  });
});

t.test('an injector that cannot start names every mistake', async (t) => {
  const injector = new Injector({
    UNDERSTUDY_INJECTOR_LISTEN: 'everywhere',
    UNDERSTUDY_INJECTOR_SHUTDOWN_DELAY: '5',
    UNDERSTUDY_INJECTOR_DEFAULTS_FILE: '/nowhere/defaults.yaml',
    UNDERSTUDY_INJECTOR_CERTFILE: 'x',
  });
  t.equal(await injector.exit, 1);
  for (const mistake of [
    /LISTEN = "everywhere"/,
    /SHUTDOWN_DELAY = "5": expected a duration/,
    /\/nowhere\/defaults\.yaml/,
    /CERTFILE: expected a known name/,
  ]) {
    t.match(injector.errors, mistake);
  }
});
