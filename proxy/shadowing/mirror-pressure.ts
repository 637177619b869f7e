/**
 * Whether this thread is short of something: time (its event loop runs late), room for requests kept for a fallback, or
 * memory for peers that do not read. Then shadows go without, so that the primary does not.
 */
import type { MemoryBudget } from '../../proto/io/memory-budget.ts';
import { ProcessSlot } from '../stats/slots.ts';

/** An event loop this late, seconds, makes callers wait. */
const LATE_SECONDS = 0.25;
/** Shares of the bounds at which shadows give way. */
const KEPT_SHARE = 0.75;
const MEMORY_SHARE = 0.5;

export interface MirrorPressureOptions {
  readonly cells: Float64Array;
  readonly memory: MemoryBudget;
  /** Bound on the bytes kept for replay, as configured now. */
  readonly maxReplayBytes: () => number;
}

export class MirrorPressure {
  private readonly options: MirrorPressureOptions;

  constructor(options: MirrorPressureOptions) {
    this.options = options;
  }

  get isShort(): boolean {
    const { cells, memory, maxReplayBytes } = this.options;
    if (cells[ProcessSlot.LOOP_LAG]! > LATE_SECONDS) return true;
    if (cells[ProcessSlot.REPLAY_BYTES]! > KEPT_SHARE * maxReplayBytes()) return true;
    return memory.heldBytes > MEMORY_SHARE * memory.limitBytes;
  }
}
