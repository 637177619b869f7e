/**
 * The words the breaker and its callers share: verdicts, outcomes, states and what is told about a transition.
 * All are small integers on the request path; names are for people and metrics.
 */

/** What `tryAcquire` decides. */
export const Verdict = {
  /** Go ahead; report the outcome. */
  ADMIT: 0,
  /** Go ahead as the one probe of a half-open breaker; the outcome decides what becomes of the breaker. */
  PROBE: 1,
  /** Do not send the request to this cluster. Nothing is to be reported. */
  REJECT: 2,
} as const;

/** What `record` is told. */
export const Outcome = {
  SUCCESS: 0,
  FAILURE: 1,
  /** Says nothing about the upstream: the caller cancelled, we shed it, or the upstream said `batch_queue_full`. */
  IGNORED: 2,
} as const;

/** States as told to people; `held_*` are an operator's and end only by `release`. */
export type BreakerStateName = 'closed' | 'open' | 'half_open' | 'held_open' | 'held_closed';

/**
 * What an operator may ask of a breaker. `open` and `close` act once, and it goes on judging; the holds last until
 * `release`.
 */
export const BREAKER_COMMANDS = ['open', 'close', 'hold_open', 'hold_closed', 'release'] as const;
export type BreakerCommand = (typeof BREAKER_COMMANDS)[number];

/** One change of a breaker, told once over all threads: to the listener of the thread that made it. */
export interface BreakerTransition {
  readonly from: BreakerStateName;
  /** Equal to `from` when only the probe changed hands (`probe_returned`, `probe_expired`). */
  readonly to: BreakerStateName;
  /** A `BreakerEvent` of `stats/slots.ts`: its number is the slot to count in. */
  readonly event: number;
  /** `error_fraction`, `probe_failed` ...: the event's name for the log. */
  readonly reason: string;
  /** Length of the open period that begins, milliseconds; 0 when none does. */
  readonly openForMs: number;
  readonly atMs: number;
}

export type TransitionListener = (transition: BreakerTransition) => void;
