/**
 * `bench intercept`: what redirection costs. One proxy in a network namespace, one application that reaches it by its port
 * (explicit) or by dialling the model server and being redirected, run by run in turns; and the model server dialled
 * without either, for scale. Needs root. What counts is redirected against explicit.
 */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { InterceptionLab, PEER_V4, PROXY_ID } from '../../support/interception-lab.ts';
import { namespacesUnavailable } from '../../support/netns.ts';
import { CoreWatch, Patience } from '../measure/patience.ts';
import { cpuMicroseconds } from '../measure/process-tree.ts';
import { figureOf } from '../measure/quiet-runs.ts';
import { rounded } from '../measure/statistics.ts';
import { renderTable } from '../measure/text-table.ts';
import { type BenchOptions, chosen, readOptions } from '../options.ts';
import type { LoadAnswer, LoadOrder } from './grpc-load.ts';

const DEFAULTS = { rounds: 7, seconds: 1 };
const LISTEN = '127.0.0.1:15001';
const SERVED_PORT = 8500;
/** A port of the same model server that no rule names. */
const BARE_PORT = 8600;
const MODES = ['kept', 'fresh'] as const;
const TARGETS = [
  { name: 'direct', host: PEER_V4, port: BARE_PORT },
  { name: 'explicit', host: '127.0.0.1', port: 15001 },
  { name: 'redirected', host: PEER_V4, port: SERVED_PORT },
] as const;
/** Calls of the first run, which also warms up; later runs are as long as asked for at its rate. */
const FIRST_CALLS = 500;

type Mode = (typeof MODES)[number];
type TargetName = (typeof TARGETS)[number]['name'];

/** One run: what a call took, and what it cost the proxy and all three programs together. */
interface Run {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly proxyUs: number;
  readonly allUs: number;
}

/** A run as it was measured: how long it took, and whether others used the proxy's core meanwhile. */
interface MeasuredRun extends Run {
  readonly seconds: number;
  readonly disturbed: boolean;
}

/** What many runs come to, and how many of them others disturbed. */
interface Result extends Run {
  readonly disturbedRuns: number;
  readonly runs: number;
}

class Rig {
  readonly lab = new InterceptionLab();
  private proxy!: ChildProcess;
  private backend!: ChildProcess;
  private load!: ChildProcess;
  private answers!: AsyncIterator<string>;

  async open(options: BenchOptions): Promise<void> {
    const { lab } = this;
    const file = (name: string) => new URL(name, import.meta.url).pathname;
    const on = (core: number, ...command: string[]) => ['-c', `${core}`, ...command];
    const node = process.execPath;
    const as = ['setpriv', `--regid=${PROXY_ID}`, '--clear-groups', node, file('../../../proxy/main.ts')];
    [this.proxy, this.backend] = await Promise.all([
      lab.pod.spawnUntil([LISTEN, '127.0.0.1:15000'], 'taskset', on(options.testedCore, ...as), {
        PATH: process.env['PATH'],
        UNDERSTUDY_OUTBOUND_LISTEN: LISTEN,
        UNDERSTUDY_MODEL_M_PRIMARY: `m@1 via ${PEER_V4}:${SERVED_PORT}`,
      }),
      lab.peer.spawnUntil(
        ['ready'],
        'taskset',
        on(options.loadCore, node, file('./grpc-backend.ts'), `${SERVED_PORT}`, `${BARE_PORT}`),
      ),
    ]);
    lab.mustIntercept('install', '--outbound-ports', `${SERVED_PORT}`);
    this.load = lab.pod.spawn('taskset', on(options.loadCore, node, file('./grpc-load.ts')));
    this.answers = createInterface({ input: this.load.stdout! })[Symbol.asyncIterator]();
  }

  /** Makes the calls and gives their figures; throws when one fails. */
  async run(order: LoadOrder, testedCore: number): Promise<MeasuredRun> {
    const programs = [this.proxy, this.backend, this.load];
    const cpu = () => programs.map(({ pid }) => cpuMicroseconds(pid!));
    const before = cpu();
    const watch = new CoreWatch(testedCore);
    const startMs = performance.now();
    this.load.stdin!.write(`${JSON.stringify(order)}\n`);
    const line = await this.answers.next();
    if (line.done === true) throw new Error('the load ended too early');
    const seconds = (performance.now() - startMs) / 1000;
    const spent = cpu().map((value, i) => value - before[i]!);
    const disturbed = watch.disturbed(spent[0]!);
    const used = spent.map((value) => value / order.calls);
    const { p50Us, p99Us, failed } = JSON.parse(line.value) as LoadAnswer;
    if (failed > 0) throw new Error(`${failed} of ${order.calls} calls to ${order.host}:${order.port} failed`);
    return { p50Us, p99Us, proxyUs: used[0]!, allUs: used.reduce((sum, value) => sum + value, 0), seconds, disturbed };
  }
}

