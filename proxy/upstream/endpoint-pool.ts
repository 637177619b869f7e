/**
 * The HTTP/2 connections of this thread to one endpoint: many requests over few connections.
 *
 * A request asks with `request`. It gets a connection at once when one has room, else it waits in a bounded queue until
 * a stream ends, a connection is made, or none can be made. A new connection is opened when all are full, up to
 * `maxConnections`. A connection that drains takes no new requests and is forgotten when it closes. A pool that the
 * configuration has given up serves the requests that still know it, and closes each connection when it falls idle.
 */
import type { Clock } from '../../base/clock.ts';
import { connectHttp2 } from '../../proto/http2/client.ts';
import type { ConnectionOwner, Http2Connection } from '../../proto/http2/connection.ts';
import type { Http2Limits } from '../../proto/http2/limits.ts';
import type { StreamHandler } from '../../proto/http2/stream.ts';
import type { EndpointAddress } from '../config/snapshot.ts';
import { ConnectResult } from '../stats/slots.ts';

/** Why a waiting request was not given a connection. */
export const Unavailable = { CONNECT_FAILED: 0, PENDING_FULL: 1, CLOSED: 2 } as const;

/** A request that wants a connection. Linked into the pool's queue while it waits. */
export abstract class Waiter {
  poolNext: Waiter | null = null;
  poolPrevious: Waiter | null = null;
  waitingIn: EndpointPool | null = null;

  /** This connection has room: open a stream on it now. */
  abstract onConnection(connection: Http2Connection): void;
  /** No connection is to be had; `reason` is an `Unavailable`. */
  abstract onUnavailable(reason: number): void;
}

export interface PoolOptions {
  readonly address: EndpointAddress;
  readonly limits: Http2Limits;
  readonly clock: Clock;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly maxPending: number;
  readonly counters: Float64Array;
  /** Told of each attempt to connect: a `ConnectResult`, and how many connections are open now. */
  readonly onConnect: (result: number, open: number) => void;
}

export class EndpointPool implements ConnectionOwner {
  options: PoolOptions;
  private readonly connections: Http2Connection[] = [];
  private readonly established = new Set<Http2Connection>();
  private readonly connectTimers = new Map<Http2Connection, NodeJS.Timeout>();
  private firstWaiter: Waiter | null = null;
  private lastWaiter: Waiter | null = null;
  private waiting = 0;
  /** Streams the endpoint last allowed per connection: a new one is taken to allow as many until it says so itself. */
  private lastStreamLimit = Number.POSITIVE_INFINITY;
  /** No new request finds this pool; late ones, begun under an older configuration, may. */
  private retired = false;
  private closed = false;
  private pumping = false;

  constructor(options: PoolOptions) {
    this.options = options;
  }

  /** Requests waiting for a connection. */
  get pending(): number {
    return this.waiting;
  }

  /** Connections that stand. */
  get open(): number {
    return this.established.size;
  }

  /** Hands the waiter a connection now, or later, or tells it that there is none. */
  request(waiter: Waiter): void {
    if (this.closed) {
      waiter.onUnavailable(Unavailable.CLOSED);
      return;
    }
    const connection = this.firstWaiter === null ? this.withRoom() : null;
    if (connection !== null) {
      waiter.onConnection(connection);
      return;
    }
    if (this.waiting >= this.options.maxPending) waiter.onUnavailable(Unavailable.PENDING_FULL);
    else this.enqueue(waiter);
  }

  /** Takes a waiter out of the queue; does nothing if it is not in it. */
  forget(waiter: Waiter): void {
    if (waiter.waitingIn !== this) return;
    if (waiter.poolPrevious === null) this.firstWaiter = waiter.poolNext;
    else waiter.poolPrevious.poolNext = waiter.poolNext;
    if (waiter.poolNext === null) this.lastWaiter = waiter.poolPrevious;
    else waiter.poolNext.poolPrevious = waiter.poolPrevious;
    waiter.poolNext = null;
    waiter.poolPrevious = null;
    waiter.waitingIn = null;
    this.waiting--;
  }

  /** The configuration does not use it any more: connections close as soon as they carry nothing. */
  retire(): void {
    this.retired = true;
    for (const connection of [...this.connections]) this.closeIfIdle(connection);
  }

