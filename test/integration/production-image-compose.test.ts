/**
 * The compose file for a local try: read by Compose itself where it is, and its two services run from the assembled
 * production tree, with the file's own commands, settings and health checks, wherever root may make namespaces.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parse } from 'yaml';
import { assemble } from '../../deploy/image/assemble.ts';
import { parseDockerfile, stageOf } from '../../deploy/image/dockerfile.ts';
import { NetworkLab, namespacesUnavailable } from '../support/netns.ts';
import { PodRunner, stageImage } from '../unit/deploy/image/pod-runner.ts';
import { readOnlyRootUnavailable } from '../unit/deploy/image/read-only-root.ts';

const path = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const COMPOSE = path('../../deploy/compose.yaml');
const APPLICATION = path('../unit/deploy/image/loan-application.ts');
const skip = readOnlyRootUnavailable() || namespacesUnavailable();
const noCompose = spawnSync('docker', ['compose', 'version']).status === 0 ? false : 'needs docker compose';

interface Service {
  readonly image: string;
  readonly build: { readonly target: string };
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly volumes: readonly string[];
  readonly ports?: readonly string[];
  readonly healthcheck: { readonly test: readonly string[] };
  readonly read_only: boolean;
}
const { services } = parse(readFileSync(COMPOSE, 'utf8'), { merge: true }) as { services: Record<string, Service> };

/** A service as the runner takes it. */
function container(name: string): object {
  const { image, command, environment, volumes, healthcheck } = services[name]!;
  const volumeMounts = volumes.map((volume) => {
    const [source, mountPath, mode] = volume.split(':');
    return { name: source, mountPath, readOnly: mode === 'ro' };
  });
  const env = Object.entries(environment).map(([key, value]) => ({ name: key, value }));
  const startupProbe = { exec: { command: healthcheck.test.slice(1) } };
  return { name, image, args: command, env, volumeMounts, startupProbe, restartPolicy: 'Always' };
}

t.test('the compose file builds a stage that exists and publishes on loopback only', async (t) => {
  const stages = parseDockerfile(readFileSync(path('../../Dockerfile'), 'utf8'));
  for (const [name, { build, ports = [], read_only }] of Object.entries(services)) {
    t.ok(stageOf(stages, build.target), name);
    t.equal(read_only, true);
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/);
  }
});

t.test('docker compose reads the file', { skip: noCompose }, async (t) => {
  const { status, stderr } = spawnSync('docker', ['compose', '-f', COMPOSE, 'config', '--quiet'], { encoding: 'utf8' });
  t.equal(status, 0, stderr);
});

t.test('the two services answer a client at the published port', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-compose-'));
  const lab = new NetworkLab();
  t.teardown(async () => {
    await lab.close();
    rmSync(folder, { recursive: true, force: true });
  });
  chmodSync(folder, 0o755);
  for (const name of ['root', 'run']) mkdirSync(join(folder, name));
  chownSync(join(folder, 'run'), 1717, 1717);
  assemble('production', join(folder, 'tree'));
  const image = stageImage('production', join(folder, 'tree'));
  const host = lab.namespace('host');
  const volumes = { run: join(folder, 'run'), './demo/models': path('../../deploy/demo/models') };
  const runner = new PodRunner(host, { [services['worker']!.image]: image }, volumes, join(folder, 'root'));
  await runner.start([container('worker'), container('proxy')]);
  const port = services['proxy']!.ports!.find((each) => each.includes(':8500:'))!.split(':')[2];
  const answer = JSON.parse(host.must(process.execPath, APPLICATION, `127.0.0.1:${port}`, 'credit-risk'));
  t.match(answer, { version: '1', probabilities: [Number, Number] });
  t.same(await runner.stop(), { proxy: 0, worker: 0 });
});
