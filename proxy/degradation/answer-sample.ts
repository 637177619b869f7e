/** One answer of a primary, as degradation judges it. */

/** How a primary answered. Answers that blame the caller, sheddings and cancelled calls are no samples. */
export const SampleKind = {
  /** With OK. */
  ANSWERED: 0,
  /** With a failure that is the upstream's: an error status, a reset, no connection, numbers nobody can believe. */
  FAILED: 1,
  /** With RESOURCE_EXHAUSTED for want of device memory. */
  OUT_OF_MEMORY: 2,
  /** Not in time; its latency is the time it was given. */
  TIMED_OUT: 3,
} as const;

/** Times on the clock's axis, milliseconds. */
export interface AnswerSample {
  readonly kind: number;
  readonly latencyMs: number;
  readonly endedMs: number;
  /** A probe sent while the model is degraded, as opposed to a caller's request. */
  readonly isProbe: boolean;
}

/** Whether the sample says how long the primary takes. */
export function hasLatency(kind: number): boolean {
  return kind === SampleKind.ANSWERED || kind === SampleKind.TIMED_OUT;
}
