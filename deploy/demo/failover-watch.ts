/**
 * Watches the outcomes around a kill and says what the callers noticed.
 *
 * Rule: judged from the client's side only. A call counts as touched by the kill when it ended after the kill and
 * before the recovery; the recovery is the first answer of an unbroken run of `STEADY_ANSWERS` from the primary.
 */
import type { CallOutcome } from './tally.ts';

/** Answers in a row, all by the primary, that count as steady: about a third of a second at the demo's rate. */
export const STEADY_ANSWERS = 50;

export interface FailoverReport {
  /** Calls that failed between the kill and the recovery. */
  readonly failed: number;
  /** From the kill to the first answer by the fallback; null while there was none. */
  readonly fallbackMs: number | null;
  /** From the kill to the first of the steady answers by the primary; null while not recovered. */
  readonly recoveredMs: number | null;
}

export class FailoverWatch {
  readonly #primary: string;
  #killedAtMs = Number.NaN;
  #failed = 0;
  #fallbackMs: number | null = null;
  #recoveredMs: number | null = null;
  #streak = 0;
  #streakFromMs = 0;
  /** Whether anything but the primary's answers was seen since the kill; without it there is nothing to recover from. */
  #disturbed = false;

  /** @param primary the name that answers by the primary carry, such as `credit-risk@1`. */
  constructor(primary: string) {
    this.#primary = primary;
  }

  killed(nowMs: number): void {
    this.#killedAtMs = nowMs;
  }

  get isRecovered(): boolean {
    return this.#recoveredMs !== null;
  }

  record(outcome: CallOutcome): void {
    if (Number.isNaN(this.#killedAtMs) || this.isRecovered || outcome.endedAtMs < this.#killedAtMs) return;
    if (outcome.answeredBy === this.#primary) {
      if (this.#streak++ === 0) this.#streakFromMs = outcome.endedAtMs;
      if (this.#disturbed && this.#streak >= STEADY_ANSWERS) this.#recoveredMs = this.#streakFromMs - this.#killedAtMs;
      return;
    }
    this.#disturbed = true;
    this.#streak = 0;
    if (outcome.failure !== '') this.#failed++;
    else this.#fallbackMs ??= outcome.endedAtMs - this.#killedAtMs;
  }

  report(): FailoverReport {
    return { failed: this.#failed, fallbackMs: this.#fallbackMs, recoveredMs: this.#recoveredMs };
  }
}
