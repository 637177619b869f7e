/**
 * Rate limits and injected faults of one data thread: what a snapshot says of them, found by listener, route and model.
 * Where none is configured, a request costs one comparison.
 */
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { WheelTimer } from '../../base/timer-wheel.ts';
import type { FaultSnapshot, GuardSubject } from '../config/guard-snapshot.ts';
import type { MeshSnapshot } from '../config/snapshot.ts';
import type { MeshCluster } from '../mesh.ts';
import { type GuardCells, GuardCount } from '../policy/guard-cells.ts';
import { RateLimit } from '../policy/rate-limit.ts';
import { AnswerReason } from '../stats/slots.ts';
import { type Exchange, Stage } from './exchange.ts';

/** Requests of a thread that wait for an injected delay; above it requests go on without. */
const MAX_DELAYED = 10_000;

type BySubject<T> = Readonly<Record<GuardSubject['kind'], Map<string, T>>>;

/** A fault with the failure it ends in. */
interface Fault {
  readonly config: FaultSnapshot;
  /** Null when it only delays. */
  readonly error: ProxyError | null;
}

export class RequestGuards {
  /** Anything is configured at all. */
  active = false;
  /** Requests that wait for an injected delay now. */
  delayed = 0;
  private readonly cells: GuardCells;
  private readonly random: () => number;
  private readonly limits: BySubject<RateLimit> = { listener: new Map(), route: new Map(), model: new Map() };
  private readonly faults: BySubject<Fault> = { listener: new Map(), route: new Map(), model: new Map() };
  private snapshot: MeshSnapshot | null = null;

  constructor(cells: GuardCells, random: () => number) {
    this.cells = cells;
    this.random = random;
  }

  /** What is configured now; called with each request's snapshot, and does nothing while it is the same. */
  use(snapshot: MeshSnapshot): void {
    if (snapshot === this.snapshot) return;
    this.snapshot = snapshot;
    clear(this.limits);
    clear(this.faults);
    for (const limit of snapshot.rateLimits) {
      this.limits[limit.subject.kind].set(limit.subject.name, new RateLimit(limit, this.cells));
    }
    for (const config of snapshot.faults) {
      const { abortStatus: grpcStatus, abortHttpStatus: httpStatus } = config;
      const error = grpcStatus === 0 ? null : Object.freeze({ ...ProxyErrors.faultInjected, grpcStatus, httpStatus });
      this.faults[config.subject.kind].set(config.subject.name, { config, error });
    }
    this.active = snapshot.rateLimits.length > 0 || snapshot.faults.length > 0;
  }

  /** Whether a limit lets the request pass. */
  admits(kind: 'listener' | 'route' | 'model', name: string, nowMs: number): boolean {
    const limit = this.limits[kind].get(name);
    return limit === undefined || limit.admits(nowMs, this.random);
  }

  /** Whether a fault happens to the request; it is then in its hands. */
  injects(exchange: Exchange, cluster: MeshCluster, kind: 'route' | 'model', name: string): boolean {
    const fault = this.faultOf(kind, name, exchange);
    if (fault === null) return false;
    const { delayMs, place } = fault.config;
    if (delayMs === 0 || this.delayed >= MAX_DELAYED) {
      this.abort(exchange, cluster, fault);
      return true;
    }
    this.delayed++;
    this.cells.count(place, GuardCount.PASSED);
    const { clock, wheel } = exchange.plane;
    wheel.arm(new FaultDelay(this, exchange, cluster, fault), clock.nowMs() + delayMs);
    return true;
  }

  /** An injected delay is over. The request may be too, or with a fallback. */
  afterDelay(exchange: Exchange, cluster: MeshCluster, fault: Fault): void {
    this.delayed--;
    if (exchange.stage === Stage.DONE || exchange.attempt !== null || exchange.nextFallback > 0) return;
    this.abort(exchange, cluster, fault);
  }

  private abort(exchange: Exchange, cluster: MeshCluster, { config, error }: Fault): void {
    if (error === null) {
      exchange.plane.attemptWith(exchange, cluster, AnswerReason.PRIMARY);
      return;
    }
    this.cells.count(config.place, GuardCount.ACTED);
    exchange.plane.refused(exchange, AnswerReason.STATUS, error);
  }

  /** The fault that happens to this request; null for most. */
  private faultOf(kind: 'route' | 'model', name: string, exchange: Exchange): Fault | null {
    const fault = this.faults[kind].get(name);
    if (fault === undefined) return null;
    const { header, headerValue, percentHundredths } = fault.config;
    if (header !== '') {
      const value = exchange.head!.get(header);
      if (value === undefined || (headerValue !== null && value !== headerValue)) return null;
    }
    const happens = percentHundredths >= 10_000 || this.random() * 10_000 < percentHundredths;
    return happens ? fault : null;
  }
}

/** A request that waits for an injected delay. */
class FaultDelay extends WheelTimer {
  private readonly guards: RequestGuards;
  private readonly exchange: Exchange;
  private readonly cluster: MeshCluster;
  private readonly fault: Fault;

  constructor(guards: RequestGuards, exchange: Exchange, cluster: MeshCluster, fault: Fault) {
    super();
    this.guards = guards;
    this.exchange = exchange;
    this.cluster = cluster;
    this.fault = fault;
  }

  onExpire(): void {
    this.guards.afterDelay(this.exchange, this.cluster, this.fault);
  }
}

function clear(all: BySubject<unknown>): void {
  for (const map of Object.values(all)) map.clear();
}
