/**
 * What comparing one output of one pair has found, by row: the distance that fits what the output holds.
 *
 *   labels        share of the row's labels that differ
 *   class_scores  Jensen-Shannon divergence in parts of its largest value (ln 2), and whether the leading class changed
 *   numbers       share of the elements outside the tolerance; absolute and relative differences
 *
 * One object is used again for every pair. A row without a distance (a primary's NaN, say) has -1.
 */

export type OutputKind = 'labels' | 'class_scores' | 'numbers';

/** Outputs of one model that are told apart; further ones count in the whole only. */
export const MAX_OUTPUTS = 16;
/** Rows of one answer that are told apart by output; further ones count in the whole only. */
export const MAX_OUTPUT_ROWS = 4096;

export class OutputRows {
  name = '';
  kind: OutputKind = 'numbers';
  rows = 0;
  /** The shadow's answer lacks the output, or has it in another type or shape. */
  mismatched = false;
  distance = new Float64Array(16);
  /** Share of the row's class vectors whose leading class changed; -1 without. */
  flips = new Float64Array(16);
  js = new Float64Array(16);
  /** Kullback-Leibler divergence of the shadow's vectors from the primary's. */
  kl = new Float64Array(16);
  absSum = new Float64Array(16);
  absMax = new Float64Array(16);
  /** Sum of |shadow - primary| / |primary| over elements whose primary is not 0. */
  relativeSum = new Float64Array(16);
  elements = new Float64Array(16);
  relativeElements = new Float64Array(16);

  begin(name: string, kind: OutputKind, rows: number): void {
    this.name = name;
    this.kind = kind;
    this.rows = Math.min(rows, MAX_OUTPUT_ROWS);
    this.mismatched = false;
    if (this.rows > this.distance.length) this.grow();
    for (let row = 0; row < this.rows; row++) {
      this.distance[row] = -1;
      this.flips[row] = -1;
      this.js[row] = -1;
      this.kl[row] = -1;
      this.absSum[row] = 0;
      this.absMax[row] = 0;
      this.relativeSum[row] = 0;
      this.elements[row] = 0;
      this.relativeElements[row] = 0;
    }
  }

  private grow(): void {
    const room = 2 ** Math.ceil(Math.log2(this.rows));
    this.distance = new Float64Array(room);
    this.flips = new Float64Array(room);
    this.js = new Float64Array(room);
    this.kl = new Float64Array(room);
    this.absSum = new Float64Array(room);
    this.absMax = new Float64Array(room);
    this.relativeSum = new Float64Array(room);
    this.elements = new Float64Array(room);
    this.relativeElements = new Float64Array(room);
  }
}
