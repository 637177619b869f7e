/**
 * The circuit breaker: judges a cluster (one model version) by the outcomes of its requests, for all data threads.
 *
 * closed -- too many failures --> open -- period over, first request --> half_open -- probe --> closed | open
 *
 * Each data thread owns one instance per cluster; what they must agree on lives in the shared cells (breaker-cells.ts),
 * so an opening by one thread is seen by the others at their next request and one probe is in flight over all of them.
 * The rules that hold: outcomes of requests begun before the last transition are not counted; outcomes that say nothing
 * about the upstream never count, and as a probe's they let the next request probe; a probe that does not settle by its
 * deadline loses its place; rejects enter no rate. `tryAcquire` and `record` allocate nothing while the breaker stays
 * closed.
 */

import type { Clock } from '../../base/clock.ts';
import type { BreakerPolicy } from '../config/snapshot.ts';
import { BreakerEvent, labelValues } from '../stats/slots.ts';
import {
  type BreakerCells,
  Cell,
  cellTime,
  epochOf,
  nextPhase,
  Phase,
  phaseOf,
  stateName,
  stateOf,
} from './breaker-cells.ts';
import { BreakerMachine } from './breaker-machine.ts';
import { type BreakerStateName, Outcome, type TransitionListener, Verdict } from './breaker-verdict.ts';
import { type BreakerDescription, describeBreaker } from './breaker-view.ts';
import { BreakerWindow } from './breaker-window.ts';

export { type BreakerTransition, Outcome, type TransitionListener, Verdict } from './breaker-verdict.ts';

export interface BreakerOptions {
  /** Told of every change this thread makes; changes made by others are theirs to tell. */
  readonly onTransition?: TransitionListener;
  /** Longest time a probe keeps its place, milliseconds. Default 30 s: above most request timeouts. */
  readonly probeTimeoutMs?: number;
}

const DEFAULT_PROBE_TIMEOUT_MS = 30_000;
/** A probe's own deadline is reported by the request's timer; the token waits this much longer for that report. */
const PROBE_GRACE_MS = 100;
/** Exchanges lost to other threads before a request is rejected rather than tried again. */
const MAX_ATTEMPTS = 4;
/** Doublings of the open period; 2^20 times any sensible period is past any cap. */
const MAX_DOUBLINGS = 20;

const EVENT_NAMES = labelValues(BreakerEvent);

export class CircuitBreaker {
  private readonly shared: BreakerCells;
  private readonly index: number;
  private readonly cells: Int32Array;
  private readonly base: number;
  private readonly clock: Clock;
  private readonly random: () => number;
  private readonly onTransition: TransitionListener | null;
  private readonly probeTimeoutMs: number;
  private readonly machine: BreakerMachine;
  private readonly window: BreakerWindow;
  private policy: BreakerPolicy;
  /** PHASE as this thread last saw it; `machine` and `admits` follow it. */
  private seenPhase = 0;
  private seenAtMs = 0;
  private admits = true;
  /** Epoch of this thread's probe in flight, -1 for none. */
  private probeEpoch = -1;

  /** `random` returns 0..1 and spreads the open periods; `cells` must allow this thread to record. */
  constructor(
    policy: BreakerPolicy,
    cells: BreakerCells,
    index: number,
    clock: Clock,
    random: () => number,
    options: BreakerOptions = {},
  ) {
    this.shared = cells;
    this.index = index;
    this.cells = cells.cells;
    this.base = cells.stateBase(index);
    this.clock = clock;
    this.random = random;
    this.onTransition = options.onTransition ?? null;
    this.probeTimeoutMs = options.probeTimeoutMs ?? DEFAULT_PROBE_TIMEOUT_MS;
    this.machine = new BreakerMachine(`breaker-${index}`);
    this.window = new BreakerWindow(cells, index, policy.windowMs);
    this.policy = policy;
    this.follow(Atomics.load(this.cells, this.base), clock.nowMs());
  }

  /**
   * Decides about one request: a `Verdict`. The caller keeps it together with `epoch` and hands both to `record`.
   * `deadlineMs` is the request's own deadline on the clock's axis, 0 for none: a probe keeps its place no longer.
   */
  tryAcquire(nowMs: number, deadlineMs = 0): number {
    const phase = Atomics.load(this.cells, this.base);
    if (phase !== this.seenPhase) this.follow(phase, nowMs);
    return this.admits ? Verdict.ADMIT : this.acquireWhenOpen(nowMs, deadlineMs);
  }

  /** The epoch in which the last `tryAcquire` decided. */
  get epoch(): number {
    return epochOf(this.seenPhase);
  }

