/**
 * How long to wait before a dead process is started again: 100 ms, then twice as long after each death, up to a cap, with
 * jitter so that groups that died together do not load together. A process that served well starts the series over.
 */

export const FIRST_DELAY_MS = 100;
export const MAX_DELAY_MS = 10_000;
/** A process that was ready this long had no fault of starting. */
export const RAN_WELL_MS = 5_000;
/** Delays are spread over this fraction below and above. */
export const JITTER_FRACTION = 0.2;

export class RestartBackoff {
  private readonly random: () => number;
  private deaths = 0;

  /** `random` gives numbers in [0, 1). */
  constructor(random: () => number = Math.random) {
    this.random = random;
  }

  /** Deaths in a row without having run well. */
  get deathsInARow(): number {
    return this.deaths;
  }

  /** Records a death and returns the delay in milliseconds; `readyForMs` is 0 for a process that never became ready. */
  nextDelayMs(readyForMs: number): number {
    if (readyForMs >= RAN_WELL_MS) this.deaths = 0;
    // Beyond 2^30 doublings the power is past the cap anyway.
    const plainMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.deaths, 30));
    this.deaths++;
    return plainMs * (1 + JITTER_FRACTION * (2 * this.random() - 1));
  }
}
