/**
 * How long a primary has for itself before its request is hedged, of one model on one data thread: a fixed time, or a
 * quantile of what the primary has needed lately.
 *
 * The quantile forgets: whenever the histogram has counted `FULL` latencies all its counts are halved. A primary that was
 * cancelled because its hedge won counts with the time it had taken by then. Without that the slowest answers would be
 * missing from the figures, the quantile would sink, and more would be hedged from one halving to the next.
 */
import type { HedgeDelay } from '../config/snapshot.ts';
import { RequestOutcome } from '../stats/slots.ts';

/** Buckets of an eighth of a doubling, from 50 microseconds to about 50 seconds. */
const BUCKETS = 160;
const BUCKETS_PER_DOUBLING = 8;
const SMALLEST_MS = 0.05;
/** Latencies counted before the quantile says anything, between two looks at it, and before counts are halved. */
const ENOUGH = 50;
const LOOK_EVERY = 32;
const FULL = 2048;

export class HedgeTiming {
  /** Milliseconds; -1 while it is not known. */
  afterMs: number;
  private readonly quantile: number;
  private readonly counts: Uint32Array;
  private total = 0;
  private sinceLook = 0;

  constructor({ ms, quantile }: HedgeDelay) {
    this.quantile = quantile;
    this.afterMs = quantile > 0 ? -1 : ms;
    this.counts = new Uint32Array(quantile > 0 ? BUCKETS : 0);
  }

  /** The primary is done with a request after `tookMs`, with a `RequestOutcome`. */
  observe(result: number, tookMs: number): void {
    const answered = result === RequestOutcome.OK || result === RequestOutcome.DEADLINE;
    // One that was cancelled sooner says nothing: its caller left.
    const outrun = result === RequestOutcome.CANCELLED && this.afterMs >= 0 && tookMs >= this.afterMs;
    if (answered || outrun) this.record(tookMs);
  }

  /** The primary answered after `tookMs`, or had not by then. */
  record(tookMs: number): void {
    if (this.quantile === 0) return;
    const at = Math.floor(Math.log2(Math.max(tookMs, SMALLEST_MS) / SMALLEST_MS) * BUCKETS_PER_DOUBLING);
    this.counts[Math.min(at, BUCKETS - 1)]! += 1;
    this.total++;
    this.sinceLook++;
    if (this.total < ENOUGH || (this.sinceLook < LOOK_EVERY && this.afterMs >= 0)) return;
    this.sinceLook = 0;
    this.look();
    if (this.total >= FULL) this.halve();
  }

  /** The upper edge of the bucket the quantile falls into. */
  private look(): void {
    const wanted = this.total * this.quantile;
    let seen = 0;
    let at = 0;
    while (at < BUCKETS - 1) {
      seen += this.counts[at]!;
      if (seen >= wanted) break;
      at++;
    }
    this.afterMs = SMALLEST_MS * 2 ** ((at + 1) / BUCKETS_PER_DOUBLING);
  }

  private halve(): void {
    this.total = 0;
    for (let i = 0; i < BUCKETS; i++) {
      this.counts[i]! >>= 1;
      this.total += this.counts[i]!;
    }
  }
}
