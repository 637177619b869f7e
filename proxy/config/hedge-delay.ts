/** How the delay of a hedge is written. */

import { parseDurationMs, UnitError } from '../../base/units.ts';
import type { HedgeDelay } from './snapshot.ts';

export const HEDGE_DELAY_EXPECTATION = 'a duration such as 50ms from 1ms to 1h, or a percentile from p50 to p99.9';

const MAX_DELAY_MS = 3_600_000;

/** `50ms`, or `p95` of what the primary has needed lately. Throws `UnitError`. */
export function parseHedgeDelay(text: string): HedgeDelay {
  const percentile = /^p(\d{2}(?:\.\d)?)$/.exec(text.trim());
  if (percentile !== null && Number(percentile[1]) >= 50)
    return { ms: 0, quantile: Math.round(Number(percentile[1]) * 10) / 1000 };
  const ms = percentile === null ? durationOf(text) : Number.NaN;
  if (!(ms >= 1 && ms <= MAX_DELAY_MS)) throw new UnitError(text, HEDGE_DELAY_EXPECTATION);
  return { ms, quantile: 0 };
}

function durationOf(text: string): number {
  try {
    return parseDurationMs(text);
  } catch {
    throw new UnitError(text, HEDGE_DELAY_EXPECTATION);
  }
}
