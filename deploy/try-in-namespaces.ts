/**
 * `understudy try`: watch interception happen on this machine, with nothing but root, iproute2 and iptables.
 *
 * A network namespace stands for a pod, another for the node of a model server, joined by a virtual cable. Applications
 * made of plain grpc-js dial `model.default.svc:8500` without pause: one opens a connection per call, one keeps the
 * connection it had before the rules, one keeps a connection it opened under them. Meanwhile worker and proxy start
 * beside them, rules are installed, proved and removed, and the proxy leaves. Every call is counted by who answered it;
 * the exit code is 0 if none failed and each phase was answered by whom it should be, else 1.
 *
 * The proxy runs with the group its rules except, and keeps root's user id so that it can read a checkout in a home
 * folder that is closed to others; in a pod it has a user of its own.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { InterceptionLab, PEER_V4, PROXY_ID } from '../test/support/interception-lab.ts';
import { ModelFolder, scaleModel } from '../test/support/model-folder.ts';
import { namespacesUnavailable } from '../test/support/netns.ts';

const NAME = 'model.default.svc';
const ORIGINAL = 'original';
const WORKER = 'worker';
const PHASE_MS = 700;
const LAST_ANSWER_WITHIN_MS = 30_000;

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const CLI = path('../proxy/cli/main.ts');
const PROXY = path('../proxy/main.ts');
const WORKER_PROGRAM = path('../inference-worker/main.ts');
const MODEL_SERVER = path('../test/support/model-server.ts');
const APPLICATION = path('../test/support/calling-application.ts');

/** One application and what its calls came to since the last look. */
class Application {
  readonly label: string;
  total = 0;
  failures = 0;
  readonly #child: ChildProcess;
  #seen = new Map<string, number>();

  constructor(lab: InterceptionLab, label: string, mode: 'fresh' | 'steady') {
    this.label = label;
    this.#child = lab.pod.spawn(process.execPath, [APPLICATION, mode, `${NAME}:8500`, 'credit-risk']);
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const { by, error } = JSON.parse(line) as { by?: string; error?: string };
      const key = by ?? `failed: ${error}`;
      this.total++;
      if (by === undefined) this.failures++;
      this.#seen.set(key, (this.#seen.get(key) ?? 0) + 1);
    });
  }

  /** Answers since the last call of this, by who gave them. */
  take(): Map<string, number> {
    const seen = this.#seen;
    this.#seen = new Map();
    return seen;
  }

  /** Waits until it has had so many answers more. */
  async answers(count: number): Promise<void> {
    const end = performance.now() + LAST_ANSWER_WITHIN_MS;
    for (const goal = this.total + count; this.total < goal; await delay(10)) {
      if (performance.now() > end) throw new Error(`${this.label} has had no answer for ${LAST_ANSWER_WITHIN_MS} ms`);
    }
  }

  /** Ends after its current call, and resolves when all its answers are counted. */
  async end(): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin!.end();
    await Promise.race([closed, delay(LAST_ANSWER_WITHIN_MS, undefined, { ref: false })]);
  }
}

class Trial {
  readonly lab = new InterceptionLab();
  readonly models = new ModelFolder();
  readonly applications: Application[] = [];
  readonly faults: string[] = [];

  constructor() {
    this.lab.pod.setHosts({ [NAME]: PEER_V4 });
  }

