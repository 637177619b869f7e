/** Quantile sketches as plain data: what crosses threads and what is told. Apart from quantiles.ts, which loads the library. */

/** What is sketched: scores, and latencies in milliseconds, of both sides. */
export type SketchName = 'primaryScore' | 'shadowScore' | 'primaryLatency' | 'shadowLatency';

/** Quantiles within 1 % of a value that was seen. */
export interface QuantileFigures {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
}

export interface SketchState {
  /** Buckets as the library writes them. */
  readonly bytes: Uint8Array;
  readonly sum: number;
  readonly figures: QuantileFigures;
}

export type SketchStates = Readonly<Partial<Record<SketchName, SketchState>>>;

/** What the admin API tells; names of which nothing was seen are left out. */
export function quantileFigures(states: SketchStates | null): Readonly<Partial<Record<SketchName, QuantileFigures>>> {
  const entries = Object.entries(states ?? {}).map(([name, { figures }]) => [name, figures]);
  return Object.fromEntries(entries);
}
