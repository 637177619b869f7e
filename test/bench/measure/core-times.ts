/** How busy one core was, read from /proc/stat: whether a load generator was the limit, and whether others used a core. */
import { readFileSync } from 'node:fs';

const MICROSECONDS_PER_TICK = 10_000;
const IDLE = 3;
const IOWAIT = 4;
/** user nice system idle iowait irq softirq steal; guest time is part of user. */
const COLUMNS = 8;

/** Totals since boot, in microseconds. */
export interface CoreTimes {
  readonly busyUs: number;
  readonly totalUs: number;
}

/** Times of core `core`, counted from 0. Throws if there is no such core. */
export function readCoreTimes(core: number): CoreTimes {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'));
  if (line === null) throw new Error(`this machine has no core ${core}`);
  const ticks = line[1]!.trim().split(/\s+/).slice(0, COLUMNS).map(Number);
  const total = ticks.reduce((sum, value) => sum + value, 0);
  const idle = ticks[IDLE]! + ticks[IOWAIT]!;
  return { busyUs: (total - idle) * MICROSECONDS_PER_TICK, totalUs: total * MICROSECONDS_PER_TICK };
}

/** Fraction of the time between two readings in which the core was not idle. */
export function busyFraction(before: CoreTimes, after: CoreTimes): number {
  const total = after.totalUs - before.totalUs;
  return total > 0 ? (after.busyUs - before.busyUs) / total : 0;
}
