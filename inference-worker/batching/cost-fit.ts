/**
 * What a run costs as a straight line, `a * rows + b`: b is what a batch saves when it joins another. Least squares over the
 * runs, older ones fading: the last hundred or so count. A run much longer than expected counts only as far as is credible, because a
 * busy machine adds time that is not the model's. While all runs have one size the slope is kept and the line is moved.
 */

/** Weight the past keeps with each run. */
const MEMORY = 0.98;
/** A run counts as at most this many times what was expected. */
const MOST_SURPRISE = 3;
/** Spread of sizes, in rows squared, below which runs say nothing about the slope. */
const LEAST_VARIANCE = 0.25;

export class CostFit {
  /** Milliseconds per row and per batch; NaN before the first run. Never negative. */
  msPerRow = Number.NaN;
  msPerBatch = Number.NaN;
  private weight = 0;
  private rows = 0;
  private ms = 0;
  private rowsRows = 0;
  private rowsMs = 0;

  /** A run of `rows` rows took `ms` milliseconds. */
  record(rows: number, ms: number): void {
    const expected = this.estimateMs(rows);
    const believed = expected > 0 ? Math.min(ms, expected * MOST_SURPRISE) : ms;
    this.weight = this.weight * MEMORY + 1;
    this.rows = this.rows * MEMORY + rows;
    this.ms = this.ms * MEMORY + believed;
    this.rowsRows = this.rowsRows * MEMORY + rows * rows;
    this.rowsMs = this.rowsMs * MEMORY + rows * believed;
    this.fit();
  }

  /** Milliseconds expected of a run of `rows` rows; NaN before the first run. */
  estimateMs(rows: number): number {
    return this.msPerRow * rows + this.msPerBatch;
  }

  /** Most rows whose run is expected to take at most `ms`, at least 1; Infinity when nothing is known. */
  rowsWithin(ms: number): number {
    if (!(this.msPerRow > 0)) return Number.POSITIVE_INFINITY;
    return Math.max(1, Math.floor((ms - this.msPerBatch) / this.msPerRow));
  }

  private fit(): void {
    const meanRows = this.rows / this.weight;
    const meanMs = this.ms / this.weight;
    const variance = this.rowsRows / this.weight - meanRows * meanRows;
    if (variance >= LEAST_VARIANCE) {
      const slope = (this.rowsMs / this.weight - meanRows * meanMs) / variance;
      this.msPerRow = Math.min(Math.max(0, slope), meanMs / meanRows);
    } else if (Number.isNaN(this.msPerRow)) {
      // One size only: nothing says that joining would save anything.
      this.msPerRow = meanMs / meanRows;
    } else {
      this.msPerRow = Math.min(this.msPerRow, meanMs / meanRows);
    }
    this.msPerBatch = Math.max(0, meanMs - this.msPerRow * meanRows);
  }
}
