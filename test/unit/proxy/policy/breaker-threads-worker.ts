/** One data thread of breaker-threads.test.ts: runs the scenario named in its workerData and posts what it saw. */

import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../../../base/clock.ts';
import { BreakerCells } from '../../../../proxy/policy/breaker-cells.ts';
import { CircuitBreaker, Outcome, Verdict } from '../../../../proxy/policy/circuit-breaker.ts';
import { POLICY } from './breaker-harness.ts';

export interface ThreadInput {
  readonly scenario: 'count' | 'open' | 'probe';
  readonly buffer: SharedArrayBuffer;
  /** Int32: arrived, opened, probes in flight, most probes in flight, probes in all. */
  readonly board: SharedArrayBuffer;
  readonly threads: number;
  readonly thread: number;
}

export interface ThreadResult {
  readonly told: readonly string[];
  /** Requests admitted after this thread could know that the breaker was open. */
  readonly admittedLate: number;
  readonly sawOpen: boolean;
}

const ARRIVED = 0;
const OPENED = 1;
const IN_FLIGHT = 2;
const MOST_IN_FLIGHT = 3;
const PROBES = 4;
const LIMIT_MS = 5_000;
const WANTED_PROBES = 400;

const input = workerData as ThreadInput;
const board = new Int32Array(input.board);
const told: string[] = [];
const policy = {
  count: { ...POLICY, windowMs: 600_000, errorFraction: 1.1 },
  open: { ...POLICY, errorFraction: 1e-9, openMs: 600_000, maxOpenMs: 600_000 },
  probe: { ...POLICY, consecutiveFailures: 1, openMs: 1, maxOpenMs: 1 },
}[input.scenario];
const breaker = new CircuitBreaker(policy, new BreakerCells(input.buffer, input.thread), 0, systemClock, Math.random, {
  onTransition: (transition) => told.push(transition.reason),
});

let admittedLate = 0;
let sawOpen = false;

function waitForAll(): void {
  Atomics.add(board, ARRIVED, 1);
  while (Atomics.load(board, ARRIVED) < input.threads) Atomics.wait(board, IN_FLIGHT, 0, 1);
}

function request(outcome: number): void {
  const verdict = breaker.tryAcquire(systemClock.nowMs());
  breaker.record(verdict, breaker.epoch, outcome, systemClock.nowMs());
}

function count(): void {
  for (let i = 0; i < 10_000; i++) request(i % 4 === 0 ? Outcome.FAILURE : Outcome.SUCCESS);
}

function open(): void {
  const limit = systemClock.nowMs() + LIMIT_MS;
  for (let i = 0; !sawOpen && systemClock.nowMs() < limit; i++) {
    const opened = Atomics.load(board, OPENED) === 1;
    const verdict = breaker.tryAcquire(systemClock.nowMs());
    if (verdict === Verdict.REJECT) sawOpen = true;
    else if (opened) admittedLate++;
    const fails = input.thread === 0 && i > 2_000;
    breaker.record(verdict, breaker.epoch, fails ? Outcome.FAILURE : Outcome.SUCCESS, systemClock.nowMs());
    if (fails && breaker.state === 'open') Atomics.store(board, OPENED, 1);
  }
}

function probe(): void {
  const limit = systemClock.nowMs() + LIMIT_MS;
  while (Atomics.load(board, PROBES) < WANTED_PROBES && systemClock.nowMs() < limit) {
    const verdict = breaker.tryAcquire(systemClock.nowMs());
    if (verdict !== Verdict.PROBE) {
      breaker.record(verdict, breaker.epoch, Outcome.FAILURE, systemClock.nowMs());
      continue;
    }
    const inFlight = Atomics.add(board, IN_FLIGHT, 1) + 1;
    if (inFlight > Atomics.load(board, MOST_IN_FLIGHT)) Atomics.store(board, MOST_IN_FLIGHT, inFlight);
    const number = Atomics.add(board, PROBES, 1);
    for (let spin = 0; spin < 2_000; spin++) Atomics.load(board, PROBES);
    Atomics.sub(board, IN_FLIGHT, 1);
    const outcome = [Outcome.FAILURE, Outcome.IGNORED, Outcome.SUCCESS][number % 3]!;
    breaker.record(verdict, breaker.epoch, outcome, systemClock.nowMs());
  }
}

waitForAll();
({ count, open, probe })[input.scenario]();
breaker.close();
parentPort!.postMessage({ told, admittedLate, sawOpen } satisfies ThreadResult);
