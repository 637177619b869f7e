/**
 * How long a peer may take, as far as it is the peer that takes it. Timers run before the event loop reads what has
 * arrived, so after a turn that took long a plain timeout blames the peer for this thread's own delay: a connection that
 * stands is given up, an answer that is there is not seen. This one, when it fires late, waits once more for as long as it was
 * late, and for no longer than it was to wait at all.
 */

/** Timers are a few milliseconds late on any busy machine: that alone is no delay. Milliseconds. */
const LATE_MS = 10;

export class PeerTimeout {
  private readonly onTimeout: () => void;
  private readonly afterMs: number;
  private readonly dueMs: number;
  private timer: NodeJS.Timeout;

  /** Calls `onTimeout` once, `afterMs` from now at the earliest, unless cleared. Does not keep the process alive. */
  constructor(onTimeout: () => void, afterMs: number) {
    this.onTimeout = onTimeout;
    this.afterMs = afterMs;
    this.dueMs = performance.now() + afterMs;
    this.timer = setTimeout(() => this.due(), afterMs).unref();
  }

  clear(): void {
    clearTimeout(this.timer);
  }

  private due(): void {
    const lateMs = performance.now() - this.dueMs;
    if (lateMs < LATE_MS) this.onTimeout();
    else this.timer = setTimeout(this.onTimeout, Math.min(lateMs, this.afterMs)).unref();
  }
}
