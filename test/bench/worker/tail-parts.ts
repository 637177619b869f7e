/**
 * The parts of the worker bench that look at tails and memory: arrivals at their own pace, adaptive batching beside fixed
 * knobs, a served model while another loads, and memory after unloading. Ours alone; the comparison is with itself.
 */
import { execFile } from 'node:child_process';
import { linkSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fetch } from 'undici';
import { CHILD_ENVIRONMENT } from '../../../inference-worker/supervision/group-fork.ts';
import { large as modelOf } from '../../support/test-models.ts';
import { CoreWatch, type Patience } from '../measure/patience.ts';
import { cpuMicroseconds } from '../measure/process-tree.ts';
import { figureOf } from '../measure/quiet-runs.ts';
import type { BenchOptions } from '../options.ts';
import { type BenchModel, LARGE } from './models.ts';
import type { LoadPlan, LoadSummary } from './predict-load.ts';
import { type BenchExecution, type ModelFile, type Subject, startOurs } from './subjects.ts';

export const TAIL_PARTS = ['openLoop', 'adaptive', 'loadingOther', 'unload'] as const;
export type TailPart = (typeof TAIL_PARTS)[number];

export interface TailReport {
  openLoop?: { ratePerSecond: number; p50Ms: number; p99Ms: number; meanBatch: number; disturbedRuns: number };
  adaptive?: {
    ratesPerSecond: number[];
    p99Ms: number[];
    bestFixed: string[];
    p99OverBestFixed: number[];
    disturbedRuns: number[];
  };
  loadingOther?: { p99MsBefore: number; p99MsDuring: number; loads: number; disturbedRuns: number };
  unload?: { rssMiBBefore: number; rssMiBLoaded: number; rssMiBAfter: number };
}

/** What the parts share: the load generator, the folder for models and those it knows. */
export interface TailBench {
  readonly options: BenchOptions;
  readonly models: readonly ModelFile[];
  readonly execution: BenchExecution;
  readonly folder: string;
  ask(question: { model: string; plan: LoadPlan }): Promise<LoadSummary>;
  readonly patience: Patience;
}

const CONNECTIONS = 8;
/** Shares of what the model can do at most, by which rates are chosen. */
const OPEN_SHARE = 0.5;
const ADAPTIVE_SHARES = [0.25, 0.5, 0.75];
const FIXED_SIZES = [8, 32, 64];
const FIXED_TIMEOUTS_MICROS = [0, 2_000, 10_000];
/**
 * Where two p99 are held against each other they are taken of this many times the rounds: of runs of two seconds that are
 * alike, one has several times the p99 of another on a machine that stands still now and then.
 */
const DUEL_FACTOR = 4;
const MODEL_MIB = 100;
const UNLOAD_CYCLES = 20;
const POLL_SECONDS = 1;

/** Runs the wanted parts one after the other. */
export async function runTailParts(bench: TailBench, wanted: readonly TailPart[]): Promise<TailReport> {
  const report: TailReport = {};
  if (wanted.includes('openLoop')) report.openLoop = await openLoop(bench);
  if (wanted.includes('adaptive')) report.adaptive = await adaptive(bench);
  if (wanted.includes('loadingOther')) report.loadingOther = await loadingOther(bench);
  if (wanted.includes('unload')) report.unload = await unload(bench);
  return report;
}

async function openLoop(bench: TailBench): Promise<TailReport['openLoop']> {
  const ours = await start(bench, []);
  const ratePerSecond = Math.round((await capacity(bench, ours)) * OPEN_SHARE);
  const runs: (OpenRun & { meanBatch: number })[] = [];
  for (let i = 0; i < bench.options.rounds; i++) {
    const before = await batches(ours);
    const summary = await openRun(bench, ours, LARGE, ratePerSecond);
    const after = await batches(ours);
    runs.push({ ...summary, meanBatch: (after.rows - before.rows) / (after.count - before.count) });
  }
  await ours.program.stop();
  return {
    ratePerSecond,
    p50Ms: figureOf(runs, 'lower', ({ p50Ms }) => p50Ms),
    p99Ms: figureOf(runs, 'lower', ({ p99Ms }) => p99Ms),
    meanBatch: figureOf(runs, 'lower', ({ meanBatch }) => meanBatch),
    disturbedRuns: disturbedOf(runs),
  };
}

