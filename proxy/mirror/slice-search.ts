/**
 * Where in the inputs a difference concentrates: the conjunction of one to three conditions on columns that best explains
 * which rows diverge.
 *
 * For fixed divergence inside (p) and outside (q) a slice, every row adds d ln(p/q) + (1-d) ln((1-p)/(1-q)) to the log
 * likelihood ratio, so the best interval of a sorted column is the contiguous run with the largest sum: found exactly, in
 * one pass. Several guesses of p, a second and a third column within the best intervals of the first, and each condition
 * found again given the others make the search; it costs columns x rows x a few dozen.
 *
 * What it returns is a proposal. It was chosen because it looked bad, so nothing it shows on these rows is evidence.
 */

/** Rows by column, as the finder keeps them; a value that is NaN fulfils no condition. */
export interface SliceRows {
  readonly count: number;
  readonly columns: readonly Float32Array[];
  /** Columns whose numbers are names: a condition on them is one value, not a range. */
  readonly categorical: readonly boolean[];
  /** 0..1 for each row. */
  readonly distance: Float32Array;
}

/** `from` <= value <= `to`; infinite where a side is open. */
export interface SliceCondition {
  readonly column: number;
  readonly from: number;
  readonly to: number;
}

export interface Slice {
  readonly conditions: readonly SliceCondition[];
  /** Log likelihood ratio against no difference between inside and outside, on the rows searched. */
  readonly score: number;
}

/** A condition, and the score of the rows marked that fulfil it. */
interface ScoredCondition {
  readonly condition: SliceCondition;
  readonly score: number;
}

/** Guesses of the divergence inside a slice, as multiples of the mean. */
const LIFTS: readonly number[] = [2, 4, 10];
/** First conditions that are tried with a second, and seconds that are tried with a third. */
const BEAM = 5;
const MAX_CONDITIONS = 3;
/** A further condition must explain this much more (natural logarithm), or it only fits noise. */
const GAIN_PER_CONDITION = 10;
/** Borders are moved outwards as long as they explain nearly as much: the best fit ends at the last diverging row. */
const SLACK_PER_BORDER = 1;
const GIVE_UP_SLACK = 3;
/** Smaller slices are coincidences, larger ones no slices. */
const MIN_ROWS = 10;
const MAX_SHARE = 0.6;

/** The best slice of these rows, or null where nothing stands out at all. */
export function findSlice(rows: SliceRows): Slice | null {
  const search = new Search(rows);
  let beam = search.extend([]);
  let best = beam[0] ?? null;
  for (let depth = 1; depth < MAX_CONDITIONS && beam.length > 0; depth++) {
    const longer = beam.flatMap((slice) => search.extend(slice.conditions)).toSorted((a, b) => b.score - a.score);
    beam = longer.slice(0, BEAM).map((slice) => search.refine(slice));
    const first = beam.toSorted((a, b) => b.score - a.score)[0];
    if (first === undefined || best === null || first.score < best.score + GAIN_PER_CONDITION) break;
    best = first;
  }
  return best === null ? null : search.widen(best);
}

/** Whether row `row` lies in the slice. */
export function isInSlice(
  conditions: readonly SliceCondition[],
  columns: readonly Float32Array[],
  row: number,
): boolean {
  for (let i = 0; i < conditions.length; i++) {
    const { column, from, to } = conditions[i]!;
    const value = columns[column]![row]!;
    if (!(value >= from && value <= to)) return false;
  }
  return true;
}

/** One search: columns sorted once, and scratch for the rows looked at. */
class Search {
  private readonly rows: SliceRows;
  private readonly orders: Int32Array[];
  private readonly total: number;
  private readonly member: Uint8Array;

  constructor(rows: SliceRows) {
    this.rows = rows;
    this.member = new Uint8Array(rows.count);
    let total = 0;
    for (let row = 0; row < rows.count; row++) total += rows.distance[row]!;
    this.total = total;
    this.orders = rows.columns.map((column) => sortedRows(column, rows.count));
  }

  /** The best slices with one condition more, one for each further column, best first. */
  extend(conditions: readonly SliceCondition[]): Slice[] {
    this.mark(conditions);
    const found: Slice[] = [];
    for (let column = 0; column < this.orders.length; column++) {
      if (conditions.some((condition) => condition.column === column)) continue;
      const best = this.bestCondition(column);
      if (best !== null) found.push({ conditions: [...conditions, best.condition], score: best.score });
    }
    return found.toSorted((a, b) => b.score - a.score).slice(0, BEAM);
  }