  /**
   * Reports how a request ended: the verdict and epoch it got, and its `Outcome`. To be called once for every ADMIT and
   * PROBE; never fails. Outcomes of another epoch are dropped.
   */
  record(verdict: number, epochAtAcquire: number, outcome: number, nowMs: number): void {
    if (verdict === Verdict.PROBE) {
      this.settleProbe(epochAtAcquire, outcome, nowMs);
      return;
    }
    if (verdict !== Verdict.ADMIT || outcome === Outcome.IGNORED || !this.policy.enabled) return;
    const closed = phaseOf(epochAtAcquire, Phase.CLOSED);
    if (Atomics.load(this.cells, this.base) !== closed) return;
    const failed = outcome === Outcome.FAILURE;
    this.window.count(epochAtAcquire, failed, nowMs);
    if (failed) this.judge(closed, nowMs);
    else if (Atomics.load(this.cells, this.base + Cell.IN_A_ROW) !== 0) {
      Atomics.store(this.cells, this.base + Cell.IN_A_ROW, 0);
    }
  }

  /** Takes a new policy (a reload); state, counts and an open period that runs are kept. */
  updatePolicy(policy: BreakerPolicy): void {
    if (policy.windowMs !== this.policy.windowMs) this.window.resize(policy.windowMs);
    this.policy = policy;
    this.admits = this.admitsIn(this.seenPhase);
  }

  /** The state all threads share at this moment. */
  get state(): BreakerStateName {
    return stateName(Atomics.load(this.cells, this.base));
  }

  /** Figures for the admin API. */
  describe(nowMs: number): BreakerDescription {
    return describeBreaker(this.shared, this.index, this.policy, nowMs);
  }

  /** Rejects every request until `release`. */
  holdOpen(): void {
    this.hold(Phase.HELD_OPEN, BreakerEvent.HELD_OPEN);
  }

  /** Admits every request and judges none until `release`. */
  holdClosed(): void {
    this.hold(Phase.HELD_CLOSED, BreakerEvent.HELD_CLOSED);
  }

  /** Ends a hold: a breaker held closed is closed with an empty window, one held open lets the next request probe. */
  release(): void {
    for (;;) {
      const phase = Atomics.load(this.cells, this.base);
      const state = stateOf(phase);
      if (state !== Phase.HELD_OPEN && state !== Phase.HELD_CLOSED) return;
      const to = state === Phase.HELD_OPEN ? Phase.HALF_OPEN : Phase.CLOSED;
      this.forgetPast();
      if (this.change(phase, to, BreakerEvent.RELEASED, 0, this.clock.nowMs())) return;
    }
  }

  /** Ends this thread's part in the breaker. A probe of its own is left to its deadline. */
  close(): void {
    this.machine.shutdown();
  }

