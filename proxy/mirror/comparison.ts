/**
 * What comparing one pair has found: faults and differences, by row. One object is used again for every pair.
 *
 * A row is one entry of the outputs' first dimension; answers without a batch dimension have one row. Rows beyond MAX_ROWS
 * are not judged, and what their numbers show is booked on the last row.
 */
import { Fault } from './fault-kinds.ts';
import { MAX_OUTPUTS, type OutputKind, OutputRows } from './output-rows.ts';

/** Rows of one answer that are told apart. */
export const MAX_ROWS = 65_536;
const FIRST_ROWS = 64;

/** What agreement means for a model: see label-rule.ts. */
export type AgreementRule = 'labels' | 'top_class' | 'threshold' | 'tolerance' | 'none';

export class Comparison {
  /** Rows below are valid; 1 where nothing could be read. */
  rows = 1;
  rule: AgreementRule = 'none';
  /** The primary gave an answer that can be read, so the shadow can be held against it. */
  primaryUsable = false;
  /** The shadow failed the call. */
  shadowFailed = false;
  /** One side failed and the other did not. */
  statusDiffers = false;
  /** Shadow minus primary, milliseconds; NaN unless both answered. */
  latencyDifferenceMs = Number.NaN;
  /** Faults of whole answers, as bits of `Fault`. */
  shadowFaults: number = Fault.NONE;
  primaryFaults: number = Fault.NONE;
  hasScores = false;
  rowShadowFaults = new Uint8Array(FIRST_ROWS);
  rowPrimaryFaults = new Uint8Array(FIRST_ROWS);
  /** Share of the row's labels that agree, 0..1; -1 where it was not judged. */
  rowAgreement = new Float64Array(FIRST_ROWS);
  rowMaxAbs = new Float64Array(FIRST_ROWS);
  rowAbsSum = new Float64Array(FIRST_ROWS);
  rowAbsElements = new Float64Array(FIRST_ROWS);
  /** Jensen-Shannon divergence of the row's class vectors (natural logarithm, their mean if several); -1 without. */
  rowVectorJs = new Float64Array(FIRST_ROWS);
  /** The row's score on both sides, NaN without. */
  rowPrimaryScore = new Float64Array(FIRST_ROWS);
  rowShadowScore = new Float64Array(FIRST_ROWS);

  /** Outputs by themselves: `outputs[0 .. outputCount)`. */
  readonly outputs: OutputRows[] = [];
  outputCount = 0;

  /** The next output's rows; null where there are too many outputs to tell apart. */
  beginOutput(name: string, kind: OutputKind): OutputRows | null {
    if (this.outputCount >= MAX_OUTPUTS) return null;
    if (this.outputCount === this.outputs.length) this.outputs.push(new OutputRows());
    const output = this.outputs[this.outputCount++]!;
    output.begin(name, kind, this.rows);
    return output;
  }

  /** Forgets the last pair; the rows are set by `setRows`. */
  reset(): void {
    this.outputCount = 0;
    this.rule = 'none';
    this.primaryUsable = false;
    this.shadowFailed = false;
    this.statusDiffers = false;
    this.latencyDifferenceMs = Number.NaN;
    this.shadowFaults = Fault.NONE;
    this.primaryFaults = Fault.NONE;
    this.hasScores = false;
    this.setRows(1);
  }

  /** Makes room for `rows` rows (bounded by MAX_ROWS) and clears them. */
  setRows(rows: number): void {
    this.rows = Math.max(1, Math.min(rows, MAX_ROWS));
    if (this.rows > this.rowAgreement.length) this.grow();
    // A loop, because most answers have one row and nine calls to fill cost more than the comparison.
    for (let row = 0; row < this.rows; row++) {
      this.rowShadowFaults[row] = Fault.NONE;
      this.rowPrimaryFaults[row] = Fault.NONE;
      this.rowAgreement[row] = -1;
      this.rowMaxAbs[row] = 0;
      this.rowAbsSum[row] = 0;
      this.rowAbsElements[row] = 0;
      this.rowVectorJs[row] = -1;
      this.rowPrimaryScore[row] = Number.NaN;
      this.rowShadowScore[row] = Number.NaN;
    }
  }

  /**
   * Distance of a row, 0..1: its disagreement, and 1 where the shadow failed or shows a fault that the primary's row does
   * not show; -1 where there is nothing to hold it against.
   */
  distance(row: number): number {
    if (!this.primaryUsable) return -1;
    if (this.shadowFailed || this.shadowFaults !== Fault.NONE) return 1;
    if ((this.rowShadowFaults[row]! & ~this.rowPrimaryFaults[row]!) !== 0) return 1;
    const agreement = this.rowAgreement[row]!;
    return agreement < 0 ? -1 : 1 - agreement;
  }

  private grow(): void {
    const room = Math.min(MAX_ROWS, 2 ** Math.ceil(Math.log2(this.rows)));
    this.rowShadowFaults = new Uint8Array(room);
    this.rowPrimaryFaults = new Uint8Array(room);
    this.rowAgreement = new Float64Array(room);
    this.rowMaxAbs = new Float64Array(room);
    this.rowAbsSum = new Float64Array(room);
    this.rowAbsElements = new Float64Array(room);
    this.rowVectorJs = new Float64Array(room);
    this.rowPrimaryScore = new Float64Array(room);
    this.rowShadowScore = new Float64Array(room);
  }
}
