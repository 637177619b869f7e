/**
 * Timeouts of idle and slow connections: one unref'd timer a thread looks at every connection now and then, so that a
 * request costs no timer at all. Accurate to one interval, which is plenty for limits of seconds.
 */

/** Between two looks, ms. */
export const SWEEP_INTERVAL_MS = 250;

export interface SweptConnection {
  /** Looks at the clock and ends what has waited too long. May remove itself from the sweep. */
  checkTimeouts(): void;
}

const swept = new Set<SweptConnection>();
let timer: NodeJS.Timeout | null = null;

export function addToSweep(connection: SweptConnection): void {
  swept.add(connection);
  if (timer === null) {
    timer = setInterval(sweep, SWEEP_INTERVAL_MS);
    timer.unref();
  }
}

export function removeFromSweep(connection: SweptConnection): void {
  swept.delete(connection);
}

function sweep(): void {
  for (const connection of swept) connection.checkTimeouts();
  if (swept.size === 0 && timer !== null) {
    clearInterval(timer);
    timer = null;
  }
}
