/**
 * Decides for one model whether its primary answers, its fallback does, or the primary a share of a ladder.
 *
 *     normal ──trigger──▶ degraded ──probes good, memory free──▶ returning (10, 30, 60, 100 %) ──last step passed──▶ normal
 *                            ▲                                        │
 *                            └──────────── relapse on the first step ─┘  (a relapse on a later step goes one step back)
 *
 * Pure: samples, readings and the time come in, the share that the primary takes comes out. The rules that hold:
 * - only the primary is judged. While the model is degraded that is by probes, never by how the fallback fares: a fast
 *   fallback says nothing about the primary, and to return because of it is to flap;
 * - an answer to a request that began before the last change says nothing about the state that change made;
 * - an operator's degradation is held until `restore` or `reset`; nothing is judged meanwhile.
 *
 * A step that has relapsed takes twice the answers to pass the next time, up to sixteen times, until the ladder is done:
 * a primary that bears a part of its load and no more would otherwise be tried in a loop.
 */
import type { DegradationPolicy } from '../config/snapshot.ts';
import type { AnswerSample } from './answer-sample.ts';
import { AnswerWindow } from './answer-window.ts';
import { MemoryWatch } from './memory-watch.ts';
import { isGood, type TriggerName, Triggers } from './triggers.ts';

export const DEGRADATION_STATES = ['normal', 'degraded', 'returning'] as const;
export type DegradationState = (typeof DEGRADATION_STATES)[number];

/** Why a state changed: a trigger, an operator, or that the primary has proved itself. */
export type DegradationReason = TriggerName | 'operator' | 'probes_passed' | 'step_passed';

export const DEGRADATION_COMMANDS = ['degrade', 'restore', 'reset'] as const;
/** `degrade` holds the model degraded; `restore` returns by the ladder; `reset` returns at once. */
export type DegradationCommand = (typeof DEGRADATION_COMMANDS)[number];

export interface DegradationTransition {
  readonly from: DegradationState;
  readonly to: DegradationState;
  readonly reason: DegradationReason;
  /** Share of the traffic the primary takes from now on, hundredths of a percent. */
  readonly shareHundredths: number;
  readonly fromShareHundredths: number;
}

export const FULL_SHARE = 10_000;
const MAX_DOUBLINGS = 4;

export class DegradationController {
  state: DegradationState = 'normal';
  reason: DegradationReason | '' = '';
  /** Position in the ladder while returning. */
  step = 0;
  /** Held by an operator. */
  held = false;
  shareHundredths = FULL_SHARE;
  changedAtMs = Number.NEGATIVE_INFINITY;
  /** Times the model was degraded. */
  entered = 0;
  /** Steps of the ladder passed since the model was last degraded, hundredths of a percent, in order. */
  passed: number[] = [];
  readonly memory: MemoryWatch;
  probes: AnswerWindow;
  stepAnswers: AnswerWindow;
  triggers: Triggers;
  private policy: DegradationPolicy;
  private relapses = 0;
  private readonly onTransition: (transition: DegradationTransition) => void;

  constructor(policy: DegradationPolicy, onTransition: (transition: DegradationTransition) => void) {
    this.policy = policy;
    this.onTransition = onTransition;
    this.triggers = new Triggers(policy);
    this.probes = new AnswerWindow(policy.probes);
    this.stepAnswers = new AnswerWindow(policy.stepAnswers);
    this.memory = new MemoryWatch();
  }

  /** New thresholds. The state stays; windows begin anew, since what they hold was counted by other rules. */
  updatePolicy(policy: DegradationPolicy): void {
    if (JSON.stringify(policy) === JSON.stringify(this.policy)) return;
    this.policy = policy;
    this.triggers = new Triggers(policy);
    this.probes = new AnswerWindow(policy.probes);
    this.stepAnswers = new AnswerWindow(policy.stepAnswers);
    this.step = Math.min(this.step, policy.ladderHundredths.length - 1);
    if (this.state === 'returning') this.shareHundredths = policy.ladderHundredths[this.step]!;
  }

