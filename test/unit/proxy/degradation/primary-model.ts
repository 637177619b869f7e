/** A model of callers, a primary and its fallback under virtual time, for judging controllers by what they cause. */
import type { DegradationPolicy } from '../../../../proxy/config/snapshot.ts';
import { type AnswerSample, SampleKind } from '../../../../proxy/degradation/answer-sample.ts';
import { DegradationController, type DegradationTransition } from '../../../../proxy/degradation/controller.ts';

export const POLICY: DegradationPolicy = {
  place: 0,
  meanSamples: 10,
  meanOverMs: 500,
  p95OverMs: 600,
  p95ForMs: 15_000,
  outOfMemory: 3,
  returnFraction: 0.7,
  memoryBelowFraction: 0.7,
  memoryForMs: 60_000,
  probeIntervalMs: 1_000,
  probes: 10,
  ladderHundredths: [1_000, 3_000, 6_000, 10_000],
  stepAnswers: 20,
};

export class Lab {
  nowMs = 1_000_000;
  /** What the control thread would read; null for a machine without devices. */
  memory: number | null = null;
  readonly told: DegradationTransition[] = [];
  readonly controller: DegradationController;

  constructor(policy: Partial<DegradationPolicy> = {}) {
    this.controller = new DegradationController({ ...POLICY, ...policy }, (transition) => this.told.push(transition));
  }

  get state(): string {
    return this.controller.state;
  }

  get share(): number {
    return this.controller.shareHundredths / 100;
  }

  get reasons(): string[] {
    return this.told.map(({ reason }) => reason);
  }

  /** Shares the primary was given, one for each change. */
  get shares(): number[] {
    return this.told.map(({ shareHundredths }) => shareHundredths / 100);
  }

  sample(latencyMs: number, kind: number = SampleKind.ANSWERED, isProbe = false): AnswerSample {
    return { kind, latencyMs, endedMs: this.nowMs, isProbe };
  }

  /** Answers of the primary one after the other, each begun when the one before ended. */
  answers(count: number, latencyMs: number, kind: number = SampleKind.ANSWERED): void {
    for (let i = 0; i < count; i++) {
      this.nowMs += latencyMs;
      this.controller.observe(this.sample(latencyMs, kind), this.nowMs);
      this.controller.tick(this.nowMs, this.memory);
    }
  }

  /** Probes, one in each interval. */
  probes(count: number, latencyMs: number, kind: number = SampleKind.ANSWERED): void {
    for (let i = 0; i < count; i++) {
      this.pass(Math.max(POLICY.probeIntervalMs, latencyMs + 1));
      this.controller.observe(this.sample(latencyMs, kind, true), this.nowMs);
      this.controller.tick(this.nowMs, this.memory);
    }
  }

  /** Time goes by, with a look every 100 ms. */
  pass(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs = Math.min(end, this.nowMs + 100);
      this.controller.tick(this.nowMs, this.memory);
    }
  }
}

export { SampleKind };
