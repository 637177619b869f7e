/**
 * Watches how late a data thread's event loop runs, how busy it is and how much it holds for others, and keeps the figures in the process block.
 *
 * A timer every quarter of a second measures its own delay; 40 readings are ten seconds. It keeps no process alive and
 * costs four wake-ups a second. Accepted imprecision: a stall between two timers is seen only as far as it delays one.
 */

import { performance } from 'node:perf_hooks';
import type { Clock } from '../../base/clock.ts';
import { threadMemory } from '../../proto/io/memory-budget.ts';
import type { StatsRegion } from './region.ts';
import { ProcessSlot } from './slots.ts';

const PERIOD_MS = 250;
const READINGS = 40;
const READINGS_PER_SECOND = 4;

export class LoopWatch {
  private readonly region: StatsRegion;
  private readonly clock: Clock;
  private readonly lagsMs = new Float64Array(READINGS);
  private readings = 0;
  private dueMs = 0;
  private utilisation = performance.eventLoopUtilization();
  private timer: NodeJS.Timeout | null = null;

  constructor(region: StatsRegion, clock: Clock) {
    this.region = region;
    this.clock = clock;
  }

  start(): void {
    this.dueMs = this.clock.nowMs() + PERIOD_MS;
    this.timer = setInterval(() => this.read(this.clock.nowMs()), PERIOD_MS);
    this.timer.unref();
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** Takes one reading: called by the timer, and by tests with a time of their own. */
  read(nowMs: number): void {
    const lagMs = Math.max(0, nowMs - this.dueMs);
    this.dueMs = nowMs + PERIOD_MS;
    this.lagsMs[this.readings % READINGS] = lagMs;
    this.readings++;
    let maxMs = 0;
    for (let i = 0; i < READINGS; i++) maxMs = Math.max(maxMs, this.lagsMs[i]!);
    this.region.set(ProcessSlot.LOOP_LAG, lagMs / 1_000);
    this.region.set(ProcessSlot.LOOP_LAG_MAX, maxMs / 1_000);
    this.region.set(ProcessSlot.MEMORY_HELD, threadMemory.heldBytes);
    if (this.readings % READINGS_PER_SECOND !== 0) return;
    const now = performance.eventLoopUtilization();
    this.region.set(ProcessSlot.LOOP_BUSY, performance.eventLoopUtilization(now, this.utilisation).utilization);
    this.utilisation = now;
  }
}
