/** The worker bench's report: a table, the bars of DESIGN.md section 8, and one line of JSON. */
import { figureOf } from '../measure/quiet-runs.ts';
import { rounded } from '../measure/statistics.ts';
import { renderTable } from '../measure/text-table.ts';
import type { LoadSummary } from './predict-load.ts';
import { BARE_LOOP, type BenchExecution, OURS, PER_REQUEST } from './subjects.ts';
import type { TailReport } from './tail-parts.ts';
import type { Scenario } from './worker-bench.ts';

export interface WorkerRun extends LoadSummary {
  readonly cpuUsPerCall: number;
  readonly loadCoreBusy: number;
  /** Other programs used the tested core. */
  readonly disturbed: boolean;
}

/** One run of the bare loop. */
export interface BareRun {
  readonly itemsPerSecond: number;
  readonly cpuUsPerItem: number;
  readonly batch: number;
  readonly disturbed: boolean;
}

export interface ScenarioRuns {
  readonly scenario: Scenario;
  readonly subjects: readonly { readonly name: string; readonly runs: readonly WorkerRun[] }[];
  readonly bare: readonly BareRun[];
}

/** Figures over the rounds of one server under one load. */
interface Figures {
  readonly name: string;
  readonly cpuUs: number;
  readonly callsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly loadCoreBusy: number;
  readonly failed: number;
  readonly disturbed: number;
  readonly rounds: number;
}

interface ScenarioFigures {
  readonly scenario: Scenario;
  readonly figures: readonly Figures[];
  readonly bareItemsPerSecond: number;
  readonly bareCpuUs: number;
  readonly bareBatch: number;
}

/** Most of the grpc-js server's CPU per call that ours may take. */
const CPU_BARS: Readonly<Record<string, number>> = { 'small.8x32': 1 / 8, 'small.32x1': 1 / 3 };
/** Least of the bare loop's throughput that ours must reach with the large model. */
const THROUGHPUT_BAR = 0.9;
const LOAD_CORE_LIMIT = 0.95;

/** Prints the table and the bars, and with `json` the JSON as the last line. */
export function printWorkerReport(
  results: readonly ScenarioRuns[],
  tails: TailReport,
  { provider, devices }: BenchExecution,
  json: boolean,
): void {
  const all = results.map(figuresOf);
  const head = ['load', 'server', 'CPU us/call', '/ grpc-js', 'calls/s', '/ bare', 'p50 ms', 'p99 ms', 'load core', ''];
  process.stdout.write(`\n${renderTable(head, all.flatMap(tableRows))}\n`);
  for (const one of all) printBars(one);
  printTails(tails);
  if (!json) return;
  const device = provider === 'cpu' ? {} : { provider, devices };
  process.stdout.write(`${JSON.stringify({ ...device, ...jsonReport(all, tails) })}\n`);
}

function figuresOf({ scenario, subjects, bare }: ScenarioRuns): ScenarioFigures {
  const figures = subjects.map(({ name, runs }): Figures => {
    return {
      name,
      cpuUs: figureOf(runs, 'lower', (run) => run.cpuUsPerCall),
      callsPerSecond: figureOf(runs, 'higher', (run) => run.callsPerSecond),
      p50Ms: figureOf(runs, 'lower', (run) => run.p50Ms),
      p99Ms: figureOf(runs, 'lower', (run) => run.p99Ms),
      loadCoreBusy: figureOf(runs, 'lower', (run) => run.loadCoreBusy),
      failed: runs.reduce((sum, run) => sum + run.failed, 0),
      disturbed: runs.filter((run) => run.disturbed).length,
      rounds: runs.length,
    };
  });
  return {
    scenario,
    figures,
    bareItemsPerSecond: figureOf(bare, 'higher', (run) => run.itemsPerSecond),
    bareCpuUs: figureOf(bare, 'lower', (run) => run.cpuUsPerItem),
    bareBatch: bare[0]?.batch ?? 0,
  };
}

function tableRows({ scenario, figures, bareItemsPerSecond, bareCpuUs, bareBatch }: ScenarioFigures): string[][] {
  const reference = find(figures, PER_REQUEST);
  const rows = figures.map((one) => {
    const notes: string[] = [];
    if (one.failed > 0) notes.push(`${one.failed} FAILED`);
    if (one.loadCoreBusy > LOAD_CORE_LIMIT) notes.push('load core full: calls/s invalid');
    if (one.disturbed > 0) notes.push(`${one.disturbed} of ${one.rounds} runs disturbed`);
    return [
      scenario.name,
      one.name,
      text(one.cpuUs, 2),
      text(one.cpuUs / (reference?.cpuUs ?? Number.NaN), 3),
      text(one.callsPerSecond, 0),
      text(one.callsPerSecond / bareItemsPerSecond, 3),
      text(one.p50Ms, 2),
      text(one.p99Ms, 2),
      `${text(one.loadCoreBusy * 100, 0)} %`,
      notes.join('; '),
    ];
  });
  const note = `best batch ${bareBatch}`;
  return [
    ...rows,
    [scenario.name, BARE_LOOP, text(bareCpuUs, 2), '', text(bareItemsPerSecond, 0), '1.000', '', '', '', note],
  ];
}

