/**
 * When a batch stops waiting for company, how large it may grow, and what is refused because it would come too late.
 * Decided from plain figures: the fitted cost, the pace of arrivals, the bounds of the options and the latency goal.
 *
 * Waiting for one more task delays each of the n that wait by the gap until it comes and by its share of the run; it saves
 * the newcomer a run of its own, b, less that gap. Waiting pays while the first is smaller:
 *
 *     n * (gap + a) < b - gap
 *
 * A goal of L ms for 99 of 100 tasks bounds a run, c = a * n + b: a task that comes while another run is under way waits for
 * up to c before its own. With c = L / 2 none that comes is too late. A longer run carries more rows for its fixed cost b but
 * is joined only in its last L - c ms; what it carries in time, (c - b) * (L - c) / c^2, is most at c = 2bL / (L + b), which
 * counts where it is above the half. A task that would come too late behind what runs and waits is refused. L stands for a
 * share of the goal, which gives way when more than one in a hundred is late and recovers while they are not.
 */
import { type BatchingOptions, executionLimit } from './batching-options.ts';
import { CostFit } from './cost-fit.ts';

/** Waits shorter than this are not worth a timer, whose grain is a millisecond. */
const LEAST_WAIT_MS = 0.5;
const LATE_SHARE = 0.01;
const LEAST_BUDGET = 0.2;
/** What is left covers runs that take longer than expected. */
const MOST_BUDGET = 0.9;
/** How far one late task lowers the budget's share; it rises by `LATE_SHARE` of that for each that is not. */
const BUDGET_STEP = 0.003;
/** Least share of the budget that a run may use. */
const RUN_SHARE = 0.5;

/** The part of an open batch that the decision needs. */
export interface WaitingTasks {
  readonly count: number;
  readonly rows: number;
  readonly openedAtMs: number;
}

export class DispatchPolicy {
  readonly fit = new CostFit();
  /** Share of the goal that waiting and running may use together. */
  budgetShare = MOST_BUDGET;
  private readonly options: BatchingOptions;
  private readonly timeoutMs: number;
  private readonly limit: number;

  constructor(options: BatchingOptions) {
    this.options = options;
    this.timeoutMs = options.batchTimeoutMicros / 1000;
    this.limit = executionLimit(options);
  }

  /**
   * When these tasks may run though more might come, for a run expected to take `runMs`: the time of opening when there
   * is no reason to wait. `gapMs` is the usual time between arrivals, `lastArrivalMs` the latest one.
   */
  dueMs(tasks: WaitingTasks, runMs: number, gapMs: number, lastArrivalMs: number): number {
    const { openedAtMs } = tasks;
    if (this.timeoutMs === 0) return openedAtMs;
    let dueMs = openedAtMs + this.timeoutMs;
    const { latencyObjectiveMs } = this.options;
    if (latencyObjectiveMs > 0) dueMs = Math.min(dueMs, openedAtMs + latencyObjectiveMs * this.budgetShare - runMs);
    if (!this.options.adaptive) return dueMs;
    const waitMs = this.worthwhileMs(tasks, gapMs);
    return waitMs < LEAST_WAIT_MS ? openedAtMs : Math.min(dueMs, lastArrivalMs + waitMs);
  }

  /** Rows at which a batch is full, by the goal; `limit` without one. */
  get rowsLimit(): number {
    const { latencyObjectiveMs, allowedBatchSizes } = this.options;
    if (latencyObjectiveMs === 0) return this.limit;
    const rows = Math.min(this.limit, this.fit.rowsWithin(this.runBudgetMs()));
    if (allowedBatchSizes.length === 0) return rows;
    return allowedBatchSizes.findLast((size) => size <= rows) ?? allowedBatchSizes[0];
  }

  /**
   * Whether a task is expected to miss the goal behind `rowsAhead` rows that wait for one of `places`, the first of which
   * is free in `busyMs`. Never where nothing is before it.
   */
  isHopeless(rowsAhead: number, rows: number, places: number, busyMs: number): boolean {
    const { latencyObjectiveMs } = this.options;
    if (latencyObjectiveMs === 0 || (rowsAhead === 0 && busyMs === 0)) return false;
    const { rowsLimit } = this;
    // Its own batch may fill up behind it before it runs.
    const batches = Math.ceil((rowsAhead + rows) / rowsLimit);
    const runsMs = (batches * this.fit.estimateMs(rowsLimit)) / places;
    return busyMs + runsMs > latencyObjectiveMs * this.budgetShare;
  }

  /** A task was answered `latencyMs` after it was accepted. */
  recordLatency(latencyMs: number): void {
    const { latencyObjectiveMs } = this.options;
    if (latencyObjectiveMs === 0) return;
    const step = latencyMs > latencyObjectiveMs ? -BUDGET_STEP : BUDGET_STEP * LATE_SHARE;
    this.budgetShare = Math.min(MOST_BUDGET, Math.max(LEAST_BUDGET, this.budgetShare + step));
  }

  /** Longest run under the goal. */
  private runBudgetMs(): number {
    const budgetMs = this.options.latencyObjectiveMs * this.budgetShare;
    const { msPerBatch } = this.fit;
    return Math.max(budgetMs * RUN_SHARE, (2 * msPerBatch * budgetMs) / (msPerBatch + budgetMs));
  }

  /** How long after the latest arrival another is still worth waiting for; not above 0 when it is not. */
  private worthwhileMs({ count, rows }: WaitingTasks, gapMs: number): number {
    const { msPerBatch, msPerRow } = this.fit;
    if (!(msPerBatch > gapMs) || rows >= this.limit) return 0;
    return (msPerBatch - gapMs) / count - gapMs - msPerRow * (rows / count);
  }
}
