/**
 * `bench worker`: our worker beside a grpc-js server that calls `session.run` per request, and a bare loop of
 * `session.run` at its best batch size. They take turns on one core, run by run; every status and answer is checked.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { CoreWatch, Patience } from '../measure/patience.ts';
import { cpuMicroseconds } from '../measure/process-tree.ts';
import { type BenchOptions, chosen, readOptions } from '../options.ts';
import { AskedProgram } from '../programs/asked-program.ts';
import { type BenchModel, LARGE, SMALL, writeModel } from './models.ts';
import type { LoadPlan, LoadSummary } from './predict-load.ts';
import {
  type BareLoop,
  type ModelFile,
  ON_CPU,
  type Subject,
  startBareLoop,
  startOurs,
  startPerRequest,
} from './subjects.ts';
import { runTailParts, TAIL_PARTS, type TailBench } from './tail-parts.ts';
import { type BareRun, printWorkerReport, type ScenarioRuns, type WorkerRun } from './worker-report.ts';

/** A model under closed-loop load. */
export interface Scenario {
  readonly model: BenchModel;
  readonly name: string;
  readonly connections: number;
  readonly streams: number;
}

const SCENARIOS: readonly Scenario[] = [
  { model: SMALL, name: 'small.8x32', connections: 8, streams: 32 },
  { model: SMALL, name: 'small.32x1', connections: 32, streams: 1 },
  { model: LARGE, name: 'large.8x32', connections: 8, streams: 32 },
];

const DEFAULTS = { rounds: 5, seconds: 2 };
const WARM_UP_SECONDS = 1;

type LoadProcess = AskedProgram<object, { model: string; plan: LoadPlan }, LoadSummary>;

/** Runs the bench and prints its report. Returns the exit code: 1 if any call failed. */
export async function runWorkerBench(args: readonly string[], execution = ON_CPU): Promise<number> {
  const options = readOptions(args, DEFAULTS);
  // Memory given back is the process's own, whatever the device.
  const tailParts = TAIL_PARTS.filter((part) => execution === ON_CPU || part !== 'unload');
  const parts = chosen('workload', [...SCENARIOS.map(({ name }) => name), ...tailParts], String, options.only);
  const scenarios = SCENARIOS.filter(({ name }) => parts.includes(name));
  const folder = mkdtempSync(join(tmpdir(), 'understudy-bench-'));
  const models = [SMALL, LARGE].map((model): ModelFile => {
    const file = writeModel(folder, model);
    return { model, file, basePath: dirname(dirname(file)) };
  });
  const load: LoadProcess = await AskedProgram.start({
    name: 'load',
    core: options.loadCore,
    script: join(import.meta.dirname, 'load-process.ts'),
    args: [String(execution.tolerance), ...models.map(({ model, file }) => `${model.name}=${file}`)],
  });
  const subjects = [
    await startOurs(options.testedCore, models, execution, profilerFlags(options)),
    await startPerRequest(options.testedCore, models, execution),
  ];
  const bareLoop = await startBareLoop(options.testedCore, models, execution);
  const results: ScenarioRuns[] = [];
  const patience = new Patience(options);
  for (const scenario of scenarios) results.push(await measure(options, scenario, load, subjects, bareLoop, patience));
  for (const { program } of [...subjects, bareLoop]) await program.stop();
  const ask: TailBench['ask'] = (question) => load.ask(question);
  const wanted = TAIL_PARTS.filter((part) => parts.includes(part));
  const tails = await runTailParts(
    { options, models, execution, folder, ask, patience: new Patience(options) },
    wanted,
  );
  await load.program.stop();
  rmSync(folder, { recursive: true, force: true });
  printWorkerReport(results, tails, execution, options.json);
  return results.some(({ subjects: all }) => all.some(({ runs }) => runs.some((run) => run.failed > 0))) ? 1 : 0;
}

async function measure(
  options: BenchOptions,
  scenario: Scenario,
  load: LoadProcess,
  subjects: readonly Subject[],
  bareLoop: BareLoop,
  patience: Patience,
): Promise<ScenarioRuns> {
  const runs = new Map(subjects.map((subject) => [subject, [] as WorkerRun[]]));
  const bare: BareRun[] = [];
  for (const subject of subjects) await runOnce(options, scenario, load, subject, WARM_UP_SECONDS);
  for (let round = 1; round <= options.rounds; round++) {
    for (const [subject, list] of runs) {
      list.push(await patience.run(() => runOnce(options, scenario, load, subject, options.seconds)));
    }
    bare.push(await patience.run(() => runBare(options, scenario, bareLoop)));
    process.stderr.write(`${scenario.name}: round ${round} of ${options.rounds}\n`);
  }
  return { scenario, subjects: [...runs].map(([{ name }, list]) => ({ name, runs: list })), bare };
}

async function runOnce(
  options: BenchOptions,
  scenario: Scenario,
  load: LoadProcess,
  subject: Subject,
  seconds: number,
): Promise<WorkerRun> {
  subject.program.check();
  const { connections, streams, model } = scenario;
  const { pid } = subject.program;
  const cpuBefore = cpuMicroseconds(pid);
  const testedCore = new CoreWatch(options.testedCore);
  const loadCore = new CoreWatch(options.loadCore);
  const summary = await load.ask({ model: model.name, plan: { port: subject.port, connections, streams, seconds } });
  const loadCoreBusy = loadCore.busy();
  const cpuUs = cpuMicroseconds(pid) - cpuBefore;
  return {
    ...summary,
    cpuUsPerCall: cpuUs / Math.max(1, summary.calls),
    loadCoreBusy,
    disturbed: testedCore.disturbed(cpuUs),
  };
}

async function runBare(options: BenchOptions, scenario: Scenario, bareLoop: BareLoop): Promise<BareRun> {
  const { pid } = bareLoop.program;
  const cpuBefore = cpuMicroseconds(pid);
  const core = new CoreWatch(options.testedCore);
  const { items, seconds, batch } = await bareLoop.ask({ model: scenario.model.name, seconds: options.seconds });
  const cpuUs = cpuMicroseconds(pid) - cpuBefore;
  return { itemsPerSecond: items / seconds, cpuUsPerItem: cpuUs / items, batch, disturbed: core.disturbed(cpuUs) };
}

function profilerFlags(options: BenchOptions): string[] {
  if (options.profileFolder === null) return [];
  mkdirSync(options.profileFolder, { recursive: true });
  return ['--cpu-prof', `--cpu-prof-dir=${options.profileFolder}`];
}
