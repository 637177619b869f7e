/**
 * How many requests may be sent again: a share of the requests of the last ten seconds, and a floor for quiet times.
 * Without it retries multiply an outage. One budget belongs to one cluster of the process: its data threads share the
 * memory. Accepted imprecision: what threads count in the instant in which one of them begins a new second may be lost.
 */

const BUCKETS = 10;
const BUCKET_MS = 1000;
/** A bucket: the second it is for, its first tries, and what was sent again in it. */
const BUCKET_CELLS = 3;
const REQUESTS = 1;
const RETRIES = 2;
/** Cells of a budget. */
export const RETRY_CELLS: number = BUCKETS * BUCKET_CELLS;

export class RetryBudget {
  private readonly cells: Int32Array;

  /** `cells` are `RETRY_CELLS`, zero at first, shared by the threads that share the budget. */
  constructor(cells: Int32Array) {
    this.cells = cells;
  }

  /** A first try was sent. */
  request(nowMs: number): void {
    Atomics.add(this.cells, this.bucket(secondOf(nowMs)) + REQUESTS, 1);
  }

  /**
   * Whether one more retry may be sent now, and if so counts it. `fraction` is retries over requests, 0..1; `floor` is
   * allowed each second in any case.
   */
  take(nowMs: number, fraction: number, floor: number): boolean {
    const { cells } = this;
    const second = secondOf(nowMs);
    const at = this.bucket(second) + RETRIES;
    if (Atomics.add(cells, at, 1) < floor) return true;
    const before = this.sum(second, RETRIES) - 1;
    if (before < this.sum(second, REQUESTS) * fraction) return true;
    Atomics.sub(cells, at, 1);
    return false;
  }

  /** The bucket of this second, emptied of what an earlier one left. */
  private bucket(second: number): number {
    const { cells } = this;
    const at = (second % BUCKETS) * BUCKET_CELLS;
    const held = Atomics.load(cells, at);
    if (held !== second && Atomics.compareExchange(cells, at, held, second) === held) {
      Atomics.store(cells, at + REQUESTS, 0);
      Atomics.store(cells, at + RETRIES, 0);
    }
    return at;
  }

  /** Over the last seconds; a bucket ahead of this thread's clock counts too. */
  private sum(second: number, count: number): number {
    const { cells } = this;
    let sum = 0;
    for (let at = 0; at < RETRY_CELLS; at += BUCKET_CELLS) {
      const held = Atomics.load(cells, at);
      if (held > second - BUCKETS && held < second + BUCKETS) sum += Atomics.load(cells, at + count);
    }
    return sum;
  }
}

/** Whole seconds since 1970 or the like, from 1 on: 0 is a bucket never used. */
function secondOf(nowMs: number): number {
  return (Math.floor(nowMs / BUCKET_MS) + 1) | 0;
}
