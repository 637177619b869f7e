/** Starts the inference worker as a program, reads its events, and ends it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../inference-worker/main.ts', import.meta.url));
const START_TIMEOUT_MS = 30_000;

/** One line of the worker's standard output. */
export interface WorkerEvent {
  readonly event: string;
  readonly group?: string;
  readonly pid?: number;
  readonly from?: string;
  readonly to?: string;
  readonly addresses?: readonly string[];
  readonly reason?: string;
  readonly port?: number;
  readonly provider?: string;
  readonly message?: string;
}

export class WorkerProgram {
  readonly events: WorkerEvent[] = [];
  /** Other lines of standard output. */
  readonly output: string[] = [];
  /** Lines of standard error that are JSON, parsed; others as `{ text }`. */
  readonly logs: Record<string, unknown>[] = [];
  readonly child: ChildProcess;
  /** Resolves with the exit code, or null after a signal. */
  readonly exit: Promise<number | null>;
  /** Resolves when everything it printed has been read. */
  readonly closed: Promise<void>;
  private readonly waiters = new Set<() => void>();

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.child = spawn(process.execPath, [MAIN, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.exit = new Promise((resolve) => this.child.on('exit', (code) => resolve(code)));
    this.closed = new Promise((resolve) => this.child.on('close', () => resolve()));
    void this.exit.then(() => this.wake());
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      if (line.startsWith('{')) this.events.push(JSON.parse(line) as WorkerEvent);
      else this.output.push(line);
      this.wake();
    });
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      this.logs.push(line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : { text: line });
      this.wake();
    });
  }

  /** Starts it and waits until every group serves. */
  static async ready(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<WorkerProgram> {
    const program = new WorkerProgram(args, env);
    await program.until(() => program.events.some(({ event }) => event === 'worker_ready'), 'worker_ready');
    return program;
  }

  /** Waits for a condition on events and logs. Rejects when the program ends or takes too long. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + START_TIMEOUT_MS;
    while (!condition()) {
      const told = `\n${JSON.stringify(this.events)}\n${JSON.stringify(this.logs.slice(-20))}`;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`ended before ${what}${told}`);
      if (performance.now() > end) throw new Error(`no ${what} in time${told}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 250);
        this.waiters.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Changes of one group, in order. */
  changes(group: string): WorkerEvent[] {
    return this.events.filter((event) => event.event === 'group_state' && event.group === group);
  }

  /** The process of a group that serves now. */
  pid(group: string): number {
    const last = this.changes(group).at(-1);
    if (last?.to !== 'READY' || last.pid === undefined) throw new Error(`group ${group} does not serve`);
    return last.pid;
  }

  /** Where a group listens. */
  address(group: string): string {
    return this.changes(group).findLast(({ addresses }) => addresses !== undefined)?.addresses?.[0] ?? '';
  }

  /** Waits until a version is in a state, by the log. */
  async version(model: string, version: string, to: string): Promise<void> {
    const isIt = (log: Record<string, unknown>): boolean =>
      log['event'] === 'version_state' && log['model'] === model && log['version'] === version && log['to'] === to;
    await this.until(() => this.logs.some(isIt), `${model}@${version} ${to}`);
  }

  /** SIGTERM, then the exit code. */
  stop(): Promise<number | null> {
    this.child.kill('SIGTERM');
    return this.exit;
  }

  private wake(): void {
    for (const waiter of [...this.waiters]) waiter();
    this.waiters.clear();
  }
}
