/**
 * Network namespaces for tests: a small network of veth pairs on this machine, with processes inside, that always goes
 * away again. Needs root and iproute2; `namespacesUnavailable()` says what is missing, for `t.skip`.
 *
 * Names carry the process id (`us<pid>-pod`), so runs side by side do not meet; namespaces of dead processes are swept
 * when the next lab opens.
 */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';

const PREFIX = 'us';
const COMMAND_TIMEOUT_MS = 20_000;
/** Where iproute2 looks for files that stand for those of /etc inside a namespace. */
const NAMESPACE_FILES = '/etc/netns';

/** Why namespaces cannot be used here, or false when they can. */
export function namespacesUnavailable(...tools: readonly string[]): string | false {
  if (process.platform !== 'linux') return 'network namespaces exist on Linux only';
  if (process.getuid?.() !== 0) return 'needs root';
  for (const tool of ['ip', ...tools]) {
    if (spawnSync(tool, ['-V']).error !== undefined) return `needs ${tool}`;
  }
  const name = `${PREFIX}${process.pid}-probe`;
  const made = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  spawnSync('ip', ['netns', 'del', name]);
  return made.status === 0 ? false : `no network namespace can be made here: ${made.stderr.trim()}`;
}

export interface Output {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One namespace with its processes. */
export class Namespace {
  readonly name: string;
  readonly #children = new Set<ChildProcess>();

  constructor(name: string) {
    this.name = name;
    ip('netns', 'add', name);
    this.must('ip', 'link', 'set', 'lo', 'up');
  }

  /**
   * Gives names to addresses inside: `ip netns exec` shows a namespace files of its own under /etc where there are some.
   * What these names leave open is refused at once by a name server that is not there, instead of waited for.
   */
  setHosts(names: Readonly<Record<string, string>>): void {
    const lines = Object.entries({ localhost: '127.0.0.1', ...names }).map(([name, address]) => `${address} ${name}\n`);
    mkdirSync(`${NAMESPACE_FILES}/${this.name}`, { recursive: true });
    writeFileSync(`${NAMESPACE_FILES}/${this.name}/hosts`, lines.join(''));
    writeFileSync(`${NAMESPACE_FILES}/${this.name}/resolv.conf`, 'nameserver 127.0.0.1\n');
  }

  /** Runs a command inside to its end. */
  run(
    command: string,
    args: readonly string[],
    input = '',
    env: NodeJS.ProcessEnv = process.env,
    timeoutMs = COMMAND_TIMEOUT_MS,
  ): Output {
    const argv = ['netns', 'exec', this.name, command, ...args];
    const result = spawnSync('ip', argv, { input, encoding: 'utf8', timeout: timeoutMs, env });
    return { status: result.status ?? -1, stdout: result.stdout ?? '', stderr: result.stderr ?? '' };
  }

  /** Runs a command inside that has to succeed, and gives its output. */
  must(command: string, ...args: readonly string[]): string {
    const result = this.run(command, args);
    if (result.status !== 0)
      throw new Error(`${command} ${args.join(' ')} in ${this.name}: ${result.stderr || result.status}`);
    return result.stdout;
  }

  /** Starts a process inside; it ends with the lab at the latest. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.name, command, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
      ...options,
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Starts a process inside and waits until it has written these words to standard output or standard error. */
  async spawnUntil(
    words: readonly string[],
    command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv = process.env,
  ): Promise<ChildProcess> {
    const child = this.spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    let text = '';
    await new Promise<void>((resolve, reject) => {
      // Both streams are read to the end, for a program whose output nobody reads ends or stalls.
      for (const stream of [child.stdout!, child.stderr!]) {
        stream.on('data', (chunk) => {
          text += String(chunk);
          if (words.every((word) => text.includes(word))) resolve();
        });
      }
      child.once('close', () => reject(new Error(`${command} ${args.join(' ')} ended too early:\n${text}`)));
    });
    return child;
  }

  /** Ends all processes of this namespace, whoever started them, and takes it away. */
  async close(): Promise<void> {
    const ends = [...this.#children].map((child) => (child.exitCode === null ? once(child, 'exit') : null));
    this.destroy();
    await Promise.all(ends);
  }

  /** The part of `close` that works while the process is going down. */
  destroy(): void {
    const pids = spawnSync('ip', ['netns', 'pids', this.name], { encoding: 'utf8' }).stdout ?? '';
    for (const pid of pids.split('\n').filter((line) => line !== '')) killQuietly(Number(pid));
    spawnSync('ip', ['netns', 'del', this.name]);
    rmSync(`${NAMESPACE_FILES}/${this.name}`, { recursive: true, force: true });
    try {
      rmdirSync(NAMESPACE_FILES);
    } catch {
      // never made, or others have files there
    }
  }
}

/** A set of namespaces that is opened and closed as one. */
export class NetworkLab {
  readonly #namespaces: Namespace[] = [];
  readonly #label: string;
  #links = 0;
  readonly #onExit = () => this.#destroy();
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this.#destroy();
    process.removeListener(signal, this.#onSignal);
    process.kill(process.pid, signal);
  };

  constructor() {
    sweepDead();
    this.#label = `${PREFIX}${process.pid}-${labs++}`;
    process.once('exit', this.#onExit);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, this.#onSignal);
  }

  /** Adds a namespace called after its role, `pod` or `peer`. */
  namespace(role: string): Namespace {
    const namespace = new Namespace(`${this.#label}-${role}`);
    this.#namespaces.push(namespace);
    return namespace;
  }

  /** Joins two namespaces by a veth pair. Addresses are with prefix length: `10.77.0.1/24`, `fd77::1/64`. */
  link(a: Namespace, aAddresses: readonly string[], b: Namespace, bAddresses: readonly string[]): void {
    const index = this.#links++;
    const names = [`eth${index}`, `eth${index}`];
    ip('link', 'add', names[0]!, 'netns', a.name, 'type', 'veth', 'peer', 'name', names[1]!, 'netns', b.name);
    for (const [namespace, name, addresses] of [
      [a, names[0]!, aAddresses],
      [b, names[1]!, bAddresses],
    ] as const) {
      for (const address of addresses) {
        namespace.must('ip', 'addr', 'add', address, 'dev', name, ...(address.includes(':') ? ['nodad'] : []));
      }
      namespace.must('ip', 'link', 'set', name, 'up');
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#namespaces.splice(0).map((namespace) => namespace.close()));
    process.removeListener('exit', this.#onExit);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.removeListener(signal, this.#onSignal);
  }

  #destroy(): void {
    for (const namespace of this.#namespaces.splice(0)) namespace.destroy();
  }
}

let labs = 0;

function ip(...args: readonly string[]): void {
  const result = spawnSync('ip', args, { encoding: 'utf8', timeout: COMMAND_TIMEOUT_MS });
  if (result.status !== 0) throw new Error(`ip ${args.join(' ')}: ${result.stderr || result.error?.message}`);
}

/** Takes away what a run left that was killed before it could clean up. */
function sweepDead(): void {
  let names: string[] = [];
  try {
    names = readdirSync('/run/netns');
  } catch {
    return; // no namespace was ever made on this machine
  }
  for (const name of names) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) spawnSync('ip', ['netns', 'del', name]);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // already gone
  }
}