/** One configuration of our worker. */
interface Knobs {
  readonly name: string;
  readonly subject: Subject;
}

/**
 * At each rate the fixed knobs run in turn, round by round, each round beginning with another one. The best of them then
 * runs against adaptive batching, and these runs alone count: where runs scatter, the best of nine looks better than it is.
 */
async function adaptive(bench: TailBench): Promise<TailReport['adaptive']> {
  const own: Knobs = { name: 'adaptive', subject: await start(bench, []) };
  const fixed: Knobs[] = [];
  for (const size of FIXED_SIZES) {
    for (const micros of FIXED_TIMEOUTS_MICROS) {
      const flags = [`--max_batch_size=${size}`, `--batch_timeout_micros=${micros}`];
      const subject = await start(bench, [...flags, '--enable_adaptive_batching=false']);
      fixed.push({ name: `${size}/${micros}us`, subject });
    }
  }
  const most = await capacity(bench, own.subject);
  const report = {
    ratesPerSecond: [],
    p99Ms: [],
    bestFixed: [],
    p99OverBestFixed: [],
    disturbedRuns: [],
  } as Required<TailReport>['adaptive'];
  for (const share of ADAPTIVE_SHARES) {
    const ratePerSecond = Math.round(most * share);
    const [best] = (await inTurns(bench, fixed, ratePerSecond, bench.options.rounds)).sort(
      (one, other) => one.p99Ms - other.p99Ms,
    );
    const rival = fixed.find(({ name }) => name === best!.name)!;
    const duel = await inTurns(bench, [own, rival], ratePerSecond, bench.options.rounds * DUEL_FACTOR);
    report.ratesPerSecond.push(ratePerSecond);
    report.p99Ms.push(duel[0]!.p99Ms);
    report.bestFixed.push(best!.name);
    report.p99OverBestFixed.push(duel[0]!.p99Ms / duel[1]!.p99Ms);
    report.disturbedRuns.push(duel[0]!.disturbedRuns + duel[1]!.disturbedRuns);
  }
  for (const { subject } of [own, ...fixed]) await subject.program.stop();
  return report;
}

/** The p99 of each over rounds in which they take turns. */
async function inTurns(
  bench: TailBench,
  all: readonly Knobs[],
  ratePerSecond: number,
  rounds: number,
): Promise<{ name: string; p99Ms: number; disturbedRuns: number }[]> {
  const runs = new Map(all.map(({ name }) => [name, [] as OpenRun[]]));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < all.length; i++) {
      const { name, subject } = all[(i + round) % all.length]!;
      const run = await openRun(bench, subject, LARGE, ratePerSecond, true);
      // One that refuses calls at this rate is no candidate for the best.
      runs.get(name)!.push(run.failed > 0 ? { ...run, p99Ms: Number.POSITIVE_INFINITY } : run);
    }
    process.stderr.write(`adaptive at ${ratePerSecond}/s: ${all.length} knobs, round ${round + 1} of ${rounds}\n`);
  }
  return [...runs].map(([name, list]) => ({
    name,
    p99Ms: figureOf(list, 'lower', ({ p99Ms }) => p99Ms),
    disturbedRuns: disturbedOf(list),
  }));
}

