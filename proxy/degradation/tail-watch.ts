/**
 * Whether the 95th percentile of a primary's latency has been over a limit for a time.
 *
 * The percentile is over the limit exactly when more than one answer in twenty is, so two counts for each slice of time
 * say it without a histogram and without error. It is judged over a rolling third of the time asked for, at every tick;
 * a moment in which it is not over, or in which nothing was answered, starts the time again.
 */

const SLICES = 5;
/** The rolling window is a third of the time the condition has to hold. */
const WINDOWS = 3;
/** One answer in so many may be slower than the 95th percentile. */
const ONE_IN = 20;

export class TailWatch {
  private readonly limitMs: number;
  private readonly forMs: number;
  private readonly sliceMs: number;
  private readonly slices = new Float64Array(SLICES).fill(-1);
  private readonly answers = new Float64Array(SLICES);
  private readonly slow = new Float64Array(SLICES);
  private sinceMs = Number.POSITIVE_INFINITY;

  /** `limitMs` for `forMs`; a limit of 0 is never exceeded. */
  constructor(limitMs: number, forMs: number) {
    this.limitMs = limitMs;
    this.forMs = forMs;
    this.sliceMs = Math.max(1, forMs / WINDOWS / SLICES);
  }

  add(latencyMs: number, nowMs: number): void {
    const slice = Math.floor(nowMs / this.sliceMs);
    const at = slice % SLICES;
    if (this.slices[at] !== slice) {
      this.slices[at] = slice;
      this.answers[at] = 0;
      this.slow[at] = 0;
    }
    this.answers[at]! += 1;
    if (latencyMs > this.limitMs) this.slow[at]! += 1;
  }

  /** Looks at the window now; true when the limit has been exceeded for the whole time. */
  tick(nowMs: number): boolean {
    if (this.limitMs <= 0 || !this.isOver(nowMs)) {
      this.sinceMs = Number.POSITIVE_INFINITY;
      return false;
    }
    if (this.sinceMs === Number.POSITIVE_INFINITY) this.sinceMs = nowMs;
    return nowMs - this.sinceMs >= this.forMs;
  }

  /** How long the limit has been exceeded as of the last tick, milliseconds. */
  overForMs(nowMs: number): number {
    return this.sinceMs === Number.POSITIVE_INFINITY ? 0 : nowMs - this.sinceMs;
  }

  clear(): void {
    this.slices.fill(-1);
    this.sinceMs = Number.POSITIVE_INFINITY;
  }

  private isOver(nowMs: number): boolean {
    const newest = Math.floor(nowMs / this.sliceMs);
    let answers = 0;
    let slow = 0;
    for (let i = 0; i < SLICES; i++) {
      if (this.slices[i]! <= newest - SLICES) continue;
      answers += this.answers[i]!;
      slow += this.slow[i]!;
    }
    return slow * ONE_IN > answers;
  }
}
