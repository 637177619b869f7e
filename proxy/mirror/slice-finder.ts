/**
 * Finds slices of the inputs in which the shadow diverges more than elsewhere, without being told where to look.
 *
 *   rows kept (the latest) --search--> proposal --rows that come later--> found, or given up
 *
 * A proposal was picked from many because it looked bad, so it is judged by rows that came after it: of the divergence
 * that follows, is more than LIFT times the slice's share of the rows inside it? A wealth process bets on that (as in
 * evidence.ts); the j-th proposal must reach j (j + 1) / alpha, and those levels' reciprocals sum to alpha, so that where
 * nothing concentrates, anything is ever found with probability alpha at most. The share is the slice's own among all
 * rows seen since it was proposed, known before each bet; that it is an estimate is what LIFT leaves room for.
 */
import { findSlice, isInSlice, type Slice, type SliceCondition, type SliceRows } from './slice-search.ts';

/** Rows kept for searching. */
export const KEPT_ROWS = 2048;
/** Columns of the inputs that are looked at. */
export const MAX_COLUMNS = 32;
/**
 * Rows between searches: few at first, then a quarter of what was seen. A search of full columns takes some ten
 * milliseconds, so this keeps it to a few microseconds a row.
 */
const LEAST_ROWS_BETWEEN = 200;
const MOST_ROWS_BETWEEN = 4 * KEPT_ROWS;
/** A search needs this much divergence to go by. */
const MIN_DIVERGENCE = 10;
/** What a proposal must score on the rows searched to be worth part of alpha. */
const MIN_SCORE = 8;
const LIFT = 1.3;
/** Proposals judged at a time, and slices reported. */
const MAX_PROPOSALS = 4;
const MAX_FOUND = 4;
/** A proposal that has not convinced after so many rows is given up. */
const PATIENCE_ROWS = 4 * KEPT_ROWS;
/** Share of the smaller slice's rows that make two slices one. */
const SAME_SHARE = 0.5;
const STAKES: readonly number[] = [0.05, 0.15, 0.4, 0.8];
const ALPHA = 0.05;

/** A slice whose evidence stands. */
export interface FoundSlice {
  /** Newest borders, found again with the rows since; the evidence is for those first proposed, which they refine. */
  readonly conditions: readonly SliceCondition[];
  /** Share of the kept rows inside, and mean distances there and elsewhere. */
  readonly share: number;
  readonly divergenceInside: number;
  readonly divergenceOutside: number;
  /** Rows seen in all when it was found. */
  readonly foundAtRows: number;
}

/** A slice under judgement, or found. */
class Proposal {
  conditions: readonly SliceCondition[];
  readonly judged: readonly SliceCondition[];
  readonly logThreshold: number;
  readonly logWealth = new Float64Array(STAKES.length);
  rows = 0;
  inside = 0;
  foundAtRows = 0;

  constructor(slice: Slice, number: number, share: number) {
    this.conditions = slice.conditions;
    this.judged = slice.conditions;
    this.logThreshold = Math.log((number * (number + 1)) / ALPHA);
    // The share among the rows searched starts the estimate, with the weight of a few dozen rows.
    this.rows = 50;
    this.inside = 50 * share;
  }

  /** Takes a later row. */
  bet(isInside: boolean, distance: number): void {
    const limit = Math.min(0.95, LIFT * ((this.inside + 1) / (this.rows + 2)));
    const outcome = (isInside ? 1 : 0) - limit;
    for (let i = 0; i < STAKES.length; i++) {
      this.logWealth[i] = this.logWealth[i]! + Math.log1p((STAKES[i]! / limit) * distance * outcome);
    }
    this.rows++;
    if (isInside) this.inside++;
  }

  get isConvincing(): boolean {
    let sum = 0;
    for (let i = 0; i < STAKES.length; i++) sum += Math.exp(this.logWealth[i]! - this.logThreshold);
    return sum / STAKES.length >= 1;
  }
}

export class SliceFinder {
  private readonly columns: Float32Array[];
  private readonly categorical: readonly boolean[];
  private readonly distance = new Float32Array(KEPT_ROWS);
  private seen = 0;
  private nextSearch = LEAST_ROWS_BETWEEN;
  private proposed = 0;
  private proposals: Proposal[] = [];
  private readonly foundSlices: Proposal[] = [];

