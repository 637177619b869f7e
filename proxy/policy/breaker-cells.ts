/**
 * The state of all breakers that data threads share: one SharedArrayBuffer of Int32 cells.
 *
 *     [ header: clusters, threads, ... (16) ] then per cluster:
 *     [ PHASE, IN_A_ROW, NOT_BEFORE, ... (16) | thread 0's area | thread 1's area | ... | the control thread's area ]
 *     area:    [ details of an even epoch (8) | of an odd epoch (8) | window: 8 buckets x 4 ]
 *     details: UNTIL LASTING EVENT CHANGED_AT OPENINGS, 3 spare
 *     bucket:  EPOCH ID SUCCESSES FAILURES
 *     PHASE:   epoch (23 bits) | maker (6) | state (3)
 *
 * The rule that holds: PHASE changes only by compare-and-exchange, and every change adds one to the epoch it carries.
 * So of any number of threads that want to change a breaker exactly one does, and a request that remembers the epoch it
 * began in can tell at its end whether the breaker has changed since. The grant of a probe is such a change: the epoch
 * it makes is the probe's token, and no two probes share one.
 *
 * What belongs to a change (its details) is written before the exchange, into the area of the thread that attempts it,
 * which PHASE then names as its maker. A thread attempts epoch n+2 only after it saw n+1, so while n is in force the
 * details of n stand; a reader that was overtaken reads nonsense at worst and loses its exchange. A thread may therefore
 * die at any point and nothing waits for it.
 *
 * Times are whole milliseconds modulo 2^32, compared by signed difference. All threads' clocks must count from the same
 * origin, as `systemClock` does. Accepted imprecision: a breaker left open without one request for 49.7 days may reject
 * for one more open period and a minute; a request that outlives 8,388,608 changes may be counted in an epoch not its own.
 */

import { assert } from '../../base/assert.ts';
import type { BreakerStateName } from './breaker-verdict.ts';

/** States a PHASE cell can hold, in its low three bits. CLOSED is 0, so zeroed memory is a closed breaker. */
export const Phase = {
  /** Requests pass; outcomes are counted. To OPEN, HELD_*. An operator may also take any state to OPEN or CLOSED once. */
  CLOSED: 0,
  /** Requests are rejected until UNTIL. To PROBING, HELD_*. */
  OPEN: 1,
  /** The open period is over and no probe is in flight: the next request probes. To PROBING, HELD_*. */
  HALF_OPEN: 2,
  /** One probe is in flight and should settle before UNTIL. To CLOSED, OPEN, HALF_OPEN, PROBING (the next), HELD_*. */
  PROBING: 3,
  /** An operator's: requests are rejected. To HALF_OPEN, HELD_CLOSED. */
  HELD_OPEN: 4,
  /** An operator's: requests pass and nothing is judged. To CLOSED, HELD_OPEN. */
  HELD_CLOSED: 5,
} as const;

const STATE_BITS = 3;
const STATE_MASK = (1 << STATE_BITS) - 1;
const MAKER_BITS = 6;
const MAKER_MASK = (1 << MAKER_BITS) - 1;
const EPOCH_SHIFT = STATE_BITS + MAKER_BITS;

/** Offsets in a cluster's state cells. */
export const Cell = {
  PHASE: 0,
  /** Failures in a row, over all threads in the order they were recorded. */
  IN_A_ROW: 1,
  /** Time before which the upstream asked not to be called again, 0 for none; see `CircuitBreaker.pushBack`. */
  NOT_BEFORE: 2,
} as const;

/** Offsets in the details of a change. */
export const Detail = {
  /** End of the open period (OPEN) or deadline of the probe (PROBING). */
  UNTIL: 0,
  /** UNTIL minus the time of the change: no remainder is longer. */
  LASTING: 1,
  /** `BreakerEvent` of the change. */
  EVENT: 2,
  CHANGED_AT: 3,
  /** Openings since the breaker last closed: the exponent of the open period. */
  OPENINGS: 4,
} as const;

/** How far a reader's clock reading may lag behind the maker's: it was taken before the thread was put to sleep. */
const STALE_CLOCK_MS = 60_000;

const HEADER_CELLS = 16;
const STATE_CELLS = 16;
const DETAIL_CELLS = 8;

/** Buckets of a window. It then covers between 7/8 and 8/8 of the configured length. */
export const WINDOW_BUCKETS = 8;
/** Cells of a bucket: EPOCH, ID, SUCCESSES, FAILURES. */
export const BUCKET_CELLS = 4;
/** Three cache lines, so that two threads never write to the same one. */
export const AREA_CELLS = 2 * DETAIL_CELLS + WINDOW_BUCKETS * BUCKET_CELLS;

const MAX_CLUSTERS = 4096;
/** One maker number is the control thread's. */
const MAX_THREADS = MAKER_MASK;

const STATE_NAMES: readonly BreakerStateName[] = [
  'closed',
  'open',
  'half_open',
  'half_open',
  'held_open',
  'held_closed',
];

/** A view of the shared cells as one thread uses them. Send `buffer` to another thread and construct a view there. */
export class BreakerCells {
  readonly buffer: SharedArrayBuffer;
  readonly cells: Int32Array;
  readonly clusters: number;
  readonly threads: number;
  /** Which thread this view acts for; -1 for the control thread, which watches and holds but records nothing. */
  readonly threadIndex: number;
  private readonly maker: number;

