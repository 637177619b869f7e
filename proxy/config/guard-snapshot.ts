/** Rate limits and drills as a data thread reads them: part of the mesh snapshot. */

/** Whose requests a rate limit or a fault is for. */
export interface GuardSubject {
  readonly kind: 'listener' | 'route' | 'model';
  readonly name: string;
}

/** A token bucket of the process. */
export interface RateLimitSnapshot {
  readonly name: string;
  readonly subject: GuardSubject;
  /** Requests a millisecond, on average. */
  readonly ratePerMs: number;
  /** Requests that may come at once. */
  readonly burst: number;
  /** Share of the requests looked at, hundredths of a percent. */
  readonly enabledHundredths: number;
  /** Share of those above the limit that are refused, hundredths of a percent. */
  readonly enforcedHundredths: number;
  /** Its place among the shared cells. */
  readonly place: number;
}

/** A fault injected for a drill. */
export interface FaultSnapshot {
  readonly name: string;
  readonly subject: GuardSubject;
  /** Header a request must have; '' for none. */
  readonly header: string;
  /** Its whole value; null for any. */
  readonly headerValue: string | null;
  readonly percentHundredths: number;
  /** 0 for no delay. */
  readonly delayMs: number;
  /** gRPC and HTTP status of the abort; 0 for none. */
  readonly abortStatus: number;
  readonly abortHttpStatus: number;
  readonly place: number;
}
