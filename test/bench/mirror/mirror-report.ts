/** The mirror bench's report: a row for each behaviour, held to the run without a shadow of the same round. */
import { leastBeyondChance, median, rounded } from '../measure/statistics.ts';
import { renderTable } from '../measure/text-table.ts';
import type { RelayRun } from '../relay/relay-run.ts';
import type { MirrorCase } from './mirror-bench.ts';
import { total, unaccounted } from './mirror-figures.ts';
import { SHADOW_CONTROL, SHADOW_OFF } from './shadow-behaviours.ts';

/** A shadow that changes nothing has the largest p99 of three in a third of the rounds. */
const BY_CHANCE = 1 / 3;
/** How often such a shadow may be said to change something. */
const ALPHA = 0.05;

interface Figures {
  readonly name: string;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Median of the rounds' ratios. */
  readonly p50Ratio: number;
  readonly p99Ratio: number;
  /** The two ends of the rounds' ratios: what noise there is. */
  readonly p99RatioLeast: number;
  readonly p99RatioMost: number;
  /** Rounds in which p99 was above both runs without a shadow; 0 for those themselves. */
  readonly roundsAbove: number;
  readonly cpuUs: number;
  /** Share of the core of load, backend and shadow that was taken. */
  readonly loadCoreBusy: number;
  readonly disturbed: number;
}

export function printMirrorReport(cases: readonly MirrorCase[], json: boolean): void {
  const off = cases.find(({ name }) => name === SHADOW_OFF)!;
  const control = cases.find(({ name }) => name === SHADOW_CONTROL)!;
  const figures = cases.map((one) => figuresOf(one, off, control));
  const rounds = off.runs.length;
  const beyond = leastBeyondChance(rounds, BY_CHANCE, ALPHA);
  const rows = cases.map((one, i) => tableRow(one, figures[i]!));
  const head = [
    'shadow',
    '',
    'p50 us',
    'p99 us',
    'p99 ratio',
    'rounds',
    'above',
    'CPU us/req',
    'load core',
    'RSS MiB',
    'drops by reason',
  ];
  process.stdout.write(`\n${renderTable(head, rows)}\n`);
  process.stdout.write(
    'p99 ratio: median of those to the run of the same round without a shadow; rounds: least and most of them\n' +
      `above: rounds of ${rounds} with a p99 above both runs without a shadow; by chance ${(rounds * BY_CHANCE).toFixed(0)}, ` +
      `beyond noise from ${beyond} on\n`,
  );
  for (const one of cases.filter(({ counts }) => counts !== null)) {
    const lost = unaccounted(one.requests, one.counts!);
    if (lost > 0) process.stdout.write(`${one.name}: ${lost} requests are NOT accounted for\n`);
  }
  if (json) process.stdout.write(`${JSON.stringify(jsonReport(cases, figures, beyond))}\n`);
}

function figuresOf({ name, runs }: MirrorCase, off: MirrorCase, control: MirrorCase): Figures {
  const over = (pick: (run: RelayRun) => number): number => median(runs.map(pick));
  const ratios = (pick: (run: RelayRun) => number): number[] =>
    runs.map((run, round) => pick(run) / pick(off.runs[round]!));
  const p99 = ratios((run) => run.p99Us);
  return {
    name,
    p50Us: over((run) => run.p50Us),
    p99Us: over((run) => run.p99Us),
    p50Ratio: median(ratios((run) => run.p50Us)),
    p99Ratio: median(p99),
    p99RatioLeast: Math.min(...p99),
    p99RatioMost: Math.max(...p99),
    roundsAbove: runs.filter((run, i) => run.p99Us > Math.max(off.runs[i]!.p99Us, control.runs[i]!.p99Us)).length,
    cpuUs: over((run) => run.cpuUsPerRequest),
    loadCoreBusy: over((run) => run.loadCoreBusy),
    disturbed: runs.filter((run) => run.disturbed).length,
  };
}

function tableRow({ name, failed, beforeMiB, afterMiB, counts, runs }: MirrorCase, figures: Figures): string[] {
  const notes: string[] = [];
  if (failed > 0) notes.push(`${failed} FAILED`);
  if (figures.disturbed > 0) notes.push(`${figures.disturbed} of ${runs.length} disturbed`);
  const isOff = name === SHADOW_OFF;
  const drops = Object.entries(counts?.drops ?? {}).map(([reason, count]) => `${reason} ${count}`);
  return [
    name,
    notes.join('; '),
    figures.p50Us.toFixed(0),
    figures.p99Us.toFixed(0),
    isOff ? '' : figures.p99Ratio.toFixed(2),
    isOff ? '' : `${figures.p99RatioLeast.toFixed(2)}-${figures.p99RatioMost.toFixed(2)}`,
    counts === null ? '' : String(figures.roundsAbove),
    figures.cpuUs.toFixed(1),
    `${(figures.loadCoreBusy * 100).toFixed(0)} %`,
    `${beforeMiB.toFixed(0)}-${afterMiB.toFixed(0)}`,
    drops.join(', '),
  ];
}

function jsonReport(
  cases: readonly MirrorCase[],
  figures: readonly Figures[],
  beyond: number,
): Record<string, unknown> {
  const shadows = cases.map((one, i) => {
    const {
      p50Us,
      p99Us,
      p50Ratio,
      p99Ratio,
      p99RatioLeast,
      p99RatioMost,
      roundsAbove,
      cpuUs,
      loadCoreBusy,
      disturbed,
    } = figures[i]!;
    const { counts, requests, failed, beforeMiB, afterMiB } = one;
    return [
      one.name,
      {
        p50Us: rounded(p50Us, 1),
        p99Us: rounded(p99Us, 1),
        ...(one.name !== SHADOW_OFF && {
          p50Ratio: rounded(p50Ratio, 3),
          p99Ratio: rounded(p99Ratio, 3),
          p99RatioOfRounds: [rounded(p99RatioLeast, 3), rounded(p99RatioMost, 3)],
        }),
        cpuUsPerRequest: rounded(cpuUs, 2),
        loadCoreBusy: rounded(loadCoreBusy, 3),
        rssMiB: { before: rounded(beforeMiB, 1), after: rounded(afterMiB, 1) },
        requests,
        failed,
        ...(counts !== null && {
          roundsAbove,
          beyondNoise: roundsAbove >= beyond,
          shown: counts.shown,
          cut: counts.cut,
          dropped: total(counts.drops),
          drops: counts.drops,
          comparisons: counts.results,
          unaccounted: unaccounted(requests, counts),
        }),
        disturbedRuns: disturbed,
      },
    ];
  });
  return { mirror: Object.fromEntries(shadows) };
}
