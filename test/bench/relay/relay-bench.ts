/**
 * `bench relay`: our proxy beside haproxy, nginx and nghttpx. All proxies of one kind of traffic run all the time and take turns, run by run,
 * so that whatever else the machine does meets all of them alike.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Patience } from '../measure/patience.ts';
import { type BenchOptions, chosen, readOptions, testedCores } from '../options.ts';
import { AskedProgram } from '../programs/asked-program.ts';
import { findOrInstall } from '../programs/packages.ts';
import { startBackend } from './backend.ts';
import { measureIdle } from './idle-run.ts';
import {
  DIRECT,
  OURS,
  PROXY_NAMES,
  type ProxyOptions,
  proxiesFor,
  REFERENCE,
  startProxy,
  type TestedProxy,
} from './proxies.ts';
import { printRelayReport, type RelayReport, type TargetRuns } from './relay-report.ts';
import { bodyFile, type RelayRig, type RelayRun, runRelay } from './relay-run.ts';
import { countWrong, type EchoLoad, requestOf, type TrafficKind } from './traffic.ts';
import { IDLE_WORKLOAD, WORKLOAD_NAMES, WORKLOADS, type Workload } from './workloads.ts';

const DEFAULTS = { rounds: 5, seconds: 1.5 };
const CHECKED_ANSWERS = 200;

/** Where load can be sent: a proxy, or straight to the backend. */
interface Target {
  readonly name: string;
  readonly port: number;
  readonly proxy: TestedProxy | null;
}

/** Runs the bench and prints its report. Returns the exit code: 1 if any request failed. */
export async function runRelayBench(args: readonly string[]): Promise<number> {
  const options = readOptions(args, DEFAULTS);
  const names = chosen('workload', WORKLOAD_NAMES, (name) => name, options.only);
  const workloads = WORKLOADS.filter((workload) => names.includes(workload.name));
  const proxyNames = chosen('proxy', PROXY_NAMES, (name) => name, options.targets);
  const h2load = findOrInstall('h2load', 'nghttp2-client');
  if (h2load === null) throw new Error('h2load is missing; it is in the package nghttp2-client');
  const folder = mkdtempSync(join(tmpdir(), 'understudy-bench-'));
  const shared = { h2load, options, folder };
  const report: RelayReport = { workloads: [], residents: new Map(), skipped: new Set(), idle: null };
  const patience = new Patience(options);
  for (const group of groupsOf(workloads)) await runGroup(group, proxyNames, shared, patience, report);
  if (names.includes(IDLE_WORKLOAD.name)) {
    report.idle = await measureIdle(proxyNames, options, (name, port) => proxyOptions(shared, 'grpc', name, port, 0));
  }
  rmSync(folder, { recursive: true, force: true });
  printRelayReport(report, options.json);
  const failed = report.workloads.some(({ targets: all }) => all.some((target) => target.failed > 0));
  return failed || report.idle?.some((target) => target.missing > 0) ? 1 : 0;
}

/** Workloads that share proxies: those of one kind of traffic and number of threads, but each whose resident set counts has its own. */
function groupsOf(workloads: readonly Workload[]): Workload[][] {
  const groups = Map.groupBy(workloads, ({ name, traffic, threads, residentBarMiB }) =>
    residentBarMiB ? name : `${traffic} ${threads}`,
  );
  return [...groups.values()];
}

/** What is no comparison of all proxies needs ours and the one it is held to. */
function heldTogether(names: readonly string[]): string[] {
  return names.filter((name) => name === OURS || name === REFERENCE);
}

type Shared = Pick<RelayRig, 'h2load' | 'options' | 'folder'>;