  private acquireWhenOpen(nowMs: number, deadlineMs: number): number {
    let event: number = BreakerEvent.PROBE_STARTED;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const phase = this.seenPhase;
      const state = stateOf(phase);
      if (this.admits) return Verdict.ADMIT;
      if (state === Phase.HELD_OPEN) return Verdict.REJECT;
      if (state !== Phase.HALF_OPEN && !this.isOver(phase, nowMs)) return Verdict.REJECT;
      if (state === Phase.PROBING) event = BreakerEvent.PROBE_EXPIRED;
      const latest = nowMs + this.probeTimeoutMs;
      const until = deadlineMs > 0 ? Math.min(deadlineMs + PROBE_GRACE_MS, latest) : latest;
      if (this.change(phase, Phase.PROBING, event, Math.max(1, until - nowMs), nowMs)) {
        this.probeEpoch = this.epoch;
        return Verdict.PROBE;
      }
    }
    return Verdict.REJECT;
  }

  /** Whether the open period, or the probe's time, is over. */
  private isOver(phase: number, nowMs: number): boolean {
    if (Atomics.load(this.cells, this.base + Cell.DETAIL_EPOCH) !== epochOf(phase)) {
      // The thread that made the change has not written its details, or died there: judge by when we noticed.
      const lastingMs = stateOf(phase) === Phase.PROBING ? this.probeTimeoutMs : this.policy.openMs;
      return nowMs - this.seenAtMs >= lastingMs;
    }
    const remainingMs = (Atomics.load(this.cells, this.base + Cell.UNTIL) - cellTime(nowMs)) | 0;
    return remainingMs <= 0 || remainingMs > Atomics.load(this.cells, this.base + Cell.LASTING);
  }

  /** Looks at both triggers after a failure was counted in the closed phase `closed`. */
  private judge(closed: number, nowMs: number): void {
    const policy = this.policy;
    const inARow = Atomics.add(this.cells, this.base + Cell.IN_A_ROW, 1) + 1;
    if (policy.consecutiveFailures > 0 && inARow >= policy.consecutiveFailures) {
      this.open(closed, BreakerEvent.CONSECUTIVE_FAILURES, nowMs);
      return;
    }
    this.window.sum(epochOf(closed), nowMs);
    const counted = this.window.failures + this.window.successes;
    if (counted < 1 || counted < policy.minimumRequests) return;
    if (this.window.failures / counted >= policy.errorFraction) this.open(closed, BreakerEvent.ERROR_FRACTION, nowMs);
  }

  private settleProbe(token: number, outcome: number, nowMs: number): void {
    if (this.probeEpoch !== token) return;
    this.probeEpoch = -1;
    const probing = phaseOf(token, Phase.PROBING);
    const phase = Atomics.load(this.cells, this.base);
    if (phase !== probing) {
      // Its deadline passed and another request probes, or an operator stepped in.
      if (phase !== this.seenPhase) this.follow(phase, nowMs);
    } else if (outcome === Outcome.IGNORED) {
      this.change(probing, Phase.HALF_OPEN, BreakerEvent.PROBE_RETURNED, 0, nowMs);
    } else if (this.machine.settleProbe(outcome === Outcome.SUCCESS)) {
      this.forgetPast();
      this.change(probing, Phase.CLOSED, BreakerEvent.PROBE_SUCCEEDED, 0, nowMs);
    } else {
      this.open(probing, BreakerEvent.PROBE_FAILED, nowMs);
    }
  }

  private open(phase: number, event: number, nowMs: number): void {
    const openings = Atomics.load(this.cells, this.base + Cell.OPENINGS);
    const openForMs = openPeriodMs(this.policy, openings, this.random());
    if (this.change(phase, Phase.OPEN, event, openForMs, nowMs)) {
      Atomics.store(this.cells, this.base + Cell.OPENINGS, Math.min(openings + 1, MAX_DOUBLINGS));
    }
  }

  private hold(state: number, event: number): void {
    for (;;) {
      const phase = Atomics.load(this.cells, this.base);
      if (stateOf(phase) === state) return;
      if (this.change(phase, state, event, 0, this.clock.nowMs())) return;
    }
  }

  /** Written before the exchange that closes: nothing counts failures while the breaker is not closed. */
  private forgetPast(): void {
    Atomics.store(this.cells, this.base + Cell.OPENINGS, 0);
    Atomics.store(this.cells, this.base + Cell.IN_A_ROW, 0);
  }

  /** Makes a change if `phase` still holds, tells of it, and follows what holds now either way. */
  private change(phase: number, to: number, event: number, lastingMs: number, nowMs: number): boolean {
    const next = nextPhase(phase, to);
    const found = Atomics.compareExchange(this.cells, this.base, phase, next);
    if (found !== phase) {
      this.follow(found, nowMs);
      return false;
    }
    const { cells, base } = this;
    Atomics.store(cells, base + Cell.UNTIL, cellTime(nowMs + lastingMs));
    Atomics.store(cells, base + Cell.LASTING, Math.ceil(lastingMs));
    Atomics.store(cells, base + Cell.EVENT, event);
    Atomics.store(cells, base + Cell.CHANGED_AT, cellTime(nowMs));
    Atomics.store(cells, base + Cell.DETAIL_EPOCH, epochOf(next));
    this.follow(next, nowMs, to === Phase.PROBING);
    this.tell(phase, next, event, to === Phase.OPEN ? lastingMs : 0, nowMs);
    return true;
  }

  private tell(phase: number, next: number, event: number, openForMs: number, atMs: number): void {
    if (this.onTransition === null) return;
    const [from, to] = [stateName(phase), stateName(next)];
    this.onTransition({ from, to, event, reason: EVENT_NAMES[event]!, openForMs, atMs });
  }

  /** Brings this thread's machine to the shared state. `probeIsOurs` when this thread has just been granted the probe. */
  private follow(phase: number, nowMs: number, probeIsOurs = false): void {
    this.seenPhase = phase;
    this.seenAtMs = nowMs;
    this.admits = this.admitsIn(phase);
    const state = stateOf(phase);
    if (state === Phase.CLOSED || state === Phase.HELD_CLOSED) this.machine.close();
    else if (state === Phase.HALF_OPEN) this.machine.halfOpen();
    else if (probeIsOurs) this.machine.startProbe();
    else this.machine.open();
  }

  private admitsIn(phase: number): boolean {
    const state = stateOf(phase);
    if (state === Phase.CLOSED || state === Phase.HELD_CLOSED) return true;
    return !this.policy.enabled && state !== Phase.HELD_OPEN;
  }
}

/** The nth open period: doubled with each opening since the last close, capped, then lengthened by the random part. */
export function openPeriodMs(policy: BreakerPolicy, openings: number, random: number): number {
  const doubled = policy.openMs * 2 ** Math.min(openings, MAX_DOUBLINGS);
  return Math.min(doubled, Math.max(policy.maxOpenMs, policy.openMs)) * (1 + policy.jitterFraction * random);
}