  /** One entry per column, at most MAX_COLUMNS: whether its numbers are names. */
  constructor(categorical: readonly boolean[]) {
    this.categorical = categorical.slice(0, MAX_COLUMNS);
    this.columns = this.categorical.map(() => new Float32Array(KEPT_ROWS));
  }

  /** Takes a row: a value for each column (NaN where it has none) and its distance, 0..1. */
  add(values: ArrayLike<number>, distance: number): void {
    const place = this.seen % KEPT_ROWS;
    for (let column = 0; column < this.columns.length; column++) this.columns[column]![place] = values[column]!;
    this.distance[place] = distance;
    this.seen++;
    for (const proposal of this.proposals) {
      proposal.bet(isInSlice(proposal.judged, this.columns, place), distance);
      if (proposal.isConvincing) proposal.foundAtRows = this.seen;
    }
    this.settle();
    if (this.seen < this.nextSearch) return;
    this.nextSearch = this.seen + Math.min(MOST_ROWS_BETWEEN, Math.max(LEAST_ROWS_BETWEEN, Math.floor(this.seen / 4)));
    this.search();
  }

  /** Slices found so far, the one that explains most first. */
  found(): FoundSlice[] {
    const rows = this.rows();
    return this.foundSlices
      .map((proposal) => ({ ...summary(rows, proposal.conditions), foundAtRows: proposal.foundAtRows }))
      .toSorted((a, b) => excess(b) - excess(a));
  }

  private rows(): SliceRows {
    const { columns, categorical, distance } = this;
    return { count: Math.min(this.seen, KEPT_ROWS), columns, categorical, distance };
  }

  private settle(): void {
    for (let i = this.proposals.length - 1; i >= 0; i--) {
      const proposal = this.proposals[i]!;
      if (proposal.foundAtRows === 0 && proposal.rows < PATIENCE_ROWS) continue;
      this.proposals.splice(i, 1);
      if (proposal.foundAtRows > 0 && this.foundSlices.length < MAX_FOUND) this.foundSlices.push(proposal);
    }
  }

  private search(): void {
    const rows = this.rows();
    let total = 0;
    for (let row = 0; row < rows.count; row++) total += rows.distance[row]!;
    if (total < MIN_DIVERGENCE) return;
    const slice = findSlice(rows);
    if (slice === null || slice.score < MIN_SCORE) return;
    for (const known of this.foundSlices) {
      if (overlap(rows, known.conditions, slice.conditions) < SAME_SHARE) continue;
      known.conditions = slice.conditions;
      return;
    }
    if (this.proposals.some((proposal) => overlap(rows, proposal.judged, slice.conditions) > 0.9)) return;
    if (this.proposals.length >= MAX_PROPOSALS) return;
    this.proposed++;
    this.proposals.push(new Proposal(slice, this.proposed, summary(rows, slice.conditions).share));
  }
}

function summary(rows: SliceRows, conditions: readonly SliceCondition[]) {
  let inside = 0;
  let diverging = 0;
  let total = 0;
  for (let row = 0; row < rows.count; row++) {
    total += rows.distance[row]!;
    if (!isInSlice(conditions, rows.columns, row)) continue;
    inside++;
    diverging += rows.distance[row]!;
  }
  const outside = rows.count - inside;
  return {
    conditions,
    share: rows.count === 0 ? 0 : inside / rows.count,
    divergenceInside: inside === 0 ? 0 : diverging / inside,
    divergenceOutside: outside === 0 ? 0 : (total - diverging) / outside,
  };
}

/** Divergence that the slice has more than its rows would have elsewhere. */
function excess(slice: FoundSlice): number {
  return slice.share * (slice.divergenceInside - slice.divergenceOutside);
}

/** Rows in both slices, as a share of those in either. */
function overlap(rows: SliceRows, a: readonly SliceCondition[], b: readonly SliceCondition[]): number {
  let both = 0;
  let either = 0;
  for (let row = 0; row < rows.count; row++) {
    const inA = isInSlice(a, rows.columns, row);
    const inB = isInSlice(b, rows.columns, row);
    if (inA && inB) both++;
    if (inA || inB) either++;
  }
  return either === 0 ? 0 : both / either;
}
