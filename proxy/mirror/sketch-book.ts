/**
 * The live sketches of the analysis thread, by the sums they belong to. Bounded: a set takes up to 64 KiB, so the first
 * MAX_SKETCHED comparisons and cohorts have them and later ones do without.
 */
import type { Comparison } from './comparison.ts';
import type { CohortSums } from './figures.ts';
import type { PairRecord } from './pair-record.ts';
import { addValue, QuantileSketches, restoreSketches, sketchStates } from './quantiles.ts';

export const MAX_SKETCHED = 512;
const OK = 0;

export class SketchBook {
  private readonly sketches = new Map<CohortSums, QuantileSketches>();

  /** Adds what a pair shows of the rows `order[from .. to)`. */
  add(sums: CohortSums, pair: PairRecord, comparison: Comparison, order: Int32Array, from: number, to: number): void {
    const sketches = this.of(sums);
    if (sketches === null) return;
    if (pair.primaryStatus === OK) addValue(sketches.primaryLatency, pair.primaryLatencyMs);
    if (pair.shadowStatus === OK) addValue(sketches.shadowLatency, pair.shadowLatencyMs);
    if (!comparison.hasScores) return;
    for (let i = from; i < to; i++) {
      addValue(sketches.primaryScore, comparison.rowPrimaryScore[order[i]!]!);
      addValue(sketches.shadowScore, comparison.rowShadowScore[order[i]!]!);
    }
  }

  /** Writes the sketches of `sums` into it, for a report. */
  write(sums: CohortSums): void {
    const sketches = this.sketches.get(sums);
    if (sketches !== undefined) sums.sketches = sketchStates(sketches);
  }

  forget(sums: CohortSums): void {
    this.sketches.delete(sums);
  }

  private of(sums: CohortSums): QuantileSketches | null {
    const known = this.sketches.get(sums);
    if (known !== undefined) return known;
    if (this.sketches.size >= MAX_SKETCHED) return null;
    const sketches = sums.sketches === null ? new QuantileSketches() : restoreSketches(sums.sketches);
    this.sketches.set(sums, sketches);
    return sketches;
  }
}
