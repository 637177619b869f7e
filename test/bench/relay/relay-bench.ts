/**
 * `bench relay`: our proxy beside haproxy, nginx and nghttpx. All proxies run all the time and take turns, run by run,
 * so that whatever else the machine does meets all of them alike.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Patience } from '../measure/patience.ts';
import { residentMiB } from '../measure/process-tree.ts';
import { type BenchOptions, chosen, readOptions } from '../options.ts';
import { findOrInstall } from '../programs/packages.ts';
import { countWrongAnswers } from './answer-check.ts';
import { startBackend } from './backend.ts';
import { replyBody, requestBody } from './payload.ts';
import { DIRECT, PROXY_NAMES, startProxy, type TestedProxy } from './proxies.ts';
import { printRelayReport, type RelayReport, type TargetRuns, type WorkloadRuns } from './relay-report.ts';
import { bodyFile, type RelayRig, type RelayRun, runRelay } from './relay-run.ts';
import { WORKLOADS, type Workload } from './workloads.ts';

const DEFAULTS = { rounds: 5, seconds: 2 };
/** What `understudy proxy` gives Node. */
const SHIPPED_FLAGS = ['--max-semi-space-size=4'];
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
  const workloads = chosen('workload', WORKLOADS, (workload) => workload.name, options.only);
  const names = chosen('proxy', PROXY_NAMES, (name) => name, options.targets);
  const h2load = findOrInstall('h2load', 'nghttp2-client');
  if (h2load === null) throw new Error('h2load is missing; it is in the package nghttp2-client');
  const folder = mkdtempSync(join(tmpdir(), 'understudy-bench-'));
  const sizes = [...new Set(workloads.map((workload) => workload.requestBytes))];
  for (const size of sizes) writeFileSync(bodyFile(folder, size), requestBody(size));
  const backend = await startBackend(options.loadCore, sizes);
  const rig: RelayRig = { h2load, backend, options, folder, replyBytes: replyBody().length };
  const skipped: string[] = [];
  const targets: Target[] = [];
  for (const name of names) {
    const proxy = await startProxy(name, {
      core: options.testedCore,
      backendPort: backend.announcement.port,
      folder: join(folder, name),
      nodeFlags: [...(options.nodeFlags ?? SHIPPED_FLAGS), ...profilerFlags(options)],
    });
    if (proxy === null) skipped.push(name);
    else targets.push({ name, port: proxy.port, proxy });
  }
  const report = await measure(rig, workloads, targets, skipped);
  for (const target of targets) await target.proxy?.program.stop();
  await backend.program.stop();
  rmSync(folder, { recursive: true, force: true });
  printRelayReport(report, options.json);
  return report.workloads.some(({ targets: all }) => all.some(({ failed }) => failed > 0)) ? 1 : 0;
}

async function measure(
  rig: RelayRig,
  workloads: readonly Workload[],
  proxies: readonly Target[],
  skipped: readonly string[],
): Promise<RelayReport> {
  const direct: Target = { name: DIRECT, port: rig.backend.announcement.port, proxy: null };
  const patience = new Patience(rig.options);
  const residents = new Map<string, number>();
  const results: WorkloadRuns[] = [];
  for (const workload of workloads) {
    const targets = workload.withDirect ? [direct, ...proxies] : proxies;
    const states = new Map<Target, { runs: RelayRun[]; failed: number; requestsPerSecond: number }>();
    for (const target of targets) states.set(target, { runs: [], ...(await warmUp(rig, workload, target)) });
    for (let round = 1; round <= rig.options.rounds; round++) {
      for (const [target, state] of states) {
        target.proxy?.program.check();
        const requests = state.requestsPerSecond * rig.options.seconds;
        const pid = target.proxy?.program.pid ?? null;
        const run = await patience.run(() => runRelay(rig, workload, target.port, pid, requests));
        state.runs.push(run);
        state.failed += run.failed;
        if (run.requestsPerSecond > 0) state.requestsPerSecond = run.requestsPerSecond;
        const resident = target.proxy === null ? 0 : residentMiB(target.proxy.program.pid);
        residents.set(target.name, Math.max(resident, residents.get(target.name) ?? 0));
      }
      process.stderr.write(`${workload.name}: round ${round} of ${rig.options.rounds}\n`);
    }
    const all: TargetRuns[] = [...states].map(([{ name }, { runs, failed }]) => ({ name, runs, failed }));
    results.push({ workload, targets: all });
  }
  residents.delete(DIRECT);
  return { workloads: results, residents, skipped };
}

/** Checks answers closely and lets the proxy get warm; tells its rate and how many answers were wrong. */
async function warmUp(
  rig: RelayRig,
  workload: Workload,
  target: Target,
): Promise<{ failed: number; requestsPerSecond: number }> {
  const wrong = await countWrongAnswers(target.port, requestBody(workload.requestBytes), replyBody(), CHECKED_ANSWERS);
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
