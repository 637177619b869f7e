/**
 * How many pairs of answers a second are captured for comparison: comparing one costs more than relaying several requests,
 * and past some thousands a second more pairs teach nothing new. A token bucket that holds one second's worth, so short
 * bursts are compared whole.
 */
export class ComparisonPace {
  private tokens = 0;
  private atMs = Number.NEGATIVE_INFINITY;

  /** Whether a pair may be captured at `nowMs`, at most `perSecond` of them in a second; takes its token. */
  take(nowMs: number, perSecond: number): boolean {
    if (nowMs > this.atMs) {
      this.tokens = Math.min(perSecond, this.tokens + ((nowMs - this.atMs) * perSecond) / 1000);
      this.atMs = nowMs;
    }
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}
