/**
 * What should come at once must come within this many milliseconds, also on a machine that is busy with other things: far
 * above what it takes on a quiet one, far below what waiting in vain would take.
 */
export const SOON_MS = 5000;
