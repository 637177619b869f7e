/** Sums of the distances of single outputs, mergeable, and what the admin API tells of them. */
import { MAX_OUTPUTS, type OutputKind, type OutputRows } from './output-rows.ts';

/** Sums over the rows of one output. */
export interface OutputSums {
  kind: OutputKind;
  /** Pairs whose shadow lacks the output or has it in another type or shape. */
  mismatches: number;
  rows: number;
  distance: number;
  flipRows: number;
  flips: number;
  vectorRows: number;
  js: number;
  kl: number;
  absSum: number;
  absMax: number;
  elements: number;
  relativeSum: number;
  relativeElements: number;
}

/** By output name, at most MAX_OUTPUTS of them: names are whatever an upstream writes. */
export type OutputTable = Map<string, OutputSums>;

/** One output's figures. Fractions are 0..1, null where the output has no such measure. */
export interface OutputFigures {
  readonly kind: OutputKind;
  readonly mismatches: number;
  readonly rows: number;
  /** Mean distance 0..1 of the rows: see output-rows.ts. */
  readonly distance: number | null;
  /** Share of labels or leading classes that changed. */
  readonly labelFlips: number | null;
  readonly jsDivergence: number | null;
  readonly klDivergence: number | null;
  readonly meanAbsDifference: number | null;
  readonly maxAbsDifference: number | null;
  readonly meanRelativeDifference: number | null;
}

function createSums(kind: OutputKind): OutputSums {
  return {
    kind,
    mismatches: 0,
    rows: 0,
    distance: 0,
    flipRows: 0,
    flips: 0,
    vectorRows: 0,
    js: 0,
    kl: 0,
    absSum: 0,
    absMax: 0,
    elements: 0,
    relativeSum: 0,
    relativeElements: 0,
  };
}

function sumsOf(table: OutputTable, name: string, kind: OutputKind): OutputSums | null {
  let sums = table.get(name);
  if (sums !== undefined) return sums;
  if (table.size >= MAX_OUTPUTS) return null;
  sums = createSums(kind);
  table.set(name, sums);
  return sums;
}

/** Adds rows `order[from .. to)` of each output. */
export function addOutputs(
  table: OutputTable,
  outputs: readonly OutputRows[],
  count: number,
  order: Int32Array,
  from: number,
  to: number,
): void {
  for (let i = 0; i < count; i++) {
    const output = outputs[i]!;
    const sums = sumsOf(table, output.name, output.kind);
    if (sums === null) continue;
    if (output.mismatched) sums.mismatches++;
    for (let at = from; at < to; at++) if (order[at]! < output.rows) addRow(sums, output, order[at]!);
  }
}

function addRow(sums: OutputSums, output: OutputRows, row: number): void {
  const distance = output.distance[row]!;
  if (distance >= 0) {
    sums.rows++;
    sums.distance += distance;
  }
  if (output.flips[row]! >= 0) {
    sums.flipRows++;
    sums.flips += output.flips[row]!;
  }
  if (output.js[row]! >= 0) {
    sums.vectorRows++;
    sums.js += output.js[row]!;
    sums.kl += output.kl[row]!;
  }
  sums.absSum += output.absSum[row]!;
  sums.absMax = Math.max(sums.absMax, output.absMax[row]!);
  sums.elements += output.elements[row]!;
  sums.relativeSum += output.relativeSum[row]!;
  sums.relativeElements += output.relativeElements[row]!;
}

/** Adds another observer's sums. */
export function mergeOutputs(into: OutputTable, from: OutputTable): void {
  for (const [name, other] of from) {
    const sums = sumsOf(into, name, other.kind);
    if (sums === null) continue;
    const absMax = Math.max(sums.absMax, other.absMax);
    for (const key of Object.keys(sums) as (keyof OutputSums)[]) {
      if (key !== 'kind') sums[key] += other[key];
    }
    sums.absMax = absMax;
  }
}

export function outputFigures(table: OutputTable): Record<string, OutputFigures> {
  return Object.fromEntries(Array.from(table, ([name, sums]) => [name, figuresOf(sums)]));
}

function figuresOf(sums: OutputSums): OutputFigures {
  const { kind } = sums;
  return {
    kind,
    mismatches: sums.mismatches,
    rows: sums.rows,
    distance: mean(sums.distance, sums.rows),
    labelFlips: kind === 'labels' ? mean(sums.distance, sums.rows) : mean(sums.flips, sums.flipRows),
    jsDivergence: mean(sums.js, sums.vectorRows),
    klDivergence: mean(sums.kl, sums.vectorRows),
    meanAbsDifference: mean(sums.absSum, sums.elements),
    maxAbsDifference: sums.elements === 0 ? null : sums.absMax,
    meanRelativeDifference: mean(sums.relativeSum, sums.relativeElements),
  };
}

function mean(sum: number, count: number): number | null {
  return count === 0 || !Number.isFinite(sum) ? null : sum / count;
}
