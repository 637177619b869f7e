/** One timer for whatever falls due first. Timers have a grain of a millisecond; a look too early costs little. */
import type { Pacer } from './turn-loop.ts';

export class DueTimer {
  private readonly pacer: Pacer;
  private readonly onDue: () => void;
  private cancelTimer: (() => void) | null = null;
  private dueMs = Number.POSITIVE_INFINITY;

  constructor(pacer: Pacer, onDue: () => void) {
    this.pacer = pacer;
    this.onDue = onDue;
  }

  /** Fires at `dueMs` or before; a later time than the one it is set for changes nothing. */
  arm(dueMs: number, nowMs: number): void {
    if (dueMs >= this.dueMs) return;
    this.cancel();
    this.dueMs = dueMs;
    this.cancelTimer = this.pacer.after(Math.max(1, Math.ceil(dueMs - nowMs)), () => {
      this.cancelTimer = null;
      this.dueMs = Number.POSITIVE_INFINITY;
      this.onDue();
    });
  }

  cancel(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
    this.dueMs = Number.POSITIVE_INFINITY;
  }
}
