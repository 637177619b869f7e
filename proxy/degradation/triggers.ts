/** What makes a primary count as too slow or too short of memory: three rules over its answers, each of which may be off. */
import type { DegradationPolicy } from '../config/snapshot.ts';
import { type AnswerSample, hasLatency, SampleKind } from './answer-sample.ts';
import { AnswerWindow } from './answer-window.ts';
import { TailWatch } from './tail-watch.ts';

/** Why a model is degraded, or a step of the ladder was taken back. */
export type TriggerName = 'mean_latency' | 'p95_latency' | 'out_of_memory';

export class Triggers {
  readonly window: AnswerWindow;
  /** Out-of-memory answers in a row. */
  outOfMemoryRun = 0;
  private readonly policy: DegradationPolicy;
  private readonly tail: TailWatch;

  constructor(policy: DegradationPolicy) {
    this.policy = policy;
    this.window = new AnswerWindow(policy.meanSamples);
    this.tail = new TailWatch(policy.p95OverMs, policy.p95ForMs);
  }

  /** Takes an answer; says which rule it breaks, null for none. */
  add(sample: AnswerSample): TriggerName | null {
    const { outOfMemory, meanOverMs } = this.policy;
    this.outOfMemoryRun = sample.kind === SampleKind.OUT_OF_MEMORY ? this.outOfMemoryRun + 1 : 0;
    if (outOfMemory > 0 && this.outOfMemoryRun >= outOfMemory) return 'out_of_memory';
    if (!hasLatency(sample.kind)) return null;
    this.window.add(sample);
    this.tail.add(sample.latencyMs, sample.endedMs);
    const isSlow = meanOverMs > 0 && this.window.isFull && this.window.meanMs > meanOverMs;
    return isSlow ? 'mean_latency' : null;
  }

  /** Looks at the rule that is about time. */
  tick(nowMs: number): TriggerName | null {
    return this.tail.tick(nowMs) ? 'p95_latency' : null;
  }

  clear(): void {
    this.window.clear();
    this.tail.clear();
    this.outOfMemoryRun = 0;
  }
}

/**
 * Whether a window of answers is good enough to return: it is full, nothing failed, and the limits that degrade are
 * kept with room to spare (`returnFraction`).
 */
export function isGood(window: AnswerWindow, policy: DegradationPolicy): boolean {
  const { meanOverMs, p95OverMs, returnFraction } = policy;
  if (!window.isFull || window.failures > 0) return false;
  if (meanOverMs > 0 && !(window.meanMs < meanOverMs * returnFraction)) return false;
  return p95OverMs <= 0 || window.slowerThan(p95OverMs * returnFraction) * 20 <= window.size;
}
