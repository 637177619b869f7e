/**
 * A program of the bench, pinned to its cores: started, awaited, and gone when the bench is.
 *
 * Each leads a process group of its own, so that ending it ends its children too. Rule: whatever way the bench ends
 * short of SIGKILL, no program of it stays.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

export interface ProgramOptions {
  /** For messages. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** One, or those it may use. */
  readonly core: number | readonly number[];
  /** It runs only while nobody else wants its cores (`SCHED_IDLE`); a nice value would keep no waking thread from waiting. */
  readonly givesWay?: boolean;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Opens an IPC channel, for programs of the bench itself. */
  readonly ipc?: boolean;
  /** Called for each line of standard output and standard error. */
  readonly onLine?: (line: string) => void;
}

const STOP_WITHIN_MS = 5000;
const KEPT_OUTPUT_BYTES = 4000;
const POLL_MS = 25;

const running = new Set<PinnedProgram>();
process.on('exit', () => {
  for (const program of running) program.kill();
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));

export class PinnedProgram {
  readonly name: string;
  readonly child: ChildProcess;
  /** Resolves when it has ended and its output is complete. */
  readonly ended: Promise<number | null>;
  hasEnded = false;
  #output = '';
  #stopping = false;

  constructor(options: ProgramOptions) {
    this.name = options.name;
    const givingWay = options.givesWay ? ['chrt', '--idle', '0'] : [];
    this.child = spawn('taskset', ['-c', String(options.core), ...givingWay, options.command, ...options.args], {
      env: { ...process.env, ...options.env },
      stdio: options.ipc ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(this);
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => this.#finish(error.message, null, resolve));
      this.child.once('close', (code) => this.#finish('', code, resolve));
    });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => this.#keep(text));
      if (options.onLine !== undefined) createInterface({ input: stream }).on('line', options.onLine);
    }
  }

  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new Error(`${this.name} did not start: ${this.#output}`);
    return pid;
  }

  /** The last of what it wrote, for messages. */
  get lastOutput(): string {
    return this.#output.trim();
  }

  /** Resolves once `isReady` holds. Rejects if the program ends or `withinMs` pass first. */
  async ready(isReady: () => boolean | Promise<boolean>, withinMs = 30_000): Promise<void> {
    const deadlineMs = performance.now() + withinMs;
    while (!(await isReady())) {
      if (this.hasEnded) throw new Error(`${this.name} ended at once: ${this.lastOutput}`);
      if (performance.now() > deadlineMs) throw new Error(`${this.name} is not ready: ${this.lastOutput}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Asks it to end, kills it if it does not, and resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.hasEnded) return;
    this.#stopping = true;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.kill(), STOP_WITHIN_MS);
    await this.ended;
    clearTimeout(timer);
    // What is left of its group must not outlive it.
    this.kill();
  }

  /** Ends it and its children at once. */
  kill(): void {
    try {
      if (this.child.pid !== undefined) process.kill(-this.child.pid, 'SIGKILL');
    } catch {
      // Nobody is left in the group.
    }
  }

  /** Throws if it ended without having been asked to. */
  check(): void {
    if (this.hasEnded && !this.#stopping) throw new Error(`${this.name} ended: ${this.lastOutput}`);
  }

  #keep(text: string): void {
    this.#output = (this.#output + text).slice(-KEPT_OUTPUT_BYTES);
  }

  #finish(message: string, code: number | null, resolve: (code: number | null) => void): void {
    this.#keep(message);
    this.hasEnded = true;
    running.delete(this);
    resolve(code);
  }
}

/** Whether something accepts connections on `port` of this machine. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