function printBars({ scenario, figures, bareItemsPerSecond, bareCpuUs }: ScenarioFigures): void {
  const ours = find(figures, OURS);
  const reference = find(figures, PER_REQUEST);
  if (ours === undefined || reference === undefined) return;
  const bar = CPU_BARS[scenario.name];
  if (bar !== undefined) {
    const ratio = ours.cpuUs / reference.cpuUs;
    const verdict = ratio <= bar ? 'met' : `MISSED by ${text((ratio / bar - 1) * 100, 0)} %`;
    const what = `CPU per call, of grpc-js's`;
    process.stdout.write(`bar ${scenario.name}: ${what}: ${text(ratio, 3)} (at most ${text(bar, 3)}): ${verdict}\n`);
  } else {
    const ratio = ours.callsPerSecond / bareItemsPerSecond;
    const verdict = ratio >= THROUGHPUT_BAR ? 'met' : `MISSED by ${text((1 - ratio / THROUGHPUT_BAR) * 100, 0)} %`;
    const what = `throughput, of the bare loop's`;
    process.stdout.write(`bar ${scenario.name}: ${what}: ${text(ratio, 3)} (at least ${THROUGHPUT_BAR}): ${verdict}\n`);
    // On a core shared with others, time on the clock compares less well than time on the core.
    const byCpu = bareCpuUs / ours.cpuUs;
    process.stdout.write(`    by CPU time per item the ratio is ${text(byCpu, 3)}\n`);
  }
}

/** Most that p99 may grow by while another model loads, and that adaptive batching may be over the best fixed knobs. */
const LOADING_BAR = 1.5;
const ADAPTIVE_BAR = 1.1;
/** Most of the memory before the first load that may be missing after the last unload. */
const UNLOAD_BAR = 1.1;

function printTails({ openLoop, adaptive, loadingOther, unload }: TailReport): void {
  const bar = (what: string, value: number, most: number): void => {
    const verdict = value <= most ? 'met' : `MISSED by ${text((value / most - 1) * 100, 0)} %`;
    process.stdout.write(`bar ${what}: ${text(value, 3)} (at most ${most}): ${verdict}\n`);
  };
  if (openLoop !== undefined) {
    const { ratePerSecond, p50Ms, p99Ms, meanBatch, disturbedRuns } = openLoop;
    const batch = text(meanBatch, 1);
    process.stdout.write(
      `openLoop: ${ratePerSecond}/s: p50 ${text(p50Ms, 2)} ms, p99 ${text(p99Ms, 2)}, batch ${batch}${noteOf(disturbedRuns)}\n`,
    );
  }
  adaptive?.p99OverBestFixed.forEach((ratio, i) => {
    const { ratesPerSecond, bestFixed, p99Ms, disturbedRuns } = adaptive;
    bar(
      `adaptive at ${ratesPerSecond[i]}/s: p99 ${text(p99Ms[i]!, 2)} ms, of the best fixed (${bestFixed[i]}${noteOf(disturbedRuns[i]!)})`,
      ratio,
      ADAPTIVE_BAR,
    );
  });
  if (loadingOther !== undefined) {
    const { p99MsBefore, p99MsDuring, loads, disturbedRuns } = loadingOther;
    const what = `loadingOther: p99 ${text(p99MsBefore, 2)} to ${text(p99MsDuring, 2)} ms over ${loads} loads${noteOf(disturbedRuns)}`;
    bar(what, p99MsDuring / p99MsBefore, LOADING_BAR);
  }
  if (unload !== undefined) {
    const { rssMiBBefore, rssMiBLoaded, rssMiBAfter } = unload;
    bar(
      `unload: ${rssMiBBefore} MiB, loaded ${rssMiBLoaded}, after ${rssMiBAfter}`,
      rssMiBAfter / rssMiBBefore,
      UNLOAD_BAR,
    );
  }
}

function noteOf(disturbedRuns: number): string {
  return disturbedRuns > 0 ? `; ${disturbedRuns} runs disturbed` : '';
}

/**
 * What the last line says: figures that bars or trends are kept of, and no others; parts that were not run are absent.
 * Whatever else was measured is in the table and the lines above it.
 */
function jsonReport(all: readonly ScenarioFigures[], tails: TailReport): Record<string, unknown> {
  const small: Record<string, unknown> = {};
  const report: Record<string, unknown> = {};
  for (const { scenario, figures, bareItemsPerSecond } of all) {
    const by = (pick: (one: Figures) => number, digits: number): Record<string, number | null> =>
      Object.fromEntries(figures.map((one) => [one.name, rounded(pick(one), digits)]));
    const cpuUsPerCall = by(({ cpuUs }) => cpuUs, 3);
    const callsPerSecond = by((one) => one.callsPerSecond, 0);
    if (scenario.name === 'small.8x32')
      small['8x32'] = { cpuUsPerCall, callsPerSecond, p99Ms: by((one) => one.p99Ms, 3) };
    else if (scenario.name === 'small.32x1') small['32x1'] = { cpuUsPerCall };
    else {
      const itemsPerSecond = { [OURS]: callsPerSecond[OURS], [BARE_LOOP]: rounded(bareItemsPerSecond, 0) };
      report['large'] = { itemsPerSecond };
    }
  }
  const { openLoop, adaptive, loadingOther, unload } = tails;
  return {
    ...(Object.keys(small).length > 0 && { small }),
    ...report,
    ...(openLoop && { openLoop: picked(openLoop, ['ratePerSecond', 'p50Ms', 'p99Ms', 'meanBatch']) }),
    ...(adaptive && { adaptive: { p99OverBestFixed: adaptive.p99OverBestFixed.map((ratio) => rounded(ratio, 3)) } }),
    ...(loadingOther && { loadingOther: picked(loadingOther, ['p99MsBefore', 'p99MsDuring']) }),
    ...(unload && { unload: picked(unload, ['rssMiBBefore', 'rssMiBLoaded', 'rssMiBAfter']) }),
  };
}

function picked<K extends string>(
  from: Readonly<Record<K, number>>,
  keys: readonly K[],
): Record<string, number | null> {
  return Object.fromEntries(keys.map((key) => [key, rounded(from[key], 3)]));
}

function find(figures: readonly Figures[], name: string): Figures | undefined {
  return figures.find((one) => one.name === name);
}

function text(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : '-';
}
