/**
 * `bench mirror`: what shadows that misbehave do to the primary's callers. One proxy for each behaviour and two without a
 * shadow, all up all the time; they take turns at the same fixed rate, run by run, so that whatever else the machine does
 * meets all of them alike, and the two without a shadow tell how much that is.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Patience } from '../measure/patience.ts';
import { residentMiB } from '../measure/process-tree.ts';
import { type BenchOptions, chosen, readOptions } from '../options.ts';
import { AskedProgram } from '../programs/asked-program.ts';
import { findOrInstall } from '../programs/packages.ts';
import { startBackend } from '../relay/backend.ts';
import { OURS, startProxy, type TestedProxy, UNMIRRORED } from '../relay/proxies.ts';
import { bodyFile, type RelayRig, type RelayRun, runRelay } from '../relay/relay-run.ts';
import { countWrong, requestOf } from '../relay/traffic.ts';
import type { Workload } from '../relay/workloads.ts';
import { type MirrorCounts, readMirrorCounts } from './mirror-figures.ts';
import { printMirrorReport } from './mirror-report.ts';
import { SHADOW_BEHAVIOURS, SHADOW_CONTROL, SHADOW_OFF, type ShadowBehaviour } from './shadow-behaviours.ts';

const DEFAULTS = { rounds: 15, seconds: 1 };
const CHECKED_ANSWERS = 200;
const SETTLE_MS = 500;
const IDLE_WITHIN_MS = 15_000;

/** A rate that leaves both cores room: what is measured is how long callers wait, not how much goes through. */
const WORKLOAD: Workload = {
  name: 'mirror',
  traffic: 'mirror',
  connections: 32,
  streams: 8,
  threads: 1,
  requestBytes: 512,
  withDirect: false,
  warmUpRequests: 4000,
  cpuBar: null,
  requestsPerSecond: 2000,
  residentBarMiB: null,
};

export interface MirrorCase {
  readonly name: string;
  readonly runs: RelayRun[];
  /** Requests that failed or were answered wrongly, the close check included. */
  failed: number;
  /** Requests sent in all. */
  requests: number;
  beforeMiB: number;
  afterMiB: number;
  /** Null without a shadow. */
  counts: MirrorCounts | null;
}

type Shadow = AskedProgram<{ readonly port: number }, object, { readonly good: number }>;

interface Subject {
  readonly result: MirrorCase;
  readonly proxy: TestedProxy;
  readonly shadow: Shadow | null;
}

/** Runs the bench and prints its report. Returns the exit code: 1 if any request of a caller failed. */
export async function runMirrorBench(args: readonly string[]): Promise<number> {
  const options = readOptions(args, DEFAULTS);
  const names = chosen('workload', SHADOW_BEHAVIOURS, (name) => name, options.only);
  const h2load = findOrInstall('h2load', 'nghttp2-client');
  if (h2load === null) throw new Error('h2load is missing; it is in the package nghttp2-client');
  const folder = mkdtempSync(join(tmpdir(), 'understudy-bench-'));
  writeFileSync(bodyFile(folder, WORKLOAD.requestBytes), requestOf('mirror', WORKLOAD.requestBytes));
  const backend = await startBackend('mirror', options.loadCore, [WORKLOAD.requestBytes]);
  const rig: RelayRig = { h2load, options, folder, backend, shadow: null, echo: null };
  const subjects: Subject[] = [];
  for (const name of [SHADOW_OFF, ...names, SHADOW_CONTROL]) subjects.push(await start(name, rig));
  const patience = new Patience(options);
  for (const subject of subjects) await warmUp(rig, subject);
  for (let round = 1; round <= options.rounds; round++) {
    // Every other round backwards, so that none always follows the same one.
    for (const subject of round % 2 === 1 ? subjects : subjects.toReversed()) {
      subject.proxy.program.check();
      await measure(rig, subject, patience);
    }
    process.stderr.write(`mirror: round ${round} of ${options.rounds}\n`);
  }
  for (const subject of subjects) await finish(subject);
  await backend.program.stop();
  rmSync(folder, { recursive: true, force: true });
  const cases = subjects.map(({ result }) => result);
  printMirrorReport(cases, options.json);
  return cases.some(({ failed }) => failed > 0) ? 1 : 0;
}

async function start(name: string, { options, backend, folder }: RelayRig): Promise<Subject> {
  const isOff = name === SHADOW_OFF || name === SHADOW_CONTROL;
  const shadow = isOff ? null : await startShadow(name as ShadowBehaviour, options);
  const proxy = await startProxy(isOff ? UNMIRRORED : OURS, {
    cores: [options.testedCore],
    threads: 1,
    traffic: 'mirror',
    backendPort: backend.announcement.port,
    shadowPort: shadow?.announcement.port ?? 0,
    folder: join(folder, name),
    nodeFlags: options.nodeFlags ?? [],
  });
  const result = { name, runs: [], failed: 0, requests: 0, beforeMiB: 0, afterMiB: 0, counts: null };
  return { result, proxy: proxy!, shadow };
}

function startShadow(behaviour: ShadowBehaviour, options: BenchOptions): Promise<Shadow> {
  const script = join(import.meta.dirname, 'shadow-backend.ts');
  return AskedProgram.start({
    name: `shadow that ${behaviour}`,
    core: options.loadCore,
    script,
    args: [behaviour],
    givesWay: true,
  });
}

async function warmUp(rig: RelayRig, { proxy, result }: Subject): Promise<void> {
  result.failed += await countWrong('mirror', proxy.port, WORKLOAD.requestBytes, CHECKED_ANSWERS);
  result.requests += CHECKED_ANSWERS;
  const run = await runRelay(rig, WORKLOAD, proxy.port, proxy.program.pid, WORKLOAD.warmUpRequests);
  result.failed += run.failed;
  result.requests += run.requests;
  await pause(SETTLE_MS);
  result.beforeMiB = residentMiB(proxy.program.pid);
}

async function measure(rig: RelayRig, { proxy, result }: Subject, patience: Patience): Promise<void> {
  const requests = WORKLOAD.requestsPerSecond! * rig.options.seconds;
  const run = await patience.run(async () => {
    const once = await runRelay(rig, WORKLOAD, proxy.port, proxy.program.pid, requests);
    // A run that is repeated was sent all the same.
    result.requests += once.requests;
    result.failed += once.failed;
    return once;
  });
  result.runs.push(run);
}

async function finish({ proxy, shadow, result }: Subject): Promise<void> {
  result.afterMiB = residentMiB(proxy.program.pid);
  if (shadow !== null) result.counts = await countsOnceIdle(proxy.adminPort);
  await proxy.program.stop();
  await shadow?.program.stop();
}

/** A shadow that hangs is given up after its time; until then its requests are in flight. */
async function countsOnceIdle(adminPort: number): Promise<MirrorCounts> {
  const end = performance.now() + IDLE_WITHIN_MS;
  for (;;) {
    const counts = await readMirrorCounts(adminPort);
    if (counts.inFlight === 0 || performance.now() > end) return counts;
    await pause(SETTLE_MS);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
