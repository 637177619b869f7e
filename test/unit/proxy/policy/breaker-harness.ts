/** A breaker as several data threads share it, under virtual time: one instance per imagined thread on the same cells. */

import type { BreakerPolicy } from '../../../../proxy/config/snapshot.ts';
import { BreakerCells } from '../../../../proxy/policy/breaker-cells.ts';
import type { BreakerMachine } from '../../../../proxy/policy/breaker-machine.ts';
import type { BreakerTransition } from '../../../../proxy/policy/breaker-verdict.ts';
import { type BreakerOptions, CircuitBreaker, Outcome, Verdict } from '../../../../proxy/policy/circuit-breaker.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

export const POLICY: BreakerPolicy = {
  enabled: true,
  windowMs: 8_000,
  minimumRequests: 10,
  errorFraction: 0.5,
  consecutiveFailures: 0,
  maxLatencyMs: 0,
  openMs: 1_000,
  maxOpenMs: 8_000,
  jitterFraction: 0,
};

export class Harness {
  readonly clock = new VirtualClock();
  readonly buffer: SharedArrayBuffer;
  readonly breakers: CircuitBreaker[];
  readonly told: BreakerTransition[] = [];
  randomValue = 0;

  constructor(policy: Partial<BreakerPolicy> = {}, threads = 1, options: BreakerOptions = {}) {
    this.buffer = BreakerCells.allocate(2, threads);
    this.breakers = Array.from(
      { length: threads },
      (_, thread) =>
        new CircuitBreaker(
          { ...POLICY, ...policy },
          new BreakerCells(this.buffer, thread),
          1,
          this.clock,
          () => this.randomValue,
          { ...options, onTransition: (transition) => this.told.push(transition) },
        ),
    );
  }

  /** The first thread's breaker. */
  get breaker(): CircuitBreaker {
    return this.breakers[0]!;
  }

  /** The first thread's opossum, for tests that look for its traps. */
  get machine(): BreakerMachine {
    return (this.breaker as unknown as { machine: BreakerMachine }).machine;
  }

  get reasons(): string[] {
    return this.told.map((transition) => transition.reason);
  }

  acquire(thread = 0): number {
    return this.breakers[thread]!.tryAcquire(this.clock.nowMs());
  }

  /** Sends one request that ends at once; returns its verdict. */
  request(outcome: number, thread = 0): number {
    const verdict = this.acquire(thread);
    this.settle(verdict, this.breakers[thread]!.epoch, outcome, thread);
    return verdict;
  }

  settle(verdict: number, epoch: number, outcome: number, thread = 0): void {
    this.breakers[thread]!.record(verdict, epoch, outcome, this.clock.nowMs());
  }

  requests(count: number, outcome: number, thread = 0): void {
    for (let i = 0; i < count; i++) this.request(outcome, thread);
  }

  /** Fails requests until the breaker opens. */
  trip(thread = 0): void {
    for (let i = 0; i < 1_000 && this.breaker.state === 'closed'; i++) this.request(Outcome.FAILURE, thread);
  }

  close(): void {
    for (const breaker of this.breakers) breaker.close();
  }
}

export { Outcome, Verdict };