/** Runs the bench and prints its report. Resolves with the exit code. */
export async function runInterceptBench(args: readonly string[]): Promise<number> {
  const missing = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'taskset');
  if (missing !== false) throw new Error(`cannot be measured here: ${missing}`);
  const options = readOptions(args, DEFAULTS);
  const modes = chosen('workload', MODES, (mode) => mode, options.only);
  const rig = new Rig();
  try {
    await rig.open(options);
    const patience = new Patience(options);
    const results: [Mode, Record<TargetName, Result>][] = [];
    for (const mode of modes) results.push([mode, await measure(rig, mode, options, patience)]);
    report(results, options.json);
    return 0;
  } finally {
    await rig.lab.close();
  }
}

async function measure(
  rig: Rig,
  mode: Mode,
  options: BenchOptions,
  patience: Patience,
): Promise<Record<TargetName, Result>> {
  const order = ({ host, port }: (typeof TARGETS)[number], calls: number): LoadOrder => ({
    host,
    port,
    fresh: mode === 'fresh',
    calls,
  });
  const calls = new Map<TargetName, number>();
  for (const target of TARGETS) {
    const { seconds } = await rig.run(order(target, FIRST_CALLS), options.testedCore);
    calls.set(target.name, Math.max(100, Math.round((FIRST_CALLS / seconds) * options.seconds)));
  }
  const runs: Record<TargetName, MeasuredRun[]> = { direct: [], explicit: [], redirected: [] };
  for (let round = 1; round <= options.rounds; round++) {
    // Every other round backwards, so that none always follows the same one.
    const turn = round % 2 === 1 ? TARGETS : TARGETS.toReversed();
    for (const target of turn) {
      const wanted = order(target, calls.get(target.name)!);
      runs[target.name].push(await patience.run(() => rig.run(wanted, options.testedCore)));
    }
    process.stderr.write(`${mode}: round ${round} of ${options.rounds}\n`);
  }
  const result = (name: TargetName): Result => {
    const of = (pick: (run: Run) => number) => figureOf(runs[name], 'lower', pick);
    return {
      p50Us: of((run) => run.p50Us),
      p99Us: of((run) => run.p99Us),
      proxyUs: of((run) => run.proxyUs),
      allUs: of((run) => run.allUs),
      disturbedRuns: runs[name].filter(({ disturbed }) => disturbed).length,
      runs: runs[name].length,
    };
  };
  return { direct: result('direct'), explicit: result('explicit'), redirected: result('redirected') };
}

function report(results: readonly [Mode, Record<TargetName, Result>][], json: boolean): void {
  const rows = results.flatMap(([mode, byTarget]) =>
    TARGETS.map(({ name }) => {
      const { p50Us, p99Us, proxyUs, allUs, disturbedRuns, runs } = byTarget[name];
      const note = disturbedRuns === 0 ? '' : `${disturbedRuns} of ${runs} runs disturbed`;
      return [mode, name, ...[p50Us, p99Us, proxyUs, allUs].map((value) => value.toFixed(1)), note];
    }),
  );
  const head = ['connection', 'path', 'p50 us', 'p99 us', 'proxy CPU us/call', 'all CPU us/call', ''];
  process.stdout.write(`\n${renderTable(head, rows)}\n`);
  const added = results.map(([mode, { explicit, redirected }]) => ({
    connection: mode,
    addedP50Us: rounded(redirected.p50Us - explicit.p50Us, 1),
    addedProxyCpuUs: rounded(redirected.proxyUs - explicit.proxyUs, 1),
    addedCpuUs: rounded(redirected.allUs - explicit.allUs, 1),
    explicitP50Us: rounded(explicit.p50Us, 1),
    explicitProxyCpuUs: rounded(explicit.proxyUs, 1),
    disturbedRuns: explicit.disturbedRuns + redirected.disturbedRuns,
  }));
  for (const { connection, addedP50Us, addedProxyCpuUs, addedCpuUs } of added) {
    process.stdout.write(
      `${connection}: redirected adds ${addedP50Us} us to p50, ${addedProxyCpuUs} us of CPU in the proxy, ${addedCpuUs} us in all\n`,
    );
  }
  if (json) process.stdout.write(`${JSON.stringify({ bench: 'intercept', added })}\n`);
}