  constructor(buffer: SharedArrayBuffer, threadIndex = -1) {
    this.buffer = buffer;
    this.cells = new Int32Array(buffer);
    this.clusters = this.cells[0]!;
    this.threads = this.cells[1]!;
    this.threadIndex = threadIndex;
    this.maker = threadIndex === -1 ? this.threads : threadIndex;
    assert(this.clusters > 0, 'the buffer was not made by BreakerCells.allocate');
    assert(threadIndex >= -1 && threadIndex < this.threads, 'threadIndex outside the threads allocated for');
  }

  /** A zeroed buffer (all breakers closed): up to 4096 clusters, 63 data threads; 256 bytes and 192 per thread each. */
  static allocate(clusters: number, threads: number): SharedArrayBuffer {
    assert(clusters >= 1 && clusters <= MAX_CLUSTERS, 'clusters outside 1..4096');
    assert(threads >= 1 && threads <= MAX_THREADS, 'threads outside 1..63');
    const cells = HEADER_CELLS + clusters * clusterCells(threads);
    const buffer = new SharedArrayBuffer(cells * Int32Array.BYTES_PER_ELEMENT);
    const header = new Int32Array(buffer);
    header[0] = clusters;
    header[1] = threads;
    return buffer;
  }

  /** First state cell of a cluster; PHASE is there. */
  stateBase(index: number): number {
    assert(index >= 0 && index < this.clusters, 'breaker index outside the clusters allocated for');
    return HEADER_CELLS + index * clusterCells(this.threads);
  }

  /** First cell of a thread's window for a cluster; the next thread's is `AREA_CELLS` further. */
  windowBase(index: number, thread: number): number {
    return this.stateBase(index) + STATE_CELLS + thread * AREA_CELLS + 2 * DETAIL_CELLS;
  }

  /** A detail of the change that made `phase`, for the cluster whose state cells start at `base`. */
  detail(base: number, phase: number, offset: number): number {
    return Atomics.load(this.cells, this.detailBase(base, phase) + offset);
  }

  /** Whether the time given to the change that made `phase` is over. */
  isOver(base: number, phase: number, nowMs: number): boolean {
    const remainingMs = (this.detail(base, phase, Detail.UNTIL) - cellTime(nowMs)) | 0;
    // Longer than it could ever be: times have wrapped since, so it ended long ago.
    return remainingMs <= 0 || remainingMs > this.detail(base, phase, Detail.LASTING) + STALE_CLOCK_MS;
  }

  /**
   * Takes the breaker from `phase` to `state` if `phase` is still in force. Returns the PHASE cell then in force: the one
   * `nextPhase` foretells on success, another thread's otherwise.
   */
  change(
    base: number,
    phase: number,
    state: number,
    event: number,
    lastingMs: number,
    openings: number,
    nowMs: number,
  ): number {
    const next = this.nextPhase(phase, state);
    const detail = this.detailBase(base, next);
    Atomics.store(this.cells, detail + Detail.UNTIL, cellTime(nowMs + lastingMs));
    Atomics.store(this.cells, detail + Detail.LASTING, Math.ceil(lastingMs));
    Atomics.store(this.cells, detail + Detail.EVENT, event);
    Atomics.store(this.cells, detail + Detail.CHANGED_AT, cellTime(nowMs));
    Atomics.store(this.cells, detail + Detail.OPENINGS, openings);
    const found = Atomics.compareExchange(this.cells, base + Cell.PHASE, phase, next);
    return found === phase ? next : found;
  }

  /** The PHASE cell this thread makes when it takes the breaker from `phase` to `state`. */
  nextPhase(phase: number, state: number): number {
    return phaseOf(epochOf(phase) + 1, state, this.maker);
  }

  /** Closes a breaker and forgets its past: for an index that is given to another cluster. */
  reset(index: number, event: number, nowMs: number): void {
    const base = this.stateBase(index);
    Atomics.store(this.cells, base + Cell.IN_A_ROW, 0);
    Atomics.store(this.cells, base + Cell.NOT_BEFORE, 0);
    for (;;) {
      const phase = Atomics.load(this.cells, base);
      const next = this.nextPhase(phase, Phase.CLOSED);
      if (this.change(base, phase, Phase.CLOSED, event, 0, 0, nowMs) === next) return;
    }
  }

  private detailBase(base: number, phase: number): number {
    const maker = (phase >>> STATE_BITS) & MAKER_MASK;
    return base + STATE_CELLS + maker * AREA_CELLS + (epochOf(phase) & 1) * DETAIL_CELLS;
  }
}

/** The state in a PHASE cell. */
export function stateOf(phase: number): number {
  return phase & STATE_MASK;
}

/** The epoch in a PHASE cell, 0..2^23-1; it grows by one with every change and wraps. */
export function epochOf(phase: number): number {
  return phase >>> EPOCH_SHIFT;
}

/** The PHASE cell of a state in an epoch, made by a thread. */
export function phaseOf(epoch: number, state: number, maker: number): number {
  return (epoch << EPOCH_SHIFT) | (maker << STATE_BITS) | state;
}

/** The name people see for the state in a PHASE cell. */
export function stateName(phase: number): BreakerStateName {
  return STATE_NAMES[stateOf(phase)]!;
}

/** A clock reading as cells hold times: whole milliseconds modulo 2^32. */
export function cellTime(nowMs: number): number {
  return Math.floor(nowMs) | 0;
}

function clusterCells(threads: number): number {
  return STATE_CELLS + (threads + 1) * AREA_CELLS;
}
