/** How long tests wait: what should come at once comes late on a machine that is busy with other things. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * What should come at once must come within this many milliseconds, also on a machine that is busy with other things: far
 * above what it takes on a quiet one, far below what waiting in vain would take.
 */
export const SOON_MS = 5000;

/** What must come at all is waited for this long, milliseconds. */
const PATIENCE_MS = 20_000;
const POLL_MS = 5;

/** Waits until a condition holds; throws, with what it waited for, when it does not within `withinMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = 'it holds',
  withinMs: number = PATIENCE_MS,
): Promise<void> {
  for (const end = performance.now() + withinMs; !(await condition()); await delay(POLL_MS)) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
  }
}
