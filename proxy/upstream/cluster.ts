/**
 * A cluster as one data thread runs it: its endpoints' pools and its live state, under a configuration that reloads
 * replace. Requests keep the cluster they began with; its counts survive every reload that keeps its name.
 *
 * Pools belong to addresses, not to clusters: two versions served by one worker share its connections.
 */
import type { Clock } from '../../base/clock.ts';
import type { Http2Limits } from '../../proto/http2/limits.ts';
import { formatAddress } from '../../proto/io/adopt.ts';
import type { ClusterSnapshot, EndpointAddress } from '../config/snapshot.ts';
import { ClusterSlot } from '../stats/slots.ts';
import { EndpointPool, type Waiter } from './endpoint-pool.ts';

/** Connections to one endpoint and thread: one carries everything until the peer's stream limit asks for another. */
const MAX_CONNECTIONS_PER_ENDPOINT = 16;

export class Cluster {
  readonly name: string;
  /** Position in this thread's table; stable while the process lives. */
  readonly id: number;
  config: ClusterSnapshot;
  /** Requests in flight on this thread. */
  inFlight = 0;
  pools: EndpointPool[] = [];
  private next = 0;

  constructor(id: number, config: ClusterSnapshot) {
    this.id = id;
    this.name = config.name;
    this.config = config;
  }

  /** Asks an endpoint's pool for a connection, endpoints in turn. */
  request(waiter: Waiter): void {
    const { pools } = this;
    if (this.next >= pools.length) this.next = 0;
    pools[this.next++]!.request(waiter);
  }
}

/** The pools of one data thread by address. */
export class PoolTable {
  private readonly pools = new Map<string, EndpointPool>();
  private readonly clock: Clock;
  private readonly limits: Http2Limits;
  private readonly cells: Float64Array;
  private readonly counters: Float64Array;

  constructor(clock: Clock, limits: Http2Limits, cells: Float64Array, counters: Float64Array) {
    this.clock = clock;
    this.limits = limits;
    this.cells = cells;
    this.counters = counters;
  }

  /** The pool for an address, made on first use. Connection figures count for the cluster that made it. */
  get(address: EndpointAddress, config: ClusterSnapshot): EndpointPool {
    const source = address.kind === 'tcp' ? (address.localAddress ?? '') : '';
    const key = source === '' ? formatAddress(address) : `${formatAddress(address)} from ${source}`;
    let pool = this.pools.get(key);
    const { cells } = this;
    const { statsBase } = config;
    const options = {
      address,
      limits: this.limits,
      clock: this.clock,
      maxConnections: MAX_CONNECTIONS_PER_ENDPOINT,
      connectTimeoutMs: config.connectTimeoutMs,
      maxPending: config.maxPendingRequests,
      counters: this.counters,
      onConnect: (result: number, open: number) => {
        if (result >= 0) cells[statsBase + ClusterSlot.CONNECTS + result]! += 1;
        cells[statsBase + ClusterSlot.CONNECTIONS] = open;
      },
    };
    if (pool === undefined) {
      pool = new EndpointPool(options);
      this.pools.set(key, pool);
    } else {
      pool.options = options;
    }
    return pool;
  }

  /** Gives up the pools that no cluster uses any more. */
  retain(used: ReadonlySet<EndpointPool>): void {
    for (const [key, pool] of this.pools) {
      if (used.has(pool)) continue;
      this.pools.delete(key);
      pool.retire();
    }
  }

  destroy(): void {
    for (const pool of this.pools.values()) pool.destroy();
  }
}
