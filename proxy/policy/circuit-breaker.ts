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
import { type BreakerCells, Cell, cellTime, Detail, epochOf, Phase, stateName, stateOf } from './breaker-cells.ts';
import { BreakerMachine } from './breaker-machine.ts';
import {
  type BreakerCommand,
  type BreakerStateName,
  Outcome,
  type TransitionListener,
  Verdict,
} from './breaker-verdict.ts';
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
  private admits = true;

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
    this.follow(Atomics.load(this.cells, this.base));
  }

  /**
   * Decides about one request: a `Verdict`. The caller keeps it together with `epoch` and hands both to `record`.
   * `deadlineMs` is the request's own deadline on the clock's axis, 0 for none: a probe keeps its place no longer.
   */
  tryAcquire(nowMs: number, deadlineMs = 0): number {
    const phase = Atomics.load(this.cells, this.base);
    if (phase !== this.seenPhase) this.follow(phase);
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
    // Plain loads: a change missed here by nanoseconds is caught by the exchange that would act on it.
    const phase = this.cells[this.base]!;
    if (stateOf(phase) !== Phase.CLOSED || epochOf(phase) !== epochAtAcquire) return;
    const failed = outcome === Outcome.FAILURE;
    this.window.count(epochAtAcquire, failed, nowMs);
    if (failed) this.judge(phase, nowMs);
    else if (this.cells[this.base + Cell.IN_A_ROW] !== 0) this.endRunOfFailures();
  }

  /** Whether an answer took so long that it counts as a failure. */
  isTooSlow(latencyMs: number): boolean {
    return this.policy.maxLatencyMs > 0 && latencyMs > this.policy.maxLatencyMs;
  }

  /**
   * A failure's answer asked for time: the open period that follows lasts at least `waitMs`, at most `maxOpenMs`. To be
   * called before `record`. It opens nothing by itself. Of several the latest stands, until the breaker closes.
   */
  pushBack(waitMs: number, nowMs: number): void {
    if (!(waitMs > 0)) return;
    const until = cellTime(nowMs + Math.min(waitMs, this.policy.maxOpenMs));
    Atomics.store(this.cells, this.base + Cell.NOT_BEFORE, until === 0 ? 1 : until);
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

  /** Does what an operator asks. */
  obey(command: BreakerCommand): void {
    if (command === 'open') this.openOnce();
    else if (command === 'close') this.closeOnce();
    else if (command === 'hold_open') this.holdOpen();
    else if (command === 'hold_closed') this.holdClosed();
    else this.release();
  }

  /** Opens it once, whatever it is: for a period of the policy, after which a request probes as always. */
  openOnce(): void {
    for (;;) {
      const phase = Atomics.load(this.cells, this.base);
      const openForMs = openPeriodMs(this.policy, 0, this.random());
      if (this.change(phase, Phase.OPEN, BreakerEvent.OPENED, openForMs, 1, this.clock.nowMs())) return;
    }
  }

  /** Closes it once, whatever it is, with an empty window: it judges what comes. */
  closeOnce(): void {
    for (;;) {
      const phase = Atomics.load(this.cells, this.base);
      this.endRunOfFailures();
      this.forgetPushback();
      if (this.change(phase, Phase.CLOSED, BreakerEvent.CLOSED, 0, 0, this.clock.nowMs())) return;
    }
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
      this.endRunOfFailures();
      if (this.change(phase, to, BreakerEvent.RELEASED, 0, 0, this.clock.nowMs())) return;
    }
  }

  /** Ends this thread's part in the breaker. A probe of its own is left to its deadline. */
  close(): void {
    this.machine.shutdown();
  }

  private acquireWhenOpen(nowMs: number, deadlineMs: number): number {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const phase = this.seenPhase;
      const state = stateOf(phase);
      if (this.admits) return Verdict.ADMIT;
      if (state === Phase.HELD_OPEN) return Verdict.REJECT;
      if (state !== Phase.HALF_OPEN && !this.shared.isOver(this.base, phase, nowMs)) return Verdict.REJECT;
      const event = state === Phase.PROBING ? BreakerEvent.PROBE_EXPIRED : BreakerEvent.PROBE_STARTED;
      const latest = nowMs + this.probeTimeoutMs;
      const until = deadlineMs > 0 ? Math.min(deadlineMs + PROBE_GRACE_MS, latest) : latest;
      const lastingMs = Math.max(1, until - nowMs);
      if (this.change(phase, Phase.PROBING, event, lastingMs, this.openings(phase), nowMs)) return Verdict.PROBE;
    }
    return Verdict.REJECT;
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
    const phase = Atomics.load(this.cells, this.base);
    if (epochOf(phase) !== token) {
      // It was reported before, its deadline passed and another request probes, or an operator stepped in.
      if (phase !== this.seenPhase) this.follow(phase);
    } else if (outcome === Outcome.IGNORED || !this.machine.probing) {
      // Without a machine (its cluster left with a reload while the probe was in flight) there is nobody to judge it.
      this.change(phase, Phase.HALF_OPEN, BreakerEvent.PROBE_RETURNED, 0, this.openings(phase), nowMs);
    } else if (this.machine.settleProbe(outcome === Outcome.SUCCESS)) {
      this.endRunOfFailures();
      this.forgetPushback();
      this.change(phase, Phase.CLOSED, BreakerEvent.PROBE_SUCCEEDED, 0, 0, nowMs);
    } else {
      this.open(phase, BreakerEvent.PROBE_FAILED, nowMs);
    }
  }

  private open(phase: number, event: number, nowMs: number): void {
    const openings = this.openings(phase);
    const random = this.random();
    const asked = this.askedWaitMs(nowMs) * (1 + this.policy.jitterFraction * random);
    const openForMs = Math.max(openPeriodMs(this.policy, openings, random), asked);
    this.change(phase, Phase.OPEN, event, openForMs, Math.min(openings + 1, MAX_DOUBLINGS), nowMs);
  }

  private hold(state: number, event: number): void {
    for (;;) {
      const phase = Atomics.load(this.cells, this.base);
      if (stateOf(phase) === state) return;
      if (this.change(phase, state, event, 0, this.openings(phase), this.clock.nowMs())) return;
    }
  }

  /** What is left of the time the upstream asked for, milliseconds. */
  private askedWaitMs(nowMs: number): number {
    const notBefore = Atomics.load(this.cells, this.base + Cell.NOT_BEFORE);
    if (notBefore === 0) return 0;
    const leftMs = (notBefore - cellTime(nowMs)) | 0;
    // Longer than it could ever be: times have wrapped since.
    return leftMs > 0 && leftMs <= this.policy.maxOpenMs ? leftMs : 0;
  }

  private forgetPushback(): void {
    Atomics.store(this.cells, this.base + Cell.NOT_BEFORE, 0);
  }

  private openings(phase: number): number {
    return this.shared.detail(this.base, phase, Detail.OPENINGS);
  }

  /** At a success, and before an exchange that closes (nothing counts failures while the breaker is not closed). */
  private endRunOfFailures(): void {
    Atomics.store(this.cells, this.base + Cell.IN_A_ROW, 0);
  }

  /** Makes a change if `phase` still holds and tells of it; follows what holds now either way. */
  private change(
    phase: number,
    to: number,
    event: number,
    lastingMs: number,
    openings: number,
    nowMs: number,
  ): boolean {
    const next = this.shared.nextPhase(phase, to);
    const found = this.shared.change(this.base, phase, to, event, lastingMs, openings, nowMs);
    const changed = found === next;
    this.follow(found, changed && to === Phase.PROBING);
    if (changed) this.tell(phase, next, event, to === Phase.OPEN ? lastingMs : 0, nowMs);
    return changed;
  }

  private tell(phase: number, next: number, event: number, openForMs: number, atMs: number): void {
    if (this.onTransition === null) return;
    const [from, to] = [stateName(phase), stateName(next)];
    this.onTransition({ from, to, event, reason: EVENT_NAMES[event]!, openForMs, atMs });
  }

  /** Brings this thread's machine to the shared state. `probeIsOurs` when this thread has just been granted the probe. */
  private follow(phase: number, probeIsOurs = false): void {
    this.seenPhase = phase;
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
