/**
 * A kubelet in miniature: runs the init containers of an injected pod in their order from assembled image trees, each
 * under its own security context, waits for startup probes by running them, and stops sidecars in the reverse order.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastOf, parseDockerfile, stageOf } from '../../../../deploy/image/dockerfile.ts';
import type { Namespace } from '../../../support/netns.ts';
import { type ContainerRun, containerCommand, LIBRARIES, type Mount, SYSTEM } from './read-only-root.ts';

const DOCKERFILE = join(import.meta.dirname, '../../../../Dockerfile');
const STARTUP_TIMEOUT_MS = 60_000;

// biome-ignore lint/suspicious/noExplicitAny: pods in tests have any shape
type AnyContainer = any;

/** An image as a stage of the Dockerfile makes it. */
export interface StageImage {
  readonly tree: string;
  readonly entrypoint: readonly string[];
  readonly user: readonly [number, number];
  readonly system: readonly string[];
}

export function stageImage(stageName: string, tree: string): StageImage {
  const stage = stageOf(parseDockerfile(readFileSync(DOCKERFILE, 'utf8')), stageName);
  const [uid = 0, gid = 0] = (lastOf(stage, 'user') ?? '0:0').split(':').map(Number);
  const entrypoint = JSON.parse(lastOf(stage, 'entrypoint') ?? '[]') as string[];
  return { tree, entrypoint, user: [uid, gid], system: uid === 0 ? SYSTEM : LIBRARIES };
}

interface Running {
  readonly name: string;
  readonly child: ChildProcess;
}

export class PodRunner {
  readonly order: string[] = [];
  private readonly namespace: Namespace;
  private readonly images: Readonly<Record<string, StageImage>>;
  /** Folder of each volume. */
  private readonly volumes: Readonly<Record<string, string>>;
  private readonly mountPoint: string;
  private readonly running: Running[] = [];

  /** `mountPoint` is an empty folder. */
  constructor(
    namespace: Namespace,
    images: Readonly<Record<string, StageImage>>,
    volumes: Readonly<Record<string, string>>,
    mountPoint: string,
  ) {
    this.namespace = namespace;
    this.images = images;
    this.volumes = volumes;
    this.mountPoint = mountPoint;
  }

  /** Starts the containers one after the other, as the kubelet does with init containers. */
  async start(containers: readonly AnyContainer[]): Promise<void> {
    for (const container of containers) {
      if (container.restartPolicy === 'Always') await this.startSidecar(container);
      else this.mustRun(container);
      this.order.push(container.name);
    }
  }

  /** Runs a command inside a container and gives its end. */
  exec(container: AnyContainer, command: readonly string[]): { status: number | null; output: string } {
    const { command: program, args, env } = containerCommand(this.runOf(container, command));
    const argv = ['netns', 'exec', this.namespace.name, program, ...args];
    const { status, stdout, stderr } = spawnSync('ip', argv, { env, encoding: 'utf8', timeout: 20_000 });
    return { status, output: `${stdout}${stderr}` };
  }

  /** SIGTERM to each sidecar, the last started first, each once the one before has ended. Gives exit codes by name. */
  async stop(): Promise<Record<string, number | null>> {
    const codes: Record<string, number | null> = {};
    for (const { name, child } of this.running.splice(0).reverse()) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      [codes[name]] = (await ended) as [number | null];
    }
    return codes;
  }

  private async startSidecar(container: AnyContainer): Promise<void> {
    const image = this.imageOf(container);
    const { command, args, env } = containerCommand(this.runOf(container, [...image.entrypoint, ...container.args]));
    const child = this.namespace.spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk) => (output += String(chunk)));
    this.running.push({ name: container.name, child });
    const end = performance.now() + STARTUP_TIMEOUT_MS;
    while (!this.isStarted(container)) {
      if (child.exitCode !== null || performance.now() > end)
        throw new Error(`${container.name} did not start:\n${output}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** One startup probe: a command in the container, or a GET of its port. */
  private isStarted(container: AnyContainer): boolean {
    const { exec, httpGet } = container.startupProbe;
    if (exec !== undefined) return this.exec(container, exec.command).status === 0;
    const url = `http://127.0.0.1:${httpGet.port}${httpGet.path}`;
    return this.namespace.run('curl', ['--silent', '--fail', '--max-time', '5', url]).status === 0;
  }

  private mustRun(container: AnyContainer): void {
    const { status, output } = this.exec(container, [...this.imageOf(container).entrypoint, ...container.args]);
    if (status !== 0) throw new Error(`${container.name} ended with ${status}:\n${output}`);
  }

  private runOf(container: AnyContainer, command: readonly string[]): ContainerRun {
    const image = this.imageOf(container);
    const { securityContext = {} } = container;
    const mounts = container.volumeMounts.map(
      ({ name, mountPath, readOnly = false }: { name: string; mountPath: string; readOnly?: boolean }): Mount => ({
        source: this.volumes[name]!,
        target: mountPath,
        readOnly,
      }),
    );
    return {
      mountPoint: this.mountPoint,
      tree: image.tree,
      system: image.system,
      mounts,
      uid: securityContext.runAsUser ?? image.user[0],
      gid: securityContext.runAsGroup ?? image.user[1],
      capabilities: (securityContext.capabilities?.add ?? []).map((name: string) => `+${name.toLowerCase()}`),
      command,
      env: Object.fromEntries(container.env.map(({ name, value }: { name: string; value: string }) => [name, value])),
    };
  }

  private imageOf(container: AnyContainer): StageImage {
    return this.images[container.image]!;
  }
}
