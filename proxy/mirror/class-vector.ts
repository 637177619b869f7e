/** Vectors with one score for each class: which class leads, and how far two such vectors are apart. */
import type { Floats } from './element-reader.ts';

/** Place of the largest of `count` entries from `from`, the first of equals; -1 where one is NaN. */
export function topClass(values: Floats, from: number, count: number): number {
  let top = 0;
  for (let i = 0; i < count; i++) {
    const value = values[from + i]!;
    if (Number.isNaN(value)) return -1;
    if (value > values[from + top]!) top = i;
  }
  return top;
}

/** How far a sum may be from 1 for the entries to count as probabilities. */
const SUM_TOLERANCE = 1e-3;
/** Probabilities below it count as this much where they divide. */
const SMALLEST = 1e-9;

/** Two class vectors as probabilities; used again for every row. */
export class ClassVectors {
  private p = new Float64Array(16);
  private q = new Float64Array(16);
  /** Scores of the last pair: of two classes the second's probability, of more the leading one's. */
  primaryScore = Number.NaN;
  shadowScore = Number.NaN;
  /** Kullback-Leibler divergence of the last pair's shadow from its primary, natural logarithm. */
  kl = 0;

  /**
   * Jensen-Shannon divergence (natural logarithm, 0 to ln 2) of `count` entries from `from` of both sides; -1 where an
   * entry is not finite. What are no probabilities already (nonnegative with sum 1) is taken for logits.
   */
  divergence(primary: Floats, shadow: Floats, from: number, count: number): number {
    if (this.p.length < count) {
      this.p = new Float64Array(count * 2);
      this.q = new Float64Array(count * 2);
    }
    this.primaryScore = Number.NaN;
    this.shadowScore = Number.NaN;
    if (!toProbabilities(primary, from, count, this.p) || !toProbabilities(shadow, from, count, this.q)) return -1;
    this.primaryScore = scoreOf(this.p, count);
    this.shadowScore = scoreOf(this.q, count);
    let sum = 0;
    this.kl = 0;
    for (let i = 0; i < count; i++) {
      const middle = (this.p[i]! + this.q[i]!) / 2;
      if (this.p[i]! > 0) sum += this.p[i]! * Math.log(this.p[i]! / middle);
      if (this.q[i]! > 0) {
        sum += this.q[i]! * Math.log(this.q[i]! / middle);
        // A class the primary rules out would make it infinite.
        this.kl += this.q[i]! * Math.log(this.q[i]! / Math.max(this.p[i]!, SMALLEST));
      }
    }
    this.kl = Math.max(0, this.kl);
    return Math.min(Math.LN2, Math.max(0, sum / 2));
  }
}

function scoreOf(probabilities: Float64Array, count: number): number {
  if (count === 2) return probabilities[1]!;
  let largest = 0;
  for (let i = 0; i < count; i++) largest = Math.max(largest, probabilities[i]!);
  return largest;
}

/** False where an entry is not finite. */
function toProbabilities(values: Floats, from: number, count: number, out: Float64Array): boolean {
  let sum = 0;
  let least = 0;
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < count; i++) {
    const value = values[from + i]!;
    out[i] = value;
    sum += value;
    least = Math.min(least, value);
    largest = Math.max(largest, value);
  }
  if (!Number.isFinite(sum)) return false;
  if (least < 0 || Math.abs(sum - 1) > SUM_TOLERANCE) {
    sum = 0;
    for (let i = 0; i < count; i++) {
      out[i] = Math.exp(out[i]! - largest);
      sum += out[i]!;
    }
  }
  for (let i = 0; i < count; i++) out[i] = out[i]! / sum;
  return true;
}
