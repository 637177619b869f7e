/**
 * When shadows are given up: all have the same time, so the calls wait in the order they were made and one timer watches the
 * oldest. Putting a call in and taking it out are a few pointer writes.
 */
import type { Clock } from '../../base/clock.ts';
import { type TimerWheel, WheelTimer } from '../../base/timer-wheel.ts';

/** A call in the list. */
export interface Awaited {
  older: Awaited | null;
  newer: Awaited | null;
  /** When it is given up; 0 while it is not in the list. */
  dueMs: number;
  /** Its time is over; it is out of the list. */
  expire(): void;
}

export class ShadowDeadlines extends WheelTimer {
  private readonly clock: Clock;
  private readonly wheel: TimerWheel;
  private readonly timeoutMs: number;
  private oldest: Awaited | null = null;
  private newest: Awaited | null = null;

  constructor(clock: Clock, wheel: TimerWheel, timeoutMs: number) {
    super();
    this.clock = clock;
    this.wheel = wheel;
    this.timeoutMs = timeoutMs;
  }

  /** The call has all its time from `nowMs` on, however much it had left. */
  watch(call: Awaited, nowMs: number): void {
    if (call.dueMs !== 0) this.forget(call);
    call.dueMs = nowMs + this.timeoutMs;
    call.older = this.newest;
    call.newer = null;
    if (this.newest === null) this.oldest = call;
    else this.newest.newer = call;
    this.newest = call;
    if (!this.armed) this.wheel.arm(this, call.dueMs);
  }

  /** The call is over; does nothing if it is not in the list. */
  forget(call: Awaited): void {
    if (call.dueMs === 0) return;
    call.dueMs = 0;
    const { older, newer } = call;
    if (older === null) this.oldest = newer;
    else older.newer = newer;
    if (newer === null) this.newest = older;
    else newer.older = older;
    call.older = null;
    call.newer = null;
  }

  onExpire(): void {
    const nowMs = this.clock.nowMs();
    for (let call = this.oldest; call !== null && call.dueMs <= nowMs; call = this.oldest) {
      this.forget(call);
      call.expire();
    }
    // An expired call may have brought another in, and armed the timer.
    if (this.oldest !== null && !this.armed) this.wheel.arm(this, this.oldest.dueMs);
  }
}
