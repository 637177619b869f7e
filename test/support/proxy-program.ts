/** Starts the proxy as a program on ports of its own choosing, reads what it says of itself, and ends it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

const MAIN = fileURLToPath(new URL('../../proxy/main.ts', import.meta.url));
const START_TIMEOUT_MS = 60_000;
const POLL_MS = 20;

export interface ProxyOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** The document, passed inline as JSON. */
  readonly document?: object;
  /** Wait until `/readyz` says so; true unless told otherwise. */
  readonly ready?: boolean;
  /** A pipe that nobody reads unless the test does; nothing by default. */
  readonly stdout?: 'pipe';
  /** Arguments of Node itself. */
  readonly nodeArgs?: readonly string[];
}

/** What `/metrics` said at one moment. */
export class MetricsReading {
  private readonly lines: readonly string[];

  constructor(text: string) {
    this.lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  }

  /** The sum of the samples of a metric whose labels include these; 0 when there is none. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    let sum = 0;
    for (const line of this.lines) {
      const at = line.search(/[ {]/);
      if (line.slice(0, at) !== name) continue;
      const close = line.lastIndexOf('}');
      const inside = close < 0 ? '' : line.slice(at, close);
      if (Object.entries(labels).every(([key, value]) => inside.includes(`${key}="${value}"`))) {
        sum += Number(line.slice(line.lastIndexOf(' ') + 1));
      }
    }
    return sum;
  }
}

export class ProxyProgram {
  /** `host:port` for calls. */
  address = '';
  adminUrl = '';
  /** Lines of standard error that are JSON, parsed; others as `{ text }`. */
  readonly logs: Record<string, unknown>[] = [];
  readonly child: ChildProcess;
  /** Resolves with the exit code, or null after a signal. */
  readonly exit: Promise<number | null>;
  private readonly waiters = new Set<() => void>();

  constructor(options: ProxyOptions = {}) {
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('UNDERSTUDY_'));
    const inline = options.document === undefined ? {} : { UNDERSTUDY_CONFIG: JSON.stringify(options.document) };
    this.child = spawn(process.execPath, [...(options.nodeArgs ?? []), MAIN], {
      env: {
        ...Object.fromEntries(kept),
        UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:0',
        UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:0',
        ...inline,
        ...options.env,
      },
      stdio: ['ignore', options.stdout ?? 'ignore', 'pipe'],
    });
    this.exit = new Promise((resolve) => this.child.on('exit', (code) => resolve(code)));
    void this.exit.then(() => this.wake());
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      this.take(line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : { text: line });
    });
  }

  /** Starts it, waits until it serves, and ends it with the test. */
  static async start(test: Test, options: ProxyOptions = {}): Promise<ProxyProgram> {
    const proxy = new ProxyProgram(options);
    test.teardown(() => proxy.kill());
    await proxy.until(() => proxy.address !== '' && proxy.adminUrl !== '', 'its addresses');
    if (options.ready !== false) await proxy.ready();
    return proxy;
  }

  /** Waits until `/readyz` answers 200. */
  async ready(): Promise<void> {
    const end = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      const answer = await fetch(`${this.adminUrl}/readyz`);
      const text = await answer.text();
      if (answer.status === 200) return;
      if (performance.now() > end) throw new Error(`not ready in time: ${text}`);
      await delay(POLL_MS);
    }
  }

  /** Waits for a condition on logs. Rejects when the program ends or takes too long. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + START_TIMEOUT_MS;
    while (!condition()) {
      const told = `\n${JSON.stringify(this.logs.slice(-20))}`;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`ended before ${what}${told}`);
      if (performance.now() > end) throw new Error(`no ${what} in time${told}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100);
        this.waiters.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  async metrics(): Promise<MetricsReading> {
    return new MetricsReading(await (await fetch(`${this.adminUrl}/metrics`)).text());
  }

  /**
   * Waits until a figure of the metrics is right; returns the reading, also when it never was, for the test to say so.
   * Gauges and counters follow the last byte of an answer, not the other way round.
   */
  async metricsOnce(condition: (metrics: MetricsReading) => boolean, withinMs = 15_000): Promise<MetricsReading> {
    const end = performance.now() + withinMs;
    for (;;) {
      const reading = await this.metrics();
      if (condition(reading) || performance.now() > end) return reading;
      await delay(POLL_MS);
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: the answer's shape is what tests look at
  async json(path: string, method = 'GET'): Promise<any> {
    return (await fetch(`${this.adminUrl}${path}`, { method })).json();
  }

  /** Log lines of one event. */
  logged(event: string): Record<string, unknown>[] {
    return this.logs.filter((log) => log['event'] === event);
  }

  /** Resident set, bytes. */
  rssBytes(): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]) * 1024;
  }

  /** Largest resident set so far, bytes. */
  peakRssBytes(): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+)/m.exec(status)![1]) * 1024;
  }

  /** SIGTERM, then the exit code. */
  stop(): Promise<number | null> {
    this.child.kill('SIGTERM');
    return this.exit;
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exit;
  }

  private take(log: Record<string, unknown>): void {
    this.logs.push(log);
    if (log['event'] === 'listening' && log['role'] === 'outbound') this.address ||= String(log['address']);
    if (log['event'] === 'listening' && log['role'] === 'admin') this.adminUrl = `http://${log['address']}`;
    this.wake();
  }

  private wake(): void {
    for (const waiter of [...this.waiters]) waiter();
    this.waiters.clear();
  }
}
