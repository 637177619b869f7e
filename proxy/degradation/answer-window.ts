/** The last few answers of a primary: a ring that is judged as a whole. Small, so it is summed when it is asked. */
import { assert } from '../../base/assert.ts';
import { type AnswerSample, hasLatency, SampleKind } from './answer-sample.ts';

export class AnswerWindow {
  /** Answers in the window, at most `size`. */
  count = 0;
  /** Answers since the last `clear`. */
  seen = 0;
  readonly size: number;
  private readonly latencies: Float64Array;
  private readonly failed: Uint8Array;
  private next = 0;

  /** `size` answers, 1 or more. */
  constructor(size: number) {
    assert(size >= 1, 'a window holds at least one answer');
    this.size = size;
    this.latencies = new Float64Array(size);
    this.failed = new Uint8Array(size);
  }

  add(sample: AnswerSample): void {
    this.latencies[this.next] = hasLatency(sample.kind) ? sample.latencyMs : Number.NaN;
    this.failed[this.next] = sample.kind === SampleKind.ANSWERED ? 0 : 1;
    this.next = (this.next + 1) % this.size;
    if (this.count < this.size) this.count++;
    this.seen++;
  }

  clear(): void {
    this.count = 0;
    this.seen = 0;
    this.next = 0;
  }

  get isFull(): boolean {
    return this.count === this.size;
  }

  /** Answers that were none: failures and timeouts. */
  get failures(): number {
    let failures = 0;
    for (let i = 0; i < this.count; i++) failures += this.failed[i]!;
    return failures;
  }

  /** Mean of the latencies that are known, milliseconds; NaN without any. */
  get meanMs(): number {
    let sum = 0;
    let known = 0;
    for (let i = 0; i < this.count; i++) {
      const latency = this.latencies[i]!;
      if (Number.isNaN(latency)) continue;
      sum += latency;
      known++;
    }
    return sum / known;
  }

  /** Answers that took longer than `limitMs`. */
  slowerThan(limitMs: number): number {
    let slower = 0;
    for (let i = 0; i < this.count; i++) if (this.latencies[i]! > limitMs) slower++;
    return slower;
  }
}
