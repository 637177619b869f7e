/**
 * What a run costs by its number of rows, learnt from the runs themselves.
 *
 * One figure per power of two of rows. A figure falls at once and rises by at most 1/32 a run, because a busy machine only
 * ever adds time: a model that really became slower is believed after some tens of runs, one pause of the process is not.
 * Between known sizes cost is interpolated linearly; beyond the largest it is extrapolated from the
 * two largest, and never below the largest's own. Imprecise on purpose: it decides where to run and when to stop waiting.
 */

/** Sizes up to 2^30 rows. */
const BUCKETS = 31;
const RISE_PER_RUN = 1 / 32;

export class CostModel {
  /** Milliseconds by bucket, NaN where nothing ran, and the rows of the run they were taken from. */
  private readonly ms = new Float64Array(BUCKETS).fill(Number.NaN);
  private readonly rows = new Float64Array(BUCKETS);
  private largest = -1;

  /** A run of `rows` rows took `ms` milliseconds. */
  record(rows: number, ms: number): void {
    const bucket = 31 - Math.clz32(rows);
    const known = this.ms[bucket];
    if (bucket > this.largest) this.largest = bucket;
    if (Number.isNaN(known) || ms <= known * (1 + RISE_PER_RUN)) {
      this.ms[bucket] = ms;
      this.rows[bucket] = rows;
    } else {
      this.ms[bucket] = known * (1 + RISE_PER_RUN);
    }
  }

  /** Expected milliseconds of a run of `rows` rows; NaN before the first record. */
  estimateMs(rows: number): number {
    if (this.largest < 0) return Number.NaN;
    const below = this.knownAtMost(31 - Math.clz32(rows), rows);
    const above = this.knownAtLeast(31 - Math.clz32(rows), rows);
    if (below < 0) return this.ms[above];
    if (above < 0) return this.beyond(below, rows);
    if (above === below) return this.ms[below];
    const share = (rows - this.rows[below]) / (this.rows[above] - this.rows[below]);
    return this.ms[below] + share * (this.ms[above] - this.ms[below]);
  }

  /** Rows of the largest size that ran; 0 before the first record. */
  get largestRows(): number {
    return this.largest < 0 ? 0 : this.rows[this.largest];
  }

  /** Milliseconds of the costliest size that ran; 0 before the first record. */
  get worstMs(): number {
    let worst = 0;
    for (let i = 0; i <= this.largest; i++) if (this.ms[i] > worst) worst = this.ms[i];
    return worst;
  }

  private beyond(largest: number, rows: number): number {
    const smaller = this.knownAtMost(largest - 1, rows);
    if (smaller < 0) return this.ms[largest] * (rows / this.rows[largest]);
    const slope = (this.ms[largest] - this.ms[smaller]) / (this.rows[largest] - this.rows[smaller]);
    return this.ms[largest] + Math.max(0, slope) * (rows - this.rows[largest]);
  }

  private knownAtMost(bucket: number, rows: number): number {
    for (let i = bucket; i >= 0; i--) if (!Number.isNaN(this.ms[i]) && this.rows[i] <= rows) return i;
    return -1;
  }

  private knownAtLeast(bucket: number, rows: number): number {
    for (let i = bucket; i <= this.largest; i++) if (!Number.isNaN(this.ms[i]) && this.rows[i] >= rows) return i;
    return -1;
  }
}
