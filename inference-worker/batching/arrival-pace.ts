/** The usual time between arrivals, from the last sixteen or so; a silence longer than usual counts as it lasts. */

const SHARE_OF_NEWEST = 1 / 16;

export class ArrivalPace {
  lastMs = Number.NEGATIVE_INFINITY;
  private meanMs = Number.POSITIVE_INFINITY;

  record(nowMs: number): void {
    const gapMs = nowMs - this.lastMs;
    this.lastMs = nowMs;
    if (gapMs === Number.POSITIVE_INFINITY) return;
    this.meanMs =
      this.meanMs === Number.POSITIVE_INFINITY ? gapMs : this.meanMs + (gapMs - this.meanMs) * SHARE_OF_NEWEST;
  }

  /** Milliseconds; Infinity before the second arrival. */
  gapMs(nowMs: number): number {
    return Math.max(this.meanMs, nowMs - this.lastMs);
  }
}