  /** Finds each condition again given the others: the first was found without them and is too wide or too narrow. */
  refine(slice: Slice): Slice {
    let best = slice;
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < best.conditions.length; i++) {
        const others = best.conditions.filter((_, place) => place !== i);
        this.mark(others);
        const again = this.bestCondition(best.conditions[i]!.column);
        if (again === null || again.score <= best.score) continue;
        const conditions = best.conditions.map((old, place) => (place === i ? again.condition : old));
        best = { conditions, score: again.score };
      }
    }
    return best;
  }

  /** Moves each border outwards to where the score begins to suffer. */
  widen(slice: Slice): Slice {
    let conditions = slice.conditions;
    for (let i = 0; i < conditions.length; i++) {
      const condition = conditions[i]!;
      if (this.rows.categorical[condition.column]!) continue;
      this.mark(conditions.filter((_, place) => place !== i));
      const wider = this.widerCondition(condition);
      conditions = conditions.map((old, place) => (place === i ? wider : old));
    }
    return { conditions, score: slice.score };
  }

  private widerCondition(condition: SliceCondition): SliceCondition {
    const order = this.orders[condition.column]!;
    const values = this.rows.columns[condition.column]!;
    let start = order.findIndex((row) => values[row]! >= condition.from);
    let end = order.findLastIndex((row) => values[row]! <= condition.to) + 1;
    if (start < 0 || end <= start) return condition;
    start = this.reach(order, start, end, -1);
    end = this.reach(order, start, end, 1);
    return this.condition(condition.column, start, end);
  }

  /** The furthest place of one border at which the score is within the slack of where it was. */
  private reach(order: Int32Array, start: number, end: number, step: -1 | 1): number {
    let inside = 0;
    let diverging = 0;
    for (let at = start; at < end; at++) {
      inside += this.member[order[at]!]!;
      diverging += this.member[order[at]!]! * this.rows.distance[order[at]!]!;
    }
    const best = this.score(inside, diverging);
    let furthest = step < 0 ? start : end;
    for (let at = step < 0 ? start - 1 : end; at >= 0 && at < order.length; at += step) {
      inside += this.member[order[at]!]!;
      diverging += this.member[order[at]!]! * this.rows.distance[order[at]!]!;
      const score = this.score(inside, diverging);
      if (score < best - GIVE_UP_SLACK) break;
      if (score >= best - SLACK_PER_BORDER) furthest = step < 0 ? at : at + 1;
    }
    return furthest;
  }

  private mark(conditions: readonly SliceCondition[]): void {
    const { columns, count } = this.rows;
    for (let row = 0; row < count; row++) this.member[row] = isInSlice(conditions, columns, row) ? 1 : 0;
  }

  /** Log likelihood ratio of two divergences against one; 0 where the slice is too small, too large or not worse. */
  private score(inside: number, diverging: number): number {
    const { count } = this.rows;
    if (inside < MIN_ROWS || inside > MAX_SHARE * count) return 0;
    const rest = this.total - diverging;
    const outside = count - inside;
    if (diverging / inside <= rest / outside) return 0;
    return likelihood(diverging, inside) + likelihood(rest, outside) - likelihood(this.total, count);
  }

  /** The best condition on `column` among the marked rows, over all guesses of the divergence inside. */
  private bestCondition(column: number): ScoredCondition | null {
    const mean = this.total / this.rows.count;
    let best: ScoredCondition | null = null;
    for (const lift of LIFTS) {
      const inside = Math.min(0.95, Math.max(mean * lift, 0.02));
      const outside = Math.max(mean * 0.7, 1e-4);
      if (inside <= outside) continue;
      const run = this.bestRun(column, Math.log(inside / outside), Math.log((1 - inside) / (1 - outside)));
      if (run !== null && (best === null || run.score > best.score)) best = run;
    }
    return best;
  }

  /** The run of values with the largest sum of weights; equal values stay together. */
  private bestRun(column: number, hit: number, miss: number): ScoredCondition | null {
    const order = this.orders[column]!;
    const values = this.rows.columns[column]!;
    const single = this.rows.categorical[column]!;
    let sum = 0;
    let inside = 0;
    let diverging = 0;
    let start = 0;
    let best = 0;
    let bestStart = -1;
    let bestEnd = -1;
    let bestScore = 0;
    for (let at = 0; at < order.length; ) {
      if (sum <= 0 || single) {
        sum = 0;
        inside = 0;
        diverging = 0;
        start = at;
      }
      const value = values[order[at]!]!;
      for (; at < order.length && values[order[at]!] === value; at++) {
        const row = order[at]!;
        if (this.member[row] === 0) continue;
        const distance = this.rows.distance[row]!;
        sum += distance * hit + (1 - distance) * miss;
        inside++;
        diverging += distance;
      }
      if (sum <= best) continue;
      best = sum;
      bestStart = start;
      bestEnd = at;
      bestScore = this.score(inside, diverging);
    }
    if (bestStart < 0 || bestScore <= 0) return null;
    return { condition: this.condition(column, bestStart, bestEnd), score: bestScore };
  }

  /** Borders lie half way to the next value outside, and are open at the ends. */
  private condition(column: number, start: number, end: number): SliceCondition {
    const order = this.orders[column]!;
    const values = this.rows.columns[column]!;
    const first = values[order[start]!]!;
    const last = values[order[end - 1]!]!;
    if (this.rows.categorical[column]!) return { column, from: first, to: last };
    const before = start === 0 ? Number.NEGATIVE_INFINITY : (first + values[order[start - 1]!]!) / 2;
    const after = end === order.length ? Number.POSITIVE_INFINITY : (last + values[order[end]!]!) / 2;
    return { column, from: before, to: after };
  }
}

/** Rows of a column in the order of its values, without NaN. */
function sortedRows(column: Float32Array, count: number): Int32Array {
  // Typed arrays sort by value, NaN last, without calling back; each row then takes the next place of its value.
  const values = column.slice(0, count).sort();
  const ranks = new Map<number, number>();
  for (let i = 0; i < count; i++) if (!ranks.has(values[i]!)) ranks.set(values[i]!, i);
  const order = new Int32Array(count);
  let kept = 0;
  for (let row = 0; row < count; row++) {
    const value = column[row]!;
    if (Number.isNaN(value)) continue;
    const rank = ranks.get(value)!;
    order[rank] = row;
    ranks.set(value, rank + 1);
    kept++;
  }
  return order.subarray(0, kept);
}

/** Log likelihood of `hits` in `count` rows at their own rate. */
function likelihood(hits: number, count: number): number {
  const misses = count - hits;
  return (hits > 0 ? hits * Math.log(hits / count) : 0) + (misses > 0 ? misses * Math.log(misses / count) : 0);
}
