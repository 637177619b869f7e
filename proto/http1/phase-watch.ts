/**
 * How long a connection has been waiting for the same thing. Phases are looked at now and then and never announced, so
 * requests cost nothing; a phase counts from the first look that finds it.
 */
import type { Http1Limits } from './limits.ts';

/** What a connection waits for. */
export const Phase = {
  /** The next request. */
  IDLE: 0,
  /** The rest of a head; on a server also the first byte of the first one. */
  HEAD: 1,
  /** More of a body that is wanted. */
  BODY: 2,
  /** Somebody on this side. */
  ANSWER: 3,
  /** The peer, to take what was written. */
  SENDING: 4,
  /** The peer, to close. */
  LINGERING: 5,
} as const;

export class PhaseWatch {
  private phase = -1;
  private mark = -1;
  private sinceMs = 0;

  /** For how long phase and mark have been the same, ms. The mark changes when the phase makes progress. */
  waitedMs(phase: number, mark: number, nowMs: number): number {
    if (phase === this.phase && mark === this.mark) return nowMs - this.sinceMs;
    this.phase = phase;
    this.mark = mark;
    this.sinceMs = nowMs;
    return 0;
  }
}

/** How long a phase may last, ms. `begun` is whether bytes of a head have come. */
export function allowedMs(limits: Http1Limits, phase: number, draining: boolean, begun: boolean): number {
  switch (phase) {
    case Phase.IDLE:
      return draining ? limits.drainIdleMs : limits.idleTimeoutMs;
    case Phase.HEAD:
      return draining && !begun ? limits.drainIdleMs : limits.headTimeoutMs;
    case Phase.BODY:
      return limits.bodyTimeoutMs;
    case Phase.SENDING:
      return limits.sendTimeoutMs;
    case Phase.LINGERING:
      return limits.lingerMs;
    default:
      return Number.POSITIVE_INFINITY;
  }
}
