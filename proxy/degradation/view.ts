/** What the admin API says about a model's degradation, as plain data. Times in milliseconds, shares in percent. */
import type { DegradationPolicy } from '../config/snapshot.ts';
import type { AnswerWindow } from './answer-window.ts';
import type { DegradationController, DegradationState } from './controller.ts';

export interface WindowDescription {
  readonly answers: number;
  readonly of: number;
  readonly meanMs: number | null;
  readonly failures: number;
}

export interface DegradationDescription {
  readonly model: string;
  readonly state: DegradationState;
  /** Why it is in this state; '' before the first change. */
  readonly reason: string;
  readonly held: boolean;
  readonly primaryPercent: number;
  readonly changedAgoMs: number | null;
  /** Times it was degraded. */
  readonly entered: number;
  /** Steps passed on the way back since it was last degraded, percent. */
  readonly ladder: readonly number[];
  /** What degrades, as of now. */
  readonly recent: WindowDescription & { readonly outOfMemoryInARow: number };
  /** What lets it return. */
  readonly probes: WindowDescription & { readonly judged: number };
  readonly step: WindowDescription & { readonly needed: number };
  /** Fraction of the fullest device's memory in use: null without devices, 'unknown' while it cannot be read. */
  readonly deviceMemory: number | null | 'unknown';
  /** Answers that were not judged, because data threads wrote faster than they were read. */
  readonly missed: number;
  readonly transitions: readonly unknown[];
}

export interface DriverFigures {
  readonly missed: number;
  readonly probesJudged: number;
  readonly transitions: readonly unknown[];
}

export function describeDegradation(
  model: string,
  controller: DegradationController,
  policy: DegradationPolicy,
  nowMs: number,
  figures: DriverFigures,
): DegradationDescription {
  const { used } = controller.memory;
  return {
    model,
    state: controller.state,
    reason: controller.reason,
    held: controller.held,
    primaryPercent: controller.shareHundredths / 100,
    changedAgoMs: controller.changedAtMs === Number.NEGATIVE_INFINITY ? null : nowMs - controller.changedAtMs,
    entered: controller.entered,
    ladder: controller.passed.map((hundredths) => hundredths / 100),
    recent: { ...windowOf(controller.triggers.window), outOfMemoryInARow: controller.triggers.outOfMemoryRun },
    probes: { ...windowOf(controller.probes), judged: figures.probesJudged },
    step: { ...windowOf(controller.stepAnswers), needed: controller.neededAnswers },
    deviceMemory: policy.memoryBelowFraction === 0 ? null : Number.isNaN(used) ? 'unknown' : used,
    missed: figures.missed,
    transitions: figures.transitions,
  };
}

function windowOf(window: AnswerWindow): WindowDescription {
  const { count, size, meanMs, failures } = window;
  return { answers: count, of: size, meanMs: Number.isNaN(meanMs) ? null : meanMs, failures };
}
