/** One rate limit as a data thread applies it: pure but for the shared bucket it takes from. */
import type { RateLimitSnapshot } from '../config/guard-snapshot.ts';
import { type GuardCells, GuardCount } from './guard-cells.ts';

export class RateLimit {
  private readonly config: RateLimitSnapshot;
  private readonly cells: GuardCells;

  constructor(config: RateLimitSnapshot, cells: GuardCells) {
    this.config = config;
    this.cells = cells;
  }

  /** Whether the request may go on; `random` is uniform in 0..1. */
  admits(nowMs: number, random: () => number): boolean {
    const { config, cells } = this;
    if (config.enabledHundredths < 10_000 && random() * 10_000 >= config.enabledHundredths) return true;
    if (cells.tryTake(config.place, config, nowMs)) return true;
    const passes = config.enforcedHundredths < 10_000 && random() * 10_000 >= config.enforcedHundredths;
    cells.count(config.place, passes ? GuardCount.PASSED : GuardCount.ACTED);
    return passes;
  }
}
