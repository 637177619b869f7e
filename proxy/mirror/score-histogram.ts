/**
 * How scores are distributed on both sides: counts in fixed bins, and how far apart the two distributions are.
 *
 *   bin   0        1 .. 24            25 .. 44               45 .. 68          69
 *         < -2^24  -2^k, smallest last  [0, 1] in 20 parts   up to 2^1 .. 2^24  more
 *
 * The bins never change, so counts of several threads, sidecars and days are added exactly. Probabilities, which is what
 * most models answer, get twentieths; other numbers are known to their power of two.
 */

/** Parts of 0..1. */
const PARTS = 20;
/** Doublings beyond 1 on each side, the unbounded last one included. */
const DOUBLINGS = 25;
export const SCORE_BINS = DOUBLINGS + PARTS + DOUBLINGS;

/** Counts of both sides over the same rows, as plain data. */
export interface ScoreSums {
  readonly primary: Float64Array;
  readonly shadow: Float64Array;
}

/** Distances between two distributions of scores; logarithms are natural. They are for the eye, no gate rests on them. */
export interface DriftFigures {
  readonly rows: number;
  /** Population stability index. 0.1 is commonly read as a shift, 0.25 as a large one. */
  readonly psi: number;
  /** Kullback-Leibler divergence of the shadow's distribution from the primary's. */
  readonly klDivergence: number;
  /** Jensen-Shannon divergence, 0 to ln 2. */
  readonly jsDivergence: number;
  /** Bins that hold anything: upper border (null: unbounded), and how many rows of each side. */
  readonly bins: readonly { readonly upTo: number | null; readonly primary: number; readonly shadow: number }[];
}

export function createScores(): ScoreSums {
  return { primary: new Float64Array(SCORE_BINS), shadow: new Float64Array(SCORE_BINS) };
}

/** The bin of a finite score. */
export function scoreBin(score: number): number {
  if (score < 0) return DOUBLINGS - 1 - Math.min(DOUBLINGS - 1, Math.max(0, Math.ceil(Math.log2(-score))));
  if (score <= 1) return DOUBLINGS + Math.min(PARTS - 1, Math.floor(score * PARTS));
  return DOUBLINGS + PARTS - 1 + Math.min(DOUBLINGS, Math.ceil(Math.log2(score)));
}

/** Upper border of a bin; Infinity for the last. */
export function scoreBinUpper(bin: number): number {
  if (bin < DOUBLINGS) return bin === DOUBLINGS - 1 ? 0 : -(2 ** (DOUBLINGS - 2 - bin));
  if (bin < DOUBLINGS + PARTS) return (bin - DOUBLINGS + 1) / PARTS;
  return bin === SCORE_BINS - 1 ? Number.POSITIVE_INFINITY : 2 ** (bin - DOUBLINGS - PARTS + 1);
}

/** Counts one row; a score that is not finite on either side belongs to the faults and is left out. */
export function addScores(sums: ScoreSums, primary: number, shadow: number): void {
  if (!Number.isFinite(primary) || !Number.isFinite(shadow)) return;
  sums.primary[scoreBin(primary)]!++;
  sums.shadow[scoreBin(shadow)]!++;
}

export function mergeScores(into: ScoreSums, from: ScoreSums): void {
  for (let i = 0; i < SCORE_BINS; i++) {
    into.primary[i]! += from.primary[i]!;
    into.shadow[i]! += from.shadow[i]!;
  }
}

/** How far apart the two sides are. Bins used by either side take part; an empty side counts as half a row there. */
export function driftFigures(sums: ScoreSums): DriftFigures {
  const used: number[] = [];
  let rows = 0;
  for (let i = 0; i < SCORE_BINS; i++) {
    rows += sums.primary[i]!;
    if (sums.primary[i]! > 0 || sums.shadow[i]! > 0) used.push(i);
  }
  const p = shares(sums.primary, used);
  const q = shares(sums.shadow, used);
  let psi = 0;
  let kl = 0;
  let js = 0;
  for (let i = 0; i < used.length; i++) {
    const logRatio = Math.log(q[i]! / p[i]!);
    const middle = (p[i]! + q[i]!) / 2;
    psi += (q[i]! - p[i]!) * logRatio;
    kl += q[i]! * logRatio;
    js += (p[i]! * Math.log(p[i]! / middle) + q[i]! * Math.log(q[i]! / middle)) / 2;
  }
  const bins = used.map((bin) => {
    const upper = scoreBinUpper(bin);
    return { upTo: Number.isFinite(upper) ? upper : null, primary: sums.primary[bin]!, shadow: sums.shadow[bin]! };
  });
  return { rows, psi, klDivergence: Math.max(0, kl), jsDivergence: Math.max(0, js), bins };
}

/** Shares of the used bins that sum to 1, none of them zero. */
function shares(counts: Float64Array, used: readonly number[]): number[] {
  const floored = used.map((bin) => Math.max(counts[bin]!, 0.5));
  const total = floored.reduce((sum, count) => sum + count, 0);
  return floored.map((count) => count / total);
}
