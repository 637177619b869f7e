/**
 * What the client saw: how many answers, by which model, how fast, and every failure by its status.
 *
 * Memory is bounded: distinct models and failure reasons beyond `MAX_NAMES` count as `other`.
 */
import { LatencyQuantiles } from './latency-quantiles.ts';

/** How one call ended. Times are readings of the client's monotonic clock in milliseconds. */
export interface CallOutcome {
  /** `credit-risk@1`; empty when the call failed. */
  readonly answeredBy: string;
  /** A gRPC status name, or the client's own `BAD_ANSWER` or `NOT_SENT`; empty when the call was answered. */
  readonly failure: string;
  readonly sentAtMs: number;
  readonly endedAtMs: number;
}

/** Reads over the last full window or over the whole run. */
export interface TallySummary {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const MAX_NAMES = 32;

export class Tally {
  requests = 0;
  failed = 0;
  readonly answeredBy = new Map<string, number>();
  readonly failures = new Map<string, number>();
  readonly #whole = new LatencyQuantiles();
  readonly #window = new LatencyQuantiles();
  #windowAnsweredBy = new Map<string, number>();
  #windowRequests = 0;

  record(outcome: CallOutcome): void {
    this.requests++;
    this.#windowRequests++;
    if (outcome.failure !== '') {
      this.failed++;
      increment(this.failures, outcome.failure);
      return;
    }
    increment(this.answeredBy, outcome.answeredBy);
    increment(this.#windowAnsweredBy, outcome.answeredBy);
    const latencyMs = outcome.endedAtMs - outcome.sentAtMs;
    this.#whole.record(latencyMs);
    this.#window.record(latencyMs);
  }

  /** The whole run, which took `elapsedMs`. */
  summary(elapsedMs: number): TallySummary {
    return summarise(this.#whole, this.requests, elapsedMs);
  }

  /** What was recorded since the last call of this method, `elapsedMs` ago. */
  takeWindow(elapsedMs: number): TallySummary & { readonly answeredBy: ReadonlyMap<string, number> } {
    const summary = summarise(this.#window, this.#windowRequests, elapsedMs);
    const answeredBy = this.#windowAnsweredBy;
    this.#window.clear();
    this.#windowRequests = 0;
    this.#windowAnsweredBy = new Map();
    return { ...summary, answeredBy };
  }
}

function summarise(quantiles: LatencyQuantiles, requests: number, elapsedMs: number): TallySummary {
  return {
    perSecond: (requests * 1000) / Math.max(elapsedMs, 1),
    p50Ms: quantiles.quantile(0.5),
    p99Ms: quantiles.quantile(0.99),
  };
}

function increment(counts: Map<string, number>, name: string): void {
  const key = counts.has(name) || counts.size < MAX_NAMES ? name : 'other';
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
