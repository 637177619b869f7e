/**
 * Which endpoint of a cluster gets a request: of two drawn at random the one with less to do, among those that are
 * neither unhealthy nor ejected.
 *
 * What an endpoint has to do is its requests in flight on this thread plus a penalty for what it failed lately. Without
 * the penalty an endpoint that fails fast would always look idle and draw all traffic; each failure adds one request's
 * worth, which fades within seconds, so a failing endpoint gets about as many requests as it can fail in that time.
 *
 * An ejected endpoint comes back by one real request, which its guard lets through when its time is over. There is no
 * panic: when no endpoint may be used there is none, and the request fails at once, or falls back.
 */

/** How an endpoint served a request. */
export const Served = {
  OK: 0,
  /** It failed: counts for its guard and its penalty. */
  FAILED: 1,
  /** It shed the request: counts for its penalty only. */
  SHED: 2,
  /** Says nothing about it. */
  UNKNOWN: 3,
} as const;

/** Judges one endpoint over all threads. */
export interface EndpointGuard {
  /** What to hand back to `settle`, or -1 when the endpoint must not be used now. May grant the one probe. */
  admit(nowMs: number): number;
  /** The epoch in which `admit` decided. */
  readonly epoch: number;
  /** Whether it is kept from traffic, apart from a probe. */
  readonly ejected: boolean;
  settle(admission: number, epoch: number, served: number, nowMs: number): void;
}

/** Time in which a penalty fades to 1/e, milliseconds. */
const PENALTY_FADES_MS = 5000;
/** Failures that count at once; more would keep a recovered endpoint idle for too long. */
const MAX_PENALTY = 100;
/** Less than this is forgotten: in quiet times any rest of a penalty would keep all requests away. */
const FORGOTTEN_PENALTY = 0.5;

/** One endpoint as one cluster and thread use it. `P` is what leads to it: its pools. */
export class Balanced<P> {
  readonly pools: P;
  /** `host:port` or `unix:/path`. */
  readonly name: string;
  /** Where its health is kept; -1 for nowhere. */
  readonly place: number;
  /** Null where endpoints are not judged one by one. */
  guard: EndpointGuard | null;
  /** Requests with it on this thread. */
  active = 0;
  private penalty = 0;
  private penaltyAtMs = 0;

  constructor(pools: P, name: string, place: number, guard: EndpointGuard | null) {
    this.pools = pools;
    this.name = name;
    this.place = place;
    this.guard = guard;
  }

  /** What it has to do, in requests. */
  load(nowMs: number): number {
    return this.penalty === 0 ? this.active : this.active + this.penaltyAt(nowMs);
  }

  /** One more failure. `waitMs`: how long it asked to be left alone, 0 if it did not. */
  penalise(nowMs: number, waitMs: number): void {
    const more = 1 + Math.max(0, waitMs) / 100;
    this.penalty = Math.min(MAX_PENALTY, this.penaltyAt(nowMs) + more);
    this.penaltyAtMs = nowMs;
  }

  /** It served a request well: what it failed before counts half. */
  forgive(): void {
    this.penalty *= 0.5;
  }

  private penaltyAt(nowMs: number): number {
    if (this.penalty === 0) return 0;
    const left = this.penalty * Math.exp((this.penaltyAtMs - nowMs) / PENALTY_FADES_MS);
    if (left >= FORGOTTEN_PENALTY) return left;
    this.penalty = 0;
    return 0;
  }
}

/** Picks among the endpoints of one cluster. `random` is uniform in 0..1. */
export class Balancer<P> {
  endpoints: readonly Balanced<P>[] = [];
  /** What the guard of the endpoint picked last admitted; 0 without a guard. */
  admission = 0;
  private readonly random: () => number;
  private readonly isHealthy: (place: number) => boolean;
  private readonly maxEjectedFraction: () => number;

  constructor(random: () => number, isHealthy: (place: number) => boolean, maxEjectedFraction: () => number) {
    this.random = random;
    this.isHealthy = isHealthy;
    this.maxEjectedFraction = maxEjectedFraction;
  }

  /** The endpoint for a request, null when none may be used. `avoid` is taken only when there is no other. */
  pick(nowMs: number, avoid: Balanced<P> | null): Balanced<P> | null {
    const { endpoints } = this;
    const count = endpoints.length;
    if (count === 0) return null;
    const due = this.dueForProbe(nowMs, avoid);
    if (due !== null) return due;
    const first = Math.floor(this.random() * count);
    if (count > 1) {
      const second = (first + 1 + Math.floor(this.random() * (count - 1))) % count;
      const a = endpoints[first]!;
      const b = endpoints[second]!;
      const better = a.load(nowMs) <= b.load(nowMs) ? a : b;
      if (better !== avoid && this.admits(better, nowMs)) return better;
    }
    // The better of the two is out of the question: the next that is not, in turn.
    for (let i = 0; i < count; i++) {
      const next = endpoints[(first + i) % count]!;
      if (next !== avoid && this.admits(next, nowMs)) return next;
    }
    return avoid !== null && endpoints.includes(avoid) && this.admits(avoid, nowMs) ? avoid : null;
  }

  /** The endpoint is done with a request it was picked for. */
  settle(endpoint: Balanced<P>, admission: number, epoch: number, served: number, nowMs: number, waitMs: number): void {
    endpoint.active--;
    if (served === Served.FAILED || served === Served.SHED) endpoint.penalise(nowMs, waitMs);
    else if (served === Served.OK) endpoint.forgive();
    const { guard } = endpoint;
    if (guard === null) return;
    const counts = served === Served.FAILED && (guard.ejected || this.mayEject());
    guard.settle(admission, epoch, served === Served.FAILED && !counts ? Served.UNKNOWN : served, nowMs);
  }

  /** Endpoints that may get requests. */
  usable(): number {
    let usable = 0;
    for (const endpoint of this.endpoints) {
      if (this.isUp(endpoint) && endpoint.guard?.ejected !== true) usable++;
    }
    return usable;
  }

  /** An ejected endpoint whose time is over: the one request that shows whether it is well again. */
  private dueForProbe(nowMs: number, avoid: Balanced<P> | null): Balanced<P> | null {
    const { endpoints } = this;
    for (let i = 0; i < endpoints.length; i++) {
      const endpoint = endpoints[i]!;
      if (endpoint === avoid || endpoint.guard?.ejected !== true) continue;
      if (this.admits(endpoint, nowMs)) return endpoint;
    }
    return null;
  }

  /** Whether one more endpoint may be ejected: at least one may, where there are several, and never the last. */
  private mayEject(): boolean {
    const count = this.endpoints.length;
    if (count < 2) return false;
    let ejected = 0;
    for (const endpoint of this.endpoints) if (endpoint.guard?.ejected === true) ejected++;
    return ejected < Math.min(count - 1, Math.max(1, Math.floor(count * this.maxEjectedFraction())));
  }

  private isUp(endpoint: Balanced<P>): boolean {
    return endpoint.place < 0 || this.isHealthy(endpoint.place);
  }

  private admits(endpoint: Balanced<P>, nowMs: number): boolean {
    if (!this.isUp(endpoint)) return false;
    this.admission = endpoint.guard === null ? 0 : endpoint.guard.admit(nowMs);
    return this.admission >= 0;
  }
}
