/**
 * When a batch stops waiting for company, how large it may grow, and what is refused because it would come too late.
 * Decided from plain figures: the fitted cost, the pace of arrivals, the bounds of the options and the latency goal.
 *
 * Waiting for one more task delays each of the n that wait by the gap until it comes and by its share of the run; it saves
 * the newcomer a run of its own, b, less that gap. Waiting pays while the first is smaller:
 *
 *     n * (gap + a) < b - gap
 *
 * A goal of L ms for 99 of 100 tasks leaves half of its budget to the run and the rest to waiting. The budget is a share of
 * L that gives way when more than one in a hundred is late and recovers while they are not.
 */
import { type BatchingOptions, executionLimit } from './batching-options.ts';
import { CostFit } from './cost-fit.ts';

/** Waits shorter than this are not worth a timer, whose grain is a millisecond. */
const LEAST_WAIT_MS = 0.5;
const LATE_SHARE = 0.01;
const LEAST_BUDGET = 0.2;
/** How far one late task lowers the budget's share; it rises by `LATE_SHARE` of that for each that is not. */
const BUDGET_STEP = 0.01;
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
  budgetShare = 1;
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
    const rows = Math.min(this.limit, this.fit.rowsWithin(latencyObjectiveMs * this.budgetShare * RUN_SHARE));
    if (allowedBatchSizes.length === 0) return rows;
    return allowedBatchSizes.findLast((size) => size <= rows) ?? allowedBatchSizes[0];
  }

  /** Whether a task would miss the goal for certain behind `rowsAhead` rows that wait for one of `places`. */
  isHopeless(rowsAhead: number, rows: number, places: number): boolean {
    const { latencyObjectiveMs } = this.options;
    if (latencyObjectiveMs === 0 || rowsAhead === 0) return false;
    const { rowsLimit } = this;
    const batches = Math.ceil((rowsAhead + rows) / rowsLimit);
    const spreadMs = (batches * this.fit.msPerBatch + (rowsAhead + rows) * this.fit.msPerRow) / places;
    return spreadMs > latencyObjectiveMs;
  }

  /** A task was answered `latencyMs` after it was accepted. */
  recordLatency(latencyMs: number): void {
    const { latencyObjectiveMs } = this.options;
    if (latencyObjectiveMs === 0) return;
    const step = latencyMs > latencyObjectiveMs ? -BUDGET_STEP : BUDGET_STEP * LATE_SHARE;
    this.budgetShare = Math.min(1, Math.max(LEAST_BUDGET, this.budgetShare + step));
  }

  /** How long after the latest arrival another is still worth waiting for; not above 0 when it is not. */
  private worthwhileMs({ count, rows }: WaitingTasks, gapMs: number): number {
    const { msPerBatch, msPerRow } = this.fit;
    if (!(msPerBatch > gapMs) || rows >= this.limit) return 0;
    return (msPerBatch - gapMs) / count - gapMs - msPerRow * (rows / count);
  }
}
