/**
 * Asks a process for a sign of life now and then, because a model may hold up the thread that serves, which then cannot
 * say so itself. Silence is counted in questions without an answer, not by the clock: a machine that was asleep wakes up
 * with all its processes alive.
 */
import type { GroupProcess } from './group-supervisor.ts';

const QUESTIONS_PER_SILENCE = 4;
const MAX_INTERVAL_MS = 1_000;

type After = (ms: number, then: () => void) => () => void;

export class LifeSign {
  private readonly process: GroupProcess;
  private readonly intervalMs: number;
  private readonly mostUnanswered: number;
  private readonly after: After;
  private readonly onSilence: () => void;
  private unanswered = 0;
  private cancelNext: (() => void) | null = null;

  /** `onSilence` follows once when the process has not answered for about `silenceMs`. */
  constructor(process: GroupProcess, silenceMs: number, after: After, onSilence: () => void) {
    this.process = process;
    this.intervalMs = Math.min(MAX_INTERVAL_MS, silenceMs / QUESTIONS_PER_SILENCE);
    this.mostUnanswered = Math.ceil(silenceMs / this.intervalMs);
    this.after = after;
    this.onSilence = onSilence;
    this.ask();
  }

  /** The process said something. */
  heard(): void {
    this.unanswered = 0;
  }

  stop(): void {
    this.cancelNext?.();
    this.cancelNext = null;
  }

  private ask(): void {
    if (this.unanswered >= this.mostUnanswered) {
      this.onSilence();
      return;
    }
    this.unanswered++;
    this.process.send({ kind: 'ping' });
    this.cancelNext = this.after(this.intervalMs, () => {
      this.cancelNext = null;
      this.ask();
    });
  }
}