  async play(): Promise<void> {
    say(`A pod (namespace ${this.lab.pod.name}) and somebody's model server beyond it, called ${NAME}.`);
    await this.lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, ORIGINAL, '0.0.0.0:8500']);
    const before = this.lab.savedRules();
    const fresh = this.#start('a connection per call', 'fresh');
    const early = this.#start('a connection from before the rules', 'steady');
    await this.#phase('The applications call the model server.', {
      expect: [
        [fresh, ORIGINAL],
        [early, ORIGINAL],
      ],
    });

    say('\nWorker and proxy start in the pod.');
    const proxy = await this.#startSidecar();
    await this.#phase('They are there, and nobody has been sent to them.', {
      expect: [
        [fresh, ORIGINAL],
        [early, ORIGINAL],
      ],
    });

    say('');
    this.#intercept('install', '--outbound-ports', '8500');
    const late = this.#start('a connection from under the rules', 'steady');
    await this.#phase('New connections are served by the worker beside the application.', {
      expect: [
        [fresh, WORKER],
        [early, ORIGINAL],
        [late, WORKER],
      ],
    });

    say('');
    this.#intercept('remove', '--drain', '0s');
    await this.#phase('New connections reach the model server again; an open one ends where it began.', {
      expect: [
        [fresh, ORIGINAL],
        [early, ORIGINAL],
        [late, WORKER],
      ],
    });

    say('\nThe proxy is told to leave: it asks its callers to connect anew, and finishes what they have begun.');
    const gone = new Promise<number | null>((resolve) => proxy.once('exit', resolve));
    proxy.kill('SIGTERM');
    const code = await gone;
    if (code !== 0) this.faults.push(`the proxy ended with code ${code}`);
    await this.#phase('Everybody is back at the model server.', {
      expect: [
        [fresh, ORIGINAL],
        [early, ORIGINAL],
        [late, ORIGINAL],
      ],
    });
    say('');
    this.#intercept('remove');
    const same = JSON.stringify(this.lab.savedRules()) === JSON.stringify(before);
    if (!same) this.faults.push('rules were left behind');
    await Promise.all(this.applications.map((application) => application.end()));
  }

  /** Calls and failures of all applications together. */
  get sums(): { calls: number; failures: number } {
    const sum = (key: 'total' | 'failures') => this.applications.reduce((total, { [key]: value }) => total + value, 0);
    return { calls: sum('total'), failures: sum('failures') };
  }

  async close(): Promise<void> {
    this.removeFiles();
    await this.lab.close();
  }

  /** The part of `close` that works while the process goes down; the lab does its own. */
  removeFiles(): void {
    this.models.remove();
  }

  #start(label: string, mode: 'fresh' | 'steady'): Application {
    const application = new Application(this.lab, label, mode);
    this.applications.push(application);
    return application;
  }

  /** Starts worker and proxy; resolves with the proxy once it is ready for calls. */
  async #startSidecar(): Promise<ChildProcess> {
    this.models.put('credit-risk', 1, scaleModel(2));
    const socket = this.models.at('worker.sock');
    const model = `--model=credit-risk@all:${this.models.at('credit-risk')}`;
    await this.lab.pod.spawnUntil(['worker_ready'], process.execPath, [
      WORKER_PROGRAM,
      model,
      `--group=primary:${socket}:credit-risk`,
    ]);
    const as = [`--regid=${PROXY_ID}`, '--clear-groups', process.execPath, PROXY];
    const proxy = await this.lab.pod.spawnUntil(['127.0.0.1:15001', '127.0.0.1:15000'], 'setpriv', as, {
      PATH: process.env['PATH'],
      UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:15001',
      UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:15000',
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: `unix:${socket}`,
      UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY: 'credit-risk@1',
    });
    const end = performance.now() + LAST_ANSWER_WITHIN_MS;
    const readyz = ['-sf', '-o', '/dev/null', 'http://127.0.0.1:15000/readyz'];
    while (this.lab.pod.run('curl', readyz).status !== 0) {
      if (performance.now() > end) throw new Error('the proxy does not become ready');
      await delay(50);
    }
    return proxy;
  }

  #intercept(...args: string[]): void {
    say(`$ understudy intercept ${args.join(' ')}`);
    const { status, stdout, stderr } = this.lab.pod.run(process.execPath, [CLI, 'intercept', ...args]);
    for (const line of `${stdout}${stderr}`.trim().split('\n')) say(`    ${line}`);
    // 4: out of the way, but kept for connections that are open.
    if (status !== 0 && status !== 4) this.faults.push(`intercept ${args.join(' ')} ended with code ${status}`);
  }

  /** Lets calls that began before be over, watches for a while, and tells who answered. */
  async #phase(title: string, { expect }: { expect: readonly (readonly [Application, string])[] }): Promise<void> {
    await Promise.all(this.applications.map((application) => application.answers(2)));
    for (const application of this.applications) application.take();
    await delay(PHASE_MS);
    await Promise.all(this.applications.map((application) => application.answers(1)));
    say(title);
    for (const [application, wanted] of expect) {
      const seen = application.take();
      const told = [...seen].map(([by, count]) => `${count} answered by ${by}`).join(', ');
      say(`    ${application.label.padEnd(36)} ${told}`);
      if (seen.size !== 1 || !seen.has(wanted))
        this.faults.push(`"${title}": ${application.label} should be answered by ${wanted}, got: ${told}`);
    }
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<number> {
  const missing =
    namespacesUnavailable('iptables', 'setpriv') ||
    (spawnSync('curl', ['-V']).error === undefined ? false : 'needs curl');
  if (missing !== false) {
    process.stderr.write(`cannot be tried here: ${missing}\n`);
    return 1;
  }
  const trial = new Trial();
  process.once('exit', () => trial.removeFiles());
  try {
    await trial.play();
  } catch (error) {
    trial.faults.push((error as Error).message);
  } finally {
    await trial.close();
  }
  const { calls, failures } = trial.sums;
  for (const fault of trial.faults) say(`FAULT: ${fault}`);
  say(`\n${calls} calls, ${failures} failed.${trial.faults.length === 0 ? ' The rules are as they were before.' : ''}`);
  return trial.faults.length === 0 && failures === 0 && calls > 0 ? 0 : 1;
}

process.exitCode = await main();