  /** Closes everything at once. */
  destroy(): void {
    this.closed = true;
    for (const connection of [...this.connections]) {
      connection.drain();
      connection.io.destroy();
    }
    this.failWaiters(Unavailable.CLOSED);
  }

  acceptStream(): StreamHandler {
    throw new Error('a client connection accepts no streams');
  }

  onDraining(connection: Http2Connection): void {
    this.remove(connection);
    if (this.firstWaiter !== null) this.pump();
  }

  onCapacity(connection: Http2Connection): void {
    if (connection.settingsSeen) this.lastStreamLimit = connection.peer.maxConcurrentStreams;
    if (this.firstWaiter !== null) this.pump();
    if (this.retired) this.closeIfIdle(connection);
  }

  onClosed(connection: Http2Connection): void {
    this.remove(connection);
    const timer = this.connectTimers.get(connection);
    if (timer !== undefined) {
      clearTimeout(timer);
      this.connectTimers.delete(connection);
      this.options.onConnect(ConnectResult.FAILED, this.established.size);
      if (this.connections.length === 0) this.failWaiters(Unavailable.CONNECT_FAILED);
      return;
    }
    this.established.delete(connection);
    this.options.onConnect(-1, this.established.size);
    if (this.firstWaiter !== null) this.pump();
  }

  /** The first connection with room; opens one when there is none and another is allowed. */
  private withRoom(): Http2Connection | null {
    const { connections } = this;
    for (let i = 0; i < connections.length; i++) if (this.hasRoom(connections[i]!)) return connections[i]!;
    if (connections.length >= this.options.maxConnections) return null;
    const connection = this.connect();
    return this.hasRoom(connection) ? connection : null;
  }

  private hasRoom(connection: Http2Connection): boolean {
    return connection.canOpen && (connection.settingsSeen || connection.activeStreams < this.lastStreamLimit);
  }

  private connect(): Http2Connection {
    const { address, limits, clock, counters, connectTimeoutMs } = this.options;
    const connection = connectHttp2(address, {
      owner: this,
      limits,
      clock,
      counters,
      onConnected: (connected) => this.connected(connected),
    });
    this.connections.push(connection);
    const timer = setTimeout(() => {
      this.connectTimers.delete(connection);
      this.options.onConnect(ConnectResult.TIMED_OUT, this.established.size);
      connection.io.destroy(new Error('connect timeout'));
      this.remove(connection);
      if (this.connections.length === 0) this.failWaiters(Unavailable.CONNECT_FAILED);
    }, connectTimeoutMs);
    timer.unref();
    this.connectTimers.set(connection, timer);
    return connection;
  }

  private connected(connection: Http2Connection): void {
    const timer = this.connectTimers.get(connection);
    if (timer !== undefined) clearTimeout(timer);
    this.connectTimers.delete(connection);
    connection.established = true;
    this.established.add(connection);
    this.options.onConnect(ConnectResult.OK, this.established.size);
  }

  private remove(connection: Http2Connection): void {
    const at = this.connections.indexOf(connection);
    if (at >= 0) this.connections.splice(at, 1);
  }

  /** Serves waiting requests while there is room. Not re-entered: a served request may end another at once. */
  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    while (this.firstWaiter !== null && !this.closed) {
      const connection = this.withRoom();
      if (connection === null) break;
      const waiter = this.firstWaiter;
      this.forget(waiter);
      waiter.onConnection(connection);
    }
    this.pumping = false;
  }

  private closeIfIdle(connection: Http2Connection): void {
    if (connection.activeStreams === 0) connection.drain();
  }

  private enqueue(waiter: Waiter): void {
    waiter.waitingIn = this;
    waiter.poolPrevious = this.lastWaiter;
    if (this.lastWaiter === null) this.firstWaiter = waiter;
    else this.lastWaiter.poolNext = waiter;
    this.lastWaiter = waiter;
    this.waiting++;
  }

  private failWaiters(reason: number): void {
    while (this.firstWaiter !== null) {
      const waiter = this.firstWaiter;
      this.forget(waiter);
      waiter.onUnavailable(reason);
    }
  }
}
