/**
 * A cluster as one data thread runs it: its endpoints' pools and its live state, under a configuration that reloads
 * replace. Requests keep the cluster they began with; its counts survive every reload that keeps its name.
 *
 * Pools belong to addresses, not to clusters: two versions served by one worker share its connections.
 */
import type { Clock } from '../../base/clock.ts';
import type { Http2Limits } from '../../proto/http2/limits.ts';
import { formatAddress } from '../../proto/io/adopt.ts';
import type { TlsClientRole } from '../../proto/io/tls.ts';
import type { ClusterSnapshot, EndpointAddress, TlsOrigination } from '../config/snapshot.ts';
import { ClusterSlot } from '../stats/slots.ts';
import { type Balanced, type Balancer, Served } from './balancer.ts';
import type { PoolOptions } from './connection-pool.ts';
import { Http1Pool } from './http1-pool.ts';
import { Http2Pool } from './http2-pool.ts';
import { type PendingBound, Unavailable, type Waiter } from './wait-queue.ts';

/** HTTP/2 connections to one endpoint and thread: one carries everything until the peer's stream limit asks for another. */
const MAX_HTTP2_CONNECTIONS = 16;
/** HTTP/1.1 connections to one endpoint and thread: as many requests can be in flight there. */
const MAX_HTTP1_CONNECTIONS = 512;

/** One endpoint: a pool for each protocol, which connects only when it is asked. */
export class Endpoint {
  readonly http1: Http1Pool;
  readonly http2: Http2Pool;

  constructor(options: PoolOptions, limits: Http2Limits) {
    this.http1 = new Http1Pool({ ...options, maxConnections: MAX_HTTP1_CONNECTIONS });
    this.http2 = new Http2Pool({ ...options, maxConnections: MAX_HTTP2_CONNECTIONS }, limits);
  }

  /** New timeouts and bounds, as a reload brings them. */
  update(options: PoolOptions): void {
    this.http1.options = { ...options, maxConnections: MAX_HTTP1_CONNECTIONS };
    this.http2.options = { ...options, maxConnections: MAX_HTTP2_CONNECTIONS };
    const resolved = options.address.kind === 'tcp' ? options.address.resolved : undefined;
    if (resolved === undefined) return;
    this.http1.keepOnly(resolved);
    this.http2.keepOnly(resolved);
  }

  retire(): void {
    this.http1.retire();
    this.http2.retire();
  }

  destroy(): void {
    this.http1.destroy();
    this.http2.destroy();
  }
}

export abstract class Cluster implements PendingBound {
  readonly name: string;
  /** Position in this thread's table; stable while the process lives. */
  readonly id: number;
  config: ClusterSnapshot;
  /** Requests in flight on this thread. */
  inFlight = 0;
  endpoints: Endpoint[] = [];
  /** Null for a cluster of one endpoint that is not checked: there is nothing to pick. */
  balancer: Balancer<Endpoint> | null = null;
  private readonly clock: Clock;

  constructor(id: number, config: ClusterSnapshot, clock: Clock) {
    this.id = id;
    this.name = config.name;
    this.config = config;
    this.clock = clock;
  }

  /**
   * Picks an endpoint and asks its pool for a connection, in the protocol the request came in. A waiter that asks again
   * gets another endpoint if there is one. Who got one says at its end how it was served (`leave`).
   */
  request(waiter: Waiter, http1: boolean): void {
    waiter.pendingBound = this;
    let endpoint = this.endpoints[0]!;
    if (this.balancer !== null) {
      const picked = this.pick(this.balancer, waiter);
      if (picked === null) {
        waiter.onUnavailable(Unavailable.NO_ENDPOINT);
        return;
      }
      endpoint = picked.pools;
    }
    if (http1) endpoint.http1.request(waiter);
    else endpoint.http2.request(waiter);
  }

  abstract tryWait(): boolean;
  abstract stopWaiting(): void;

  /** The waiter is done with the endpoint it was given: `served` is a `Served`, `waitMs` what the endpoint asked for. */
  leave(waiter: Waiter, served: number, nowMs: number, waitMs: number): void {
    const endpoint = waiter.endpoint as Balanced<Endpoint> | null;
    if (endpoint === null) return;
    waiter.endpoint = null;
    waiter.left = endpoint;
    if (this.balancer === null) endpoint.active--;
    else this.balancer.settle(endpoint, waiter.admission, waiter.admissionEpoch, served, nowMs, waitMs);
  }

  /** The same at this moment, without a word about waiting. */
  quit(waiter: Waiter, served: number): void {
    if (waiter.endpoint !== null) this.leave(waiter, served, this.clock.nowMs(), 0);
  }

  private pick(balancer: Balancer<Endpoint>, waiter: Waiter): Balanced<Endpoint> | null {
    const nowMs = this.clock.nowMs();
    this.leave(waiter, Served.UNKNOWN, nowMs, 0);
    const endpoint = balancer.pick(nowMs, waiter.left as Balanced<Endpoint> | null);
    if (endpoint === null) return null;
    endpoint.active++;
    waiter.endpoint = endpoint;
    waiter.admission = balancer.admission;
    waiter.admissionEpoch = endpoint.guard === null ? 0 : endpoint.guard.epoch;
    return endpoint;
  }
}

/** The endpoints of one data thread by address. */
export class PoolTable {
  private readonly endpoints = new Map<string, Endpoint>();
  private readonly clock: Clock;
  private readonly limits: Http2Limits;
  private readonly cells: Float64Array;
  private readonly counters: Float64Array;
  private readonly tlsRole: (tls: TlsOrigination) => TlsClientRole;

  constructor(
    clock: Clock,
    limits: Http2Limits,
    cells: Float64Array,
    counters: Float64Array,
    tlsRole: (tls: TlsOrigination) => TlsClientRole,
  ) {
    this.tlsRole = tlsRole;
    this.clock = clock;
    this.limits = limits;
    this.cells = cells;
    this.counters = counters;
  }

  /** The endpoint at an address, made on first use. Connection figures count for the cluster that made it. */
  get(address: EndpointAddress, config: ClusterSnapshot): Endpoint {
    const source = address.kind === 'tcp' ? (address.localAddress ?? '') : '';
    const plainKey = source === '' ? formatAddress(address) : `${formatAddress(address)} from ${source}`;
    const key = config.tls === null ? plainKey : `${plainKey} with ${JSON.stringify(config.tls)}`;
    let endpoint = this.endpoints.get(key);
    const { cells } = this;
    const { statsBase } = config;
    const options: PoolOptions = {
      address,
      tls: config.tls === null ? null : this.tlsRole(config.tls),
      clock: this.clock,
      maxConnections: MAX_HTTP2_CONNECTIONS,
      connectTimeoutMs: config.connectTimeoutMs,
      counters: this.counters,
      onConnect: (result: number, open: number) => {
        if (result >= 0) cells[statsBase + ClusterSlot.CONNECTS + result]! += 1;
        cells[statsBase + ClusterSlot.CONNECTIONS] = open;
      },
    };
    if (endpoint === undefined) {
      endpoint = new Endpoint(options, this.limits);
      this.endpoints.set(key, endpoint);
    } else {
      endpoint.update(options);
    }
    return endpoint;
  }

  /** Gives up the endpoints that no cluster uses any more. */
  retain(used: ReadonlySet<Endpoint>): void {
    for (const [key, endpoint] of this.endpoints) {
      if (used.has(endpoint)) continue;
      this.endpoints.delete(key);
      endpoint.retire();
    }
  }

  destroy(): void {
    for (const endpoint of this.endpoints.values()) endpoint.destroy();
  }
}