async function runGroup(
  workloads: readonly Workload[],
  proxyNames: readonly string[],
  shared: Shared,
  patience: Patience,
  report: RelayReport,
): Promise<void> {
  const { options, folder } = shared;
  const { traffic, threads, requestsPerSecond } = workloads[0]!;
  const sizes = [...new Set(workloads.map((workload) => workload.requestBytes))];
  for (const size of sizes) writeFileSync(bodyFile(folder, size), requestOf(traffic, size));
  const backend = await startBackend(traffic, options.loadCore, sizes);
  const shadow = traffic === 'mirror' ? await startBackend(traffic, options.loadCore, sizes) : null;
  const echo = traffic === 'tcp' ? await startEchoLoad(options.loadCore) : null;
  const rig: RelayRig = { ...shared, backend, shadow, echo };
  const targets: Target[] = [];
  for (const name of proxiesFor(
    traffic,
    requestsPerSecond === null && threads === 1 ? proxyNames : heldTogether(proxyNames),
  )) {
    const shadowPort = shadow?.announcement.port ?? 0;
    const common = proxyOptions(shared, traffic, name, backend.announcement.port, shadowPort);
    const proxy = await startProxy(name, { ...common, threads, cores: testedCores(options, threads) });
    if (proxy === null) report.skipped.add(name);
    else targets.push({ name, port: proxy.port, proxy });
  }
  await measure(rig, workloads, targets, patience, report);
  for (const target of targets) await target.proxy?.program.stop();
  for (const program of [backend, shadow, echo]) await program?.program.stop();
}

function proxyOptions(
  { options, folder }: Shared,
  traffic: TrafficKind,
  name: string,
  backendPort: number,
  shadowPort: number,
): ProxyOptions {
  return {
    cores: testedCores(options, 1),
    threads: 1,
    traffic,
    backendPort,
    shadowPort,
    folder: join(folder, name),
    nodeFlags: [...(options.nodeFlags ?? []), ...profilerFlags(options)],
  };
}

function startEchoLoad(core: number): Promise<EchoLoad> {
  const script = join(import.meta.dirname, 'echo-load.ts');
  return AskedProgram.start({ name: 'echo load', core, script, args: [] });
}

async function measure(
  rig: RelayRig,
  workloads: readonly Workload[],
  proxies: readonly Target[],
  patience: Patience,
  report: RelayReport,
): Promise<void> {
  const direct: Target = { name: DIRECT, port: rig.backend.announcement.port, proxy: null };
  for (const workload of workloads) {
    const targets = workload.withDirect ? [direct, ...proxies] : proxies;
    const states = new Map<Target, { runs: RelayRun[]; failed: number; requestsPerSecond: number }>();
    for (const target of targets) states.set(target, { runs: [], ...(await warmUp(rig, workload, target)) });
    for (let round = 1; round <= rig.options.rounds; round++) {
      for (const [target, state] of states) {
        target.proxy?.program.check();
        const rate = workload.requestsPerSecond ?? state.requestsPerSecond;
        const requests = rate * rig.options.seconds;
        const pid = target.proxy?.program.pid ?? null;
        const run = await patience.run(() => runRelay(rig, workload, target.port, pid, requests));
        state.runs.push(run);
        state.failed += run.failed;
        if (run.requestsPerSecond > 0) state.requestsPerSecond = run.requestsPerSecond;
        const { residents } = report;
        if (pid !== null) residents.set(target.name, Math.max(run.residentMiB, residents.get(target.name) ?? 0));
      }
      process.stderr.write(`${workload.name}: round ${round} of ${rig.options.rounds}\n`);
    }
    const all: TargetRuns[] = [...states].map(([{ name }, { runs, failed }]) => ({ name, runs, failed }));
    report.workloads.push({ workload, targets: all });
  }
}

/** Checks answers closely and lets the proxy get warm; tells its rate and how many answers were wrong. */
async function warmUp(
  rig: RelayRig,
  workload: Workload,
  target: Target,
): Promise<{ failed: number; requestsPerSecond: number }> {
  const wrong = await countWrong(workload.traffic, target.port, workload.requestBytes, CHECKED_ANSWERS);
  if (wrong > 0)
    process.stderr.write(`${workload.name}: ${wrong} of ${CHECKED_ANSWERS} answers of ${target.name} are wrong\n`);
  const pid = target.proxy?.program.pid ?? null;
  const run = await runRelay(rig, workload, target.port, pid, workload.warmUpRequests);
  return { failed: wrong + run.failed, requestsPerSecond: Math.max(run.requestsPerSecond, 1) };
}

function profilerFlags(options: BenchOptions): string[] {
  if (options.profileFolder === null) return [];
  mkdirSync(options.profileFolder, { recursive: true });
  return ['--cpu-prof', `--cpu-prof-dir=${options.profileFolder}`, '--cpu-prof-interval=200'];
}
