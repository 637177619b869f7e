/** The relay bench's report: a table with ratios to haproxy or ours unmirrored, the bars of DESIGN.md section 8, and one line of JSON. */
import { median, rounded } from '../measure/statistics.ts';
import { renderTable } from '../measure/text-table.ts';
import type { IdleFigures } from './idle-run.ts';
import { DIRECT, OURS, REFERENCE, UNMIRRORED } from './proxies.ts';
import { LOAD_CORE_LIMIT, type RelayRun } from './relay-run.ts';
import { IDLE_WORKLOAD, type Workload } from './workloads.ts';

export interface TargetRuns {
  readonly name: string;
  readonly runs: readonly RelayRun[];
  /** Requests that failed, warm-up and close check included. */
  readonly failed: number;
}

export interface WorkloadRuns {
  readonly workload: Workload;
  readonly targets: readonly TargetRuns[];
}

export interface RelayReport {
  readonly workloads: WorkloadRuns[];
  /** Highest resident set seen after a run, MiB, by proxy. */
  readonly residents: Map<string, number>;
  readonly skipped: Set<string>;
  /** Null when it was not asked for. */
  idle: readonly IdleFigures[] | null;
}

/** Medians over the rounds. */
interface Figures {
  readonly name: string;
  readonly cpuUs: number;
  /** Least of all rounds: what others do to a machine only ever adds. */
  readonly leastCpuUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly requestsPerSecond: number;
  readonly loadCoreBusy: number;
  readonly copiedFraction: number;
  /** Highest of all rounds. */
  readonly residentMiB: number;
  readonly failed: number;
  readonly disturbed: number;
  /** Fewer cores than threads: what is measured is what threads cost, not what they gain. */
  readonly shareCores: boolean;
  readonly rounds: number;
}

/** With fewer undisturbed runs than this, all runs count. */
const LEAST_UNDISTURBED = 3;

function figuresOf({ name, runs, failed }: TargetRuns): Figures {
  const quiet = runs.filter((run) => !run.disturbed);
  const used = quiet.length >= LEAST_UNDISTURBED ? quiet : runs;
  const over = (pick: (run: RelayRun) => number): number => median(used.map(pick));
  return {
    name,
    cpuUs: over((run) => run.cpuUsPerRequest),
    leastCpuUs: Math.min(...runs.map((run) => run.cpuUsPerRequest)),
    p50Us: over((run) => run.p50Us),
    p99Us: over((run) => run.p99Us),
    requestsPerSecond: over((run) => run.requestsPerSecond),
    loadCoreBusy: over((run) => run.loadCoreBusy),
    residentMiB: Math.max(...runs.map((run) => run.residentMiB)),
    copiedFraction: over((run) => run.copiedFraction),
    failed,
    disturbed: runs.length - quiet.length,
    shareCores: runs.some((run) => run.shareCores),
    rounds: runs.length,
  };
}

/** Prints the table and the bars, and with `json` the JSON as the last line. */
export function printRelayReport(report: RelayReport, json: boolean): void {
  const all = report.workloads.map(({ workload, targets }) => ({ workload, figures: targets.map(figuresOf) }));
  const rows = all.flatMap(({ workload, figures }) => figures.map((one) => tableRow(workload, one, figures)));
  const head = [
    'workload',
    'proxy',
    'CPU us/req',
    'ratio',
    'least',
    'p50 us',
    'added',
    'p99 us',
    'req/s',
    'load core',
    '',
  ];
  process.stdout.write(`\n${renderTable(head, rows)}\n`);
  const residents = [...report.residents].map(([name, mebibytes]) => `${name} ${mebibytes.toFixed(0)}`);
  process.stdout.write(`resident, MiB: ${residents.join(', ')}\n`);
  for (const name of report.skipped) process.stdout.write(`skipped: ${name} is not installed\n`);
  for (const { workload, figures } of all) printBars(workload, figures);
  if (report.idle !== null) printIdle(report.idle);
  if (json) process.stdout.write(`${JSON.stringify(jsonReport(report, all))}\n`);
}

function tableRow(workload: Workload, one: Figures, figures: readonly Figures[]): string[] {
  const reference = find(figures, referenceOf(workload));
  const direct = find(figures, DIRECT);
  const notes: string[] = [];
  if (one.failed > 0) notes.push(`${one.failed} FAILED`);
  if (one.shareCores) notes.push('threads share a core');
  if (one.copiedFraction > 0) notes.push(`${text(one.copiedFraction * 100, 0)} % copied`);
  if (one.loadCoreBusy > LOAD_CORE_LIMIT) notes.push('load core full: req/s invalid');
  if (one.disturbed > 0) notes.push(`${one.disturbed} of ${one.rounds} runs disturbed`);
  return [
    workload.name,
    one.name,
    text(one.cpuUs, 2),
    text(one.cpuUs / (reference?.cpuUs ?? Number.NaN), 2),
    text(one.leastCpuUs, 2),
    text(one.p50Us, 0),
    direct === undefined || one === direct ? '' : text(one.p50Us - direct.p50Us, 0),
    text(one.p99Us, 0),
    text(one.requestsPerSecond, 0),
    `${text(one.loadCoreBusy * 100, 0)} %`,
    notes.join('; '),
  ];
}

