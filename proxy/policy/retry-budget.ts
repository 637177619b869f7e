/**
 * How many requests may be sent again: a share of the requests of the last ten seconds, and a floor for quiet times.
 * Without it retries multiply an outage. One budget belongs to one cluster and data thread.
 */

const BUCKETS = 10;
const BUCKET_MS = 1000;

export class RetryBudget {
  private readonly requests = new Float64Array(BUCKETS);
  private readonly retries = new Float64Array(BUCKETS);
  private second = -1;
  private requestSum = 0;
  private retrySum = 0;

  /** A first try was sent. */
  request(nowMs: number): void {
    this.requests[this.turn(nowMs)]! += 1;
    this.requestSum++;
  }

  /**
   * Whether one more retry may be sent now, and if so counts it. `fraction` is retries over requests, 0..1; `floor` is
   * allowed each second in any case.
   */
  take(nowMs: number, fraction: number, floor: number): boolean {
    const bucket = this.turn(nowMs);
    const overFloor = this.retries[bucket]! >= floor;
    if (overFloor && this.retrySum >= this.requestSum * fraction) return false;
    this.retries[bucket]! += 1;
    this.retrySum++;
    return true;
  }

  /** The bucket of this second; those of the seconds since the last turn are emptied. */
  private turn(nowMs: number): number {
    const second = Math.floor(nowMs / BUCKET_MS);
    const stale = Math.min(second - this.second, BUCKETS);
    for (let i = 0; i < stale; i++) {
      const bucket = (second - i) % BUCKETS;
      this.requestSum -= this.requests[bucket]!;
      this.retrySum -= this.retries[bucket]!;
      this.requests[bucket] = 0;
      this.retries[bucket] = 0;
    }
    if (second > this.second) this.second = second;
    return this.second % BUCKETS;
  }
}
