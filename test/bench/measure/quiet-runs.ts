/**
 * One figure from several runs on a machine that may not be the bench's alone. Where enough runs had their core to
 * themselves, the median of those; otherwise the best of all runs, because what others do only makes a run slower. The
 * same rule holds for every program that is compared.
 */
import { median } from './statistics.ts';

/** With fewer undisturbed runs than this, of which there may be fewer in all, the best run counts. */
const LEAST_UNDISTURBED = 3;

export interface Run {
  /** Other programs used the core. */
  readonly disturbed: boolean;
}

/** `better`: which end of the scale others cannot push a figure to. NaN of no runs. */
export function figureOf<T extends Run>(
  runs: readonly T[],
  better: 'lower' | 'higher',
  pick: (run: T) => number,
): number {
  const quiet = runs.filter(({ disturbed }) => !disturbed);
  if (quiet.length >= Math.min(LEAST_UNDISTURBED, runs.length)) return median(quiet.map(pick));
  const values = runs.map(pick);
  return better === 'lower' ? Math.min(...values) : Math.max(...values);
}