function printBars(workload: Workload, figures: readonly Figures[]): void {
  const ours = find(figures, OURS);
  if (ours === undefined) return;
  if (workload.residentBarMiB !== null) {
    printBar(`${workload.name}: resident set in MiB`, ours.residentMiB, workload.residentBarMiB, 1);
  }
  const name = referenceOf(workload);
  const reference = find(figures, name);
  if (reference === undefined) return;
  if (workload.cpuBar !== null) {
    printBar(`${workload.name}: CPU per request, of ${name}'s`, ours.cpuUs / reference.cpuUs, workload.cpuBar, 2);
  }
  const direct = find(figures, DIRECT);
  if (direct === undefined || workload.requestsPerSecond !== null) return;
  const added = ours.p50Us - direct.p50Us;
  printBar(`${workload.name}: added p50 in us, ${name}'s being the bar`, added, reference.p50Us - direct.p50Us, 0);
}

/** Whom ours is held to: itself without the mirror, or haproxy. */
function referenceOf(workload: Workload): string {
  return workload.traffic === 'mirror' ? UNMIRRORED : REFERENCE;
}

function printIdle(idle: readonly IdleFigures[]): void {
  const { name, connections, addedBarMiB } = IDLE_WORKLOAD;
  for (const one of idle) {
    const missing = one.missing > 0 ? `, ${one.missing} FAILED` : '';
    const figures = `${text(one.addedMiB, 1)} MiB on ${text(one.beforeMiB, 1)}${missing}`;
    process.stdout.write(`${name}: ${connections} connections add to ${one.name} ${figures}\n`);
    if (one.name === OURS) printBar(`${name}: resident MiB added`, one.addedMiB, addedBarMiB, 1);
  }
}

function printBar(what: string, value: number, bar: number, digits: number): void {
  const verdict = value <= bar ? 'met' : `MISSED by ${text((value / bar - 1) * 100, 0)} %`;
  process.stdout.write(`bar ${what}: ${text(value, digits)} (at most ${text(bar, digits)}): ${verdict}\n`);
}

function jsonReport(
  report: RelayReport,
  all: readonly { workload: Workload; figures: readonly Figures[] }[],
): Record<string, unknown> {
  const workload: Record<string, unknown> = Object.fromEntries(
    all.map((one) => [one.workload.name, jsonWorkload(one.figures)]),
  );
  if (report.idle !== null) workload[IDLE_WORKLOAD.name] = jsonIdle(report.idle);
  const rssMiB = Object.fromEntries([...report.residents].map(([name, value]) => [name, rounded(value, 1)]));
  return { workload, rssMiB, ...(report.skipped.size > 0 && { skipped: [...report.skipped] }) };
}

function jsonWorkload(figures: readonly Figures[]): Record<string, unknown> {
  const by = (pick: (one: Figures) => number, digits: number, names = figures): Record<string, number | null> =>
    Object.fromEntries(names.map((one) => [one.name, rounded(pick(one), digits)]));
  const proxies = figures.filter((one) => one.name !== DIRECT);
  const direct = find(figures, DIRECT);
  return {
    cpuUsPerRequest: by((one) => one.cpuUs, 3, proxies),
    leastCpuUsPerRequest: by((one) => one.leastCpuUs, 3, proxies),
    p50Us: by((one) => one.p50Us, 1),
    p99Us: by((one) => one.p99Us, 1),
    ...(direct !== undefined && { addedP50Us: by((one) => one.p50Us - direct.p50Us, 1, proxies) }),
    // Null where the load generator was the limit.
    requestsPerSecond: by((one) => (one.loadCoreBusy > LOAD_CORE_LIMIT ? Number.NaN : one.requestsPerSecond), 0),
    loadCoreBusy: by((one) => one.loadCoreBusy, 2),
    // Of the requests, those whose copy the shadow answered.
    ...(figures.some((one) => one.copiedFraction > 0) && {
      copiedFraction: by((one) => one.copiedFraction, 3, proxies),
    }),
    rssMiB: by((one) => one.residentMiB, 1, proxies),
    ...(figures.some((one) => one.shareCores) && { threadsShareCores: true }),
    disturbedRuns: by((one) => one.disturbed, 0),
    failed: figures.reduce((sum, one) => sum + one.failed, 0),
  };
}

function jsonIdle(idle: readonly IdleFigures[]): Record<string, unknown> {
  const by = (pick: (one: IdleFigures) => number): Record<string, number | null> =>
    Object.fromEntries(idle.map((one) => [one.name, rounded(pick(one), 2)]));
  return {
    addedMiB: by((one) => one.addedMiB),
    kibPerConnection: by((one) => (one.addedMiB * 1024) / IDLE_WORKLOAD.connections),
    beforeMiB: by((one) => one.beforeMiB),
    failed: idle.reduce((sum, one) => sum + one.missing, 0),
  };
}

function find(figures: readonly Figures[], name: string): Figures | undefined {
  return figures.find((one) => one.name === name);
}

function text(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : '-';
}
