/** Sums of several observers made one: whoever watches a fleet adds up what its sidecars report. */
import type { EvidenceTest } from './evidence.ts';
import { FAULT_KINDS } from './fault-kinds.ts';
import { type CohortSums, type ComparisonSums, createCohortSums } from './figures.ts';
import { mergeOutputs } from './output-figures.ts';
import { mergeStates, QuantileSketches, restoreSketches, sketchStates } from './quantiles.ts';
import { createScores, mergeScores } from './score-histogram.ts';

const MAX_MERGED_SLICES = 16;

/** Adds another observer's comparison of the same three names. Cohorts that `into` lacks are appended. */
export function mergeComparison(into: ComparisonSums, from: ComparisonSums, test: EvidenceTest): void {
  mergeCohort(into.total, from.total, test);
  if (into.rule === 'none') into.rule = from.rule;
  into.slices = [...into.slices, ...from.slices].slice(0, MAX_MERGED_SLICES);
  for (const cohort of from.cohorts) {
    let known = into.cohorts.find(({ name }) => name === cohort.name);
    if (known === undefined) {
      known = createCohortSums(cohort.name, test.createSums());
      into.cohorts.push(known);
    }
    mergeCohort(known, cohort, test);
  }
}

function mergeCohort(into: CohortSums, from: CohortSums, test: EvidenceTest): void {
  into.pairs += from.pairs;
  into.rows += from.rows;
  into.agreeing += from.agreeing;
  into.maxAbs = Math.max(into.maxAbs, from.maxAbs);
  into.absSum += from.absSum;
  into.absElements += from.absElements;
  for (let i = 0; i < FAULT_KINDS.length; i++) {
    into.shadowFaults[i]! += from.shadowFaults[i]!;
    into.primaryFaults[i]! += from.primaryFaults[i]!;
  }
  into.statusDifferences += from.statusDifferences;
  into.latencyDifferenceSum += from.latencyDifferenceSum;
  into.latencyPairs += from.latencyPairs;
  into.noiseSum += from.noiseSum;
  into.noisePairs += from.noisePairs;
  into.distanceSum += from.distanceSum;
  into.judgedPairs += from.judgedPairs;
  into.vectorJsSum += from.vectorJsSum;
  into.vectorRows += from.vectorRows;
  if (test.fits(into.evidence) && test.fits(from.evidence)) test.merge(into.evidence, from.evidence);
  mergeOutputs(into.outputs, from.outputs);
  if (from.sketches !== null) {
    const sketches = into.sketches === null ? new QuantileSketches() : restoreSketches(into.sketches);
    mergeStates(sketches, from.sketches);
    into.sketches = sketchStates(sketches);
  }
  if (from.scores === null) return;
  into.scores ??= createScores();
  mergeScores(into.scores, from.scores);
}
