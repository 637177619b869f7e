/**
 * What data threads share about rate limits and faults: a token bucket for each limit, and how often each limit and
 * fault took effect. One bucket holds for the process, however many threads take from it.
 *
 *     [ begun | tokens | refilled at | refused or aborted | only counted or delayed ] x places, 32 bits each
 *
 * Tokens are in thousandths. Times are milliseconds since the memory was made; they wrap after 49 days, and differences
 * stay right. Threads may overdraw a bucket by one request each for an instant, and give it back.
 */

const CELLS = 5;
const BEGUN = 0;
const TOKENS = 1;
const REFILLED = 2;
/** Counters by index: a limit's refused requests, or a fault's aborts; then those that passed, or were delayed. */
export const GuardCount = { ACTED: 3, PASSED: 4 } as const;

/** One request. */
const WHOLE = 1000;
/** Buckets are filled no more often than this, milliseconds. */
const FILL_MS = 50;
const HEADER_BYTES = 8;

export interface BucketPolicy {
  /** Requests that fit at once. */
  readonly burst: number;
  /** Requests a millisecond, on average. */
  readonly ratePerMs: number;
}

export class GuardCells {
  private readonly cells: Int32Array;
  private readonly originMs: number;

  constructor(buffer: SharedArrayBuffer) {
    this.originMs = new Float64Array(buffer, 0, 1)[0]!;
    this.cells = new Int32Array(buffer, HEADER_BYTES);
  }

  /** Memory for this many limits and faults; `nowMs` is the time its clocks start at. */
  static allocate(places: number, nowMs: number): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(HEADER_BYTES + places * CELLS * Int32Array.BYTES_PER_ELEMENT);
    new Float64Array(buffer, 0, 1)[0] = nowMs;
    return buffer;
  }

  /** Takes one request from the bucket at `place`; false when it is empty. */
  tryTake(place: number, policy: BucketPolicy, nowMs: number): boolean {
    const { cells } = this;
    const at = place * CELLS;
    const now = Math.floor(nowMs - this.originMs) | 0;
    if (Atomics.compareExchange(cells, at + BEGUN, 0, 1) === 0) {
      Atomics.store(cells, at + REFILLED, now);
      Atomics.add(cells, at + TOKENS, policy.burst * WHOLE);
    }
    this.refill(at, policy, now);
    if (Atomics.sub(cells, at + TOKENS, WHOLE) >= WHOLE) return true;
    Atomics.add(cells, at + TOKENS, WHOLE);
    return false;
  }

  count(place: number, counter: number): void {
    Atomics.add(this.cells, place * CELLS + counter, 1);
  }

  /** Since the start; wraps after four thousand million. */
  read(place: number, counter: number): number {
    return Atomics.load(this.cells, place * CELLS + counter) >>> 0;
  }

  /** The thread that moves the time forward adds what came in since. */
  private refill(at: number, { burst, ratePerMs }: BucketPolicy, now: number): void {
    const { cells } = this;
    const last = Atomics.load(cells, at + REFILLED);
    const elapsed = (now - last) | 0;
    // Another thread is ahead of us by a moment; a bucket left alone for weeks is full.
    if (elapsed < FILL_MS && elapsed > -FILL_MS) return;
    const units = elapsed < 0 ? burst * WHOLE : Math.floor(elapsed * ratePerMs * WHOLE);
    if (units === 0) return;
    // Only the time that made whole units is used up, so that slow rates lose nothing to rounding.
    const until = elapsed < 0 ? now : (last + Math.min(elapsed, Math.ceil(units / (ratePerMs * WHOLE)))) | 0;
    if (Atomics.compareExchange(cells, at + REFILLED, last, until) !== last) return;
    for (;;) {
      const tokens = Atomics.load(cells, at + TOKENS);
      const filled = Math.min(burst * WHOLE, tokens + units);
      if (Atomics.compareExchange(cells, at + TOKENS, tokens, filled) === tokens) return;
    }
  }
}
