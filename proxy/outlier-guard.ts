/**
 * Ejects one endpoint of a cluster by what it answers: a circuit breaker of its own, so that what is ejected comes back
 * by one real request over all data threads, and each ejection in a row lasts longer.
 */
import type { BreakerPolicy } from './config/snapshot.ts';
import { type CircuitBreaker, Outcome, Verdict } from './policy/circuit-breaker.ts';
import { type EndpointGuard, Served } from './upstream/balancer.ts';

const OUTCOMES: readonly number[] = [Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED, Outcome.IGNORED];

export class OutlierGuard implements EndpointGuard {
  private readonly breaker: CircuitBreaker;

  constructor(breaker: CircuitBreaker) {
    this.breaker = breaker;
  }

  admit(nowMs: number): number {
    const verdict = this.breaker.tryAcquire(nowMs);
    return verdict === Verdict.REJECT ? -1 : verdict;
  }

  get epoch(): number {
    return this.breaker.epoch;
  }

  get ejected(): boolean {
    return this.breaker.state !== 'closed';
  }

  /** `served` is a `Served`. */
  settle(admission: number, epoch: number, served: number, nowMs: number): void {
    this.breaker.record(admission, epoch, OUTCOMES[served] ?? Outcome.IGNORED, nowMs);
  }

  update(policy: BreakerPolicy): void {
    this.breaker.updatePolicy(policy);
  }

  close(): void {
    this.breaker.close();
  }
}

/** What became of a request in the eyes of its endpoint: `shed` when the upstream said it was too busy. */
export function servedFrom(outcome: number, shed: boolean): number {
  if (shed) return Served.SHED;
  if (outcome === Outcome.FAILURE) return Served.FAILED;
  return outcome === Outcome.SUCCESS ? Served.OK : Served.UNKNOWN;
}