  /** Takes one answer of the primary, in the order of their ends; `nowMs` is when a change it causes takes effect. */
  observe(sample: AnswerSample, nowMs: number): void {
    if (this.held || sample.endedMs - sample.latencyMs < this.changedAtMs) return;
    if (this.state === 'degraded') {
      this.probes.add(sample);
      return;
    }
    if (sample.isProbe) return;
    const trigger = this.triggers.add(sample);
    if (this.state === 'returning') this.stepAnswers.add(sample);
    if (trigger !== null) this.goDown(trigger, nowMs);
    else if (this.state === 'returning') this.climbIfGood(nowMs);
  }

  /**
   * Looks at what is about time. `memoryUsed` is the largest fraction of a device's memory in use; null where there is
   * no device, NaN where the reading is missing.
   */
  tick(nowMs: number, memoryUsed: number | null): void {
    const { memoryBelowFraction, memoryForMs } = this.policy;
    this.memory.take(memoryUsed, memoryBelowFraction, nowMs);
    if (this.held) return;
    if (this.state !== 'degraded') {
      const trigger = this.triggers.tick(nowMs);
      if (trigger !== null) this.goDown(trigger, nowMs);
    } else if (isGood(this.probes, this.policy) && this.memory.allows(memoryForMs, nowMs)) {
      this.climbTo(0, 'probes_passed', nowMs);
    }
  }

  /** Does what an operator asks. */
  obey(command: DegradationCommand, nowMs: number): void {
    if (command === 'degrade') {
      if (this.state !== 'degraded') this.degrade('operator', nowMs);
      this.held = true;
      return;
    }
    this.held = false;
    if (this.state === 'normal') return;
    if (command === 'reset') this.change('normal', 'operator', FULL_SHARE, nowMs);
    else if (this.state === 'degraded') this.climbTo(0, 'operator', nowMs);
  }

  /** Answers the step in force takes to pass. */
  get neededAnswers(): number {
    return this.policy.stepAnswers * 2 ** Math.min(this.relapses, MAX_DOUBLINGS);
  }

  private goDown(reason: TriggerName, nowMs: number): void {
    if (this.state === 'returning') this.relapses++;
    if (this.state === 'returning' && this.step > 0) {
      this.passed.length = Math.min(this.passed.length, this.step - 1);
      this.climbTo(this.step - 1, reason, nowMs);
    } else {
      this.degrade(reason, nowMs);
    }
  }

  private climbIfGood(nowMs: number): void {
    if (this.stepAnswers.seen < this.neededAnswers || !isGood(this.stepAnswers, this.policy)) return;
    const { ladderHundredths } = this.policy;
    this.passed.push(ladderHundredths[this.step]!);
    if (this.step + 1 < ladderHundredths.length) this.climbTo(this.step + 1, 'step_passed', nowMs);
    else this.change('normal', 'step_passed', FULL_SHARE, nowMs);
  }

  private climbTo(step: number, reason: DegradationReason, nowMs: number): void {
    this.step = step;
    this.change('returning', reason, this.policy.ladderHundredths[step]!, nowMs);
  }

  private degrade(reason: DegradationReason, nowMs: number): void {
    if (this.state === 'normal') this.entered++;
    this.passed = [];
    this.memory.clear();
    this.change('degraded', reason, 0, nowMs);
  }

  private change(to: DegradationState, reason: DegradationReason, shareHundredths: number, nowMs: number): void {
    const { state: from, shareHundredths: fromShareHundredths } = this;
    this.state = to;
    this.reason = reason;
    this.shareHundredths = shareHundredths;
    this.changedAtMs = nowMs;
    if (to === 'normal') this.relapses = 0;
    this.triggers.clear();
    this.probes.clear();
    this.stepAnswers.clear();
    this.onTransition({ from, to, reason, shareHundredths, fromShareHundredths });
  }
}
