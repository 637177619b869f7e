/**
 * What is counted of the compared pairs: sums per comparison and per cohort as plain data, added, merged and told.
 *
 * Sums cross threads by structured clone and merge by addition (maxima by maximum), so several observers' make one.
 */
import type { Comparison } from './comparison.ts';
import type { CohortFigures, ComparisonFigures, FaultCounts, SliceFigures } from './comparison-figures.ts';
import type { EvidenceSums, EvidenceTest } from './evidence.ts';
import { FAULT_KINDS } from './fault-kinds.ts';
import { addOutputs, type OutputTable, outputFigures } from './output-figures.ts';
import { quantileFigures, type SketchStates } from './quantile-figures.ts';
import { addScores, createScores, driftFigures, type ScoreSums } from './score-histogram.ts';

/** Sums over the pairs of one cohort, or over all of a comparison. */
export interface CohortSums {
  name: string;
  pairs: number;
  /** Rows whose agreement was judged, and how many of them agree: a row of many labels may agree in part. */
  rows: number;
  agreeing: number;
  maxAbs: number;
  absSum: number;
  absElements: number;
  /** Pairs with a fault, by kind in the order of FAULT_KINDS. */
  shadowFaults: Float64Array;
  primaryFaults: Float64Array;
  statusDifferences: number;
  latencyDifferenceSum: number;
  latencyPairs: number;
  /** How far the primary was from itself, over pairs in which it was asked twice. */
  noiseSum: number;
  noisePairs: number;
  /** Distances of pairs whose primary answered. */
  distanceSum: number;
  judgedPairs: number;
  /** Jensen-Shannon divergence of the rows' class vectors, natural logarithm. */
  vectorJsSum: number;
  vectorRows: number;
  evidence: EvidenceSums;
  /** Null until a score is seen. */
  scores: ScoreSums | null;
  outputs: OutputTable;
  /** As of the last report; null without. */
  sketches: SketchStates | null;
}

/** Sums of one shadow against one primary cluster of a model. */
export interface ComparisonSums {
  model: string;
  primary: string;
  shadow: string;
  rule: string;
  total: CohortSums;
  cohorts: CohortSums[];
  /** Found slices. They do not add up: merging lists those of both, see figures-merge.ts. */
  slices: readonly SliceFigures[];
}

export function createCohortSums(name: string, evidence: EvidenceSums): CohortSums {
  return {
    name,
    pairs: 0,
    rows: 0,
    agreeing: 0,
    maxAbs: 0,
    absSum: 0,
    absElements: 0,
    shadowFaults: new Float64Array(FAULT_KINDS.length),
    primaryFaults: new Float64Array(FAULT_KINDS.length),
    statusDifferences: 0,
    latencyDifferenceSum: 0,
    latencyPairs: 0,
    noiseSum: 0,
    noisePairs: 0,
    distanceSum: 0,
    judgedPairs: 0,
    vectorJsSum: 0,
    vectorRows: 0,
    evidence,
    scores: null,
    outputs: new Map(),
    sketches: null,
  };
}

/**
 * Counts a pair, or the part of it that belongs to one cohort: its rows are `order[from .. to)`. Several rows of one pair
 * are one pair, whose distance is their mean. `noise` is the primary against itself on the same request, if it was asked
 * again; a noise-corrected test takes its distance off, and has no use for pairs without it.
 */
export function addComparison(
  sums: CohortSums,
  comparison: Comparison,
  order: Int32Array,
  from: number,
  to: number,
  test: EvidenceTest,
  noise: Comparison | null = null,
): void {
  sums.pairs++;
  if (comparison.statusDiffers) sums.statusDifferences++;
  if (!Number.isNaN(comparison.latencyDifferenceMs)) {
    sums.latencyDifferenceSum += comparison.latencyDifferenceMs;
    sums.latencyPairs++;
  }
  let shadowFaults = comparison.shadowFaults;
  let primaryFaults = comparison.primaryFaults;
  let distance = 0;
  let judged = 0;
  for (let i = from; i < to; i++) {
    const row = order[i]!;
    shadowFaults |= comparison.rowShadowFaults[row]!;
    primaryFaults |= comparison.rowPrimaryFaults[row]!;
    addRow(sums, comparison, row);
    const rowDistance = comparison.distance(row);
    if (rowDistance >= 0) {
      distance += rowDistance;
      judged++;
    }
  }
  addOutputs(sums.outputs, comparison.outputs, comparison.outputCount, order, from, to);
  countFaults(sums.shadowFaults, shadowFaults);
  countFaults(sums.primaryFaults, primaryFaults);
  if (judged === 0) return;
  sums.distanceSum += distance / judged;
  sums.judgedPairs++;
  // Limits that were changed begin a new test; what the old ones had shown says nothing about the new.
  if (!test.fits(sums.evidence)) sums.evidence = test.createSums();
  const own = noise === null ? -1 : meanDistance(noise, order, from, to);
  if (own >= 0) {
    sums.noiseSum += own;
    sums.noisePairs++;
  }
  if (!test.isCorrected) test.add(sums.evidence, distance / judged);
  else if (own >= 0) test.add(sums.evidence, distance / judged - own);
}

