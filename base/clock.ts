/**
 * Time for everything that decides: a clock is passed in, so policies run under virtual time in tests.
 * The system clock is monotonic; wall time is only for log lines and never enters a decision.
 */

/** A monotonic clock. `nowMs` has an arbitrary origin and sub-millisecond resolution. */
export interface Clock {
  nowMs(): number;
}

/**
 * The process's monotonic clock. Its origin is the time origin of the *process group of threads*: worker threads
 * each have their own `performance.timeOrigin`, so it is added back to make readings comparable across threads.
 */
class SystemClock implements Clock {
  private readonly originMs = performance.timeOrigin;

  nowMs(): number {
    return this.originMs + performance.now();
  }
}

export const systemClock: Clock = new SystemClock();