/** New versions of a large model come while the served one is asked: each is loaded and the one before it unloaded. */
async function loadingOther(bench: TailBench): Promise<TailReport['loadingOther']> {
  const other = join(bench.folder, 'other');
  const staged = join(bench.folder, 'staged');
  mkdirSync(staged, { recursive: true });
  writeFileSync(join(staged, 'model.onnx'), modelOf(MODEL_MIB));
  let version = 0;
  const publish = (): void => {
    // A link, because copying would take the cores that are being measured.
    const next = join(bench.folder, 'next');
    mkdirSync(next);
    linkSync(join(staged, 'model.onnx'), join(next, 'model.onnx'));
    mkdirSync(other, { recursive: true });
    renameSync(next, join(other, String(++version)));
  };
  publish();
  const ours = await start(bench, [`--model=other:${other}`, `--file_system_poll_wait_seconds=${POLL_SECONDS}`]);
  const rate = Math.round((await capacity(bench, ours)) * 0.25);
  const before: OpenRun[] = [];
  const during: OpenRun[] = [];
  const firstVersion = version;
  for (let i = 0; i < bench.options.rounds * DUEL_FACTOR; i++) {
    before.push(await openRun(bench, ours, LARGE, rate));
    const timer = setInterval(publish, POLL_SECONDS * 1000);
    publish();
    during.push(await openRun(bench, ours, LARGE, rate));
    clearInterval(timer);
  }
  await ours.program.stop();
  return {
    p99MsBefore: figureOf(before, 'lower', ({ p99Ms }) => p99Ms),
    p99MsDuring: figureOf(during, 'lower', ({ p99Ms }) => p99Ms),
    loads: version - firstVersion,
    disturbedRuns: disturbedOf([...before, ...during]),
  };
}

async function unload(bench: TailBench): Promise<TailReport['unload']> {
  const path = join(bench.folder, 'unload.onnx');
  writeFileSync(path, modelOf(MODEL_MIB));
  const program = join(import.meta.dirname, '../../support/unload-cycles.ts');
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--expose-gc', program, path, String(UNLOAD_CYCLES)],
    { env: { ...process.env, ...CHILD_ENVIRONMENT } },
  );
  const { rssMiBBefore, rssMiBLoaded, rssMiBAfter } = JSON.parse(stdout) as Required<TailReport>['unload'];
  return { rssMiBBefore, rssMiBLoaded, rssMiBAfter };
}

function start(bench: TailBench, flags: readonly string[]): Promise<Subject> {
  return startOurs(
    bench.options.testedCore,
    bench.models,
    bench.execution,
    [],
    ['--max_enqueued_batches=100', ...flags],
  );
}

/** Calls a second of the large model under closed-loop load. */
async function capacity(bench: TailBench, { port }: Subject): Promise<number> {
  const plan = { port, connections: CONNECTIONS, streams: 32, seconds: 1 };
  await bench.ask({ model: LARGE.name, plan });
  return (await bench.ask({ model: LARGE.name, plan })).callsPerSecond;
}

/** One run of open-loop load; others may have used the core. */
interface OpenRun extends LoadSummary {
  readonly disturbed: boolean;
}

function disturbedOf(runs: readonly OpenRun[]): number {
  return runs.filter(({ disturbed }) => disturbed).length;
}

/** @throws Error when calls fail, unless they may. */
async function openRun(
  bench: TailBench,
  { port, program }: Subject,
  model: BenchModel,
  ratePerSecond: number,
  mayFail = false,
): Promise<OpenRun> {
  program.check();
  const { seconds, testedCore } = bench.options;
  const plan = { port, connections: CONNECTIONS, streams: 0, seconds, ratePerSecond };
  const summary = await bench.patience.run(async () => {
    const cpuBefore = cpuMicroseconds(program.pid);
    const core = new CoreWatch(testedCore);
    const measured = await bench.ask({ model: model.name, plan });
    return { ...measured, disturbed: core.disturbed(cpuMicroseconds(program.pid) - cpuBefore) };
  });
  if (summary.disturbed) process.stderr.write(`disturbed: ${ratePerSecond}/s, p99 ${summary.p99Ms.toFixed(1)} ms\n`);
  if (summary.failed > 0 && !mayFail) throw new Error(`${summary.failed} of ${summary.calls} calls failed`);
  return summary;
}

/** Batches and rows the large model has run, by the worker's own metrics. */
async function batches({ metricsPort }: Subject): Promise<{ count: number; rows: number }> {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const read = (name: string): number => {
    const match = new RegExp(`^${name}\\{.*model="${LARGE.name}".*\\} ([0-9.e+]+)$`, 'm').exec(text);
    if (match === null) throw new Error(`no metric ${name}`);
    return Number(match[1]);
  };
  return { count: read('understudy_batch_total'), rows: read('understudy_batch_run_rows_total') };
}