/** Mean distance of some rows; -1 where none can be judged. */
function meanDistance(comparison: Comparison, order: Int32Array, from: number, to: number): number {
  let sum = 0;
  let judged = 0;
  for (let i = from; i < to; i++) {
    const distance = order[i]! < comparison.rows ? comparison.distance(order[i]!) : -1;
    if (distance < 0) continue;
    sum += distance;
    judged++;
  }
  return judged === 0 ? -1 : sum / judged;
}

function addRow(sums: CohortSums, comparison: Comparison, row: number): void {
  const agreement = comparison.rowAgreement[row]!;
  if (agreement >= 0) {
    sums.rows++;
    sums.agreeing += agreement;
  }
  sums.maxAbs = Math.max(sums.maxAbs, comparison.rowMaxAbs[row]!);
  sums.absSum += comparison.rowAbsSum[row]!;
  sums.absElements += comparison.rowAbsElements[row]!;
  if (comparison.rowVectorJs[row]! >= 0) {
    sums.vectorJsSum += comparison.rowVectorJs[row]!;
    sums.vectorRows++;
  }
  if (comparison.hasScores) {
    sums.scores ??= createScores();
    addScores(sums.scores, comparison.rowPrimaryScore[row]!, comparison.rowShadowScore[row]!);
  }
}

function countFaults(counts: Float64Array, bits: number): void {
  for (let kind = 0; bits !== 0; kind++, bits >>>= 1) counts[kind]! += bits & 1;
}

/** The figures of a comparison for the admin API: plain JSON without NaN or Infinity. */
export function comparisonFigures(sums: ComparisonSums, test: EvidenceTest): ComparisonFigures {
  const { model, primary, shadow, rule } = sums;
  return {
    model,
    primary,
    shadow,
    rule,
    ...cohortFigures(sums.total, test),
    slices: sums.slices,
    byCohort: Object.fromEntries(sums.cohorts.map((cohort) => [cohort.name, cohortFigures(cohort, test)])),
  };
}

function cohortFigures(sums: CohortSums, test: EvidenceTest): CohortFigures {
  return {
    pairs: sums.pairs,
    rows: sums.rows,
    agreement: mean(sums.agreeing, sums.rows),
    maxAbsDifference: sums.maxAbs,
    meanAbsDifference: mean(sums.absSum, sums.absElements),
    faults: faultCounts(sums.shadowFaults),
    primaryFaults: faultCounts(sums.primaryFaults),
    statusDifferences: sums.statusDifferences,
    latencyDifferenceMs: mean(sums.latencyDifferenceSum, sums.latencyPairs),
    divergence: mean(sums.distanceSum, sums.judgedPairs),
    noiseFloor: mean(sums.noiseSum, sums.noisePairs),
    vectorJsDivergence: mean(sums.vectorJsSum, sums.vectorRows),
    scores: sums.scores === null ? null : driftFigures(sums.scores),
    outputs: outputFigures(sums.outputs),
    quantiles: quantileFigures(sums.sketches),
    evidence: test.figures(test.fits(sums.evidence) ? sums.evidence : test.createSums()),
  };
}

function mean(sum: number, count: number): number | null {
  // Doubles near their limit can overflow a sum, and JSON has no infinity.
  return count === 0 || !Number.isFinite(sum) ? null : sum / count;
}

function faultCounts(counts: Float64Array): FaultCounts {
  const named = FAULT_KINDS.map((kind, i): [string, number] => [kind, counts[i]!]);
  return Object.fromEntries(named.filter(([, count]) => count > 0));
}
