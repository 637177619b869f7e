/** A clock that stands still until a test moves it. */
import type { Clock } from '../../base/clock.ts';

export class VirtualClock implements Clock {
  private currentMs: number;

  constructor(startMs = 1_000_000) {
    this.currentMs = startMs;
  }

  nowMs(): number {
    return this.currentMs;
  }

  advance(ms: number): void {
    this.currentMs += ms;
  }
}
