/**
 * The connections of this thread to one endpoint, whatever they speak: who gets one, who waits, and what happens when
 * none is to be had.
 *
 * A request asks with `request`. It gets a connection at once when one has room, else it waits in a bounded queue until
 * room comes, a connection is made, or none can be made. A new connection is opened when all are full, up to
 * `maxConnections`. A connection that drains takes no new requests and is forgotten when it closes. A pool that the
 * configuration has given up serves the requests that still know it, and closes each connection when it falls idle.
 */
import type { Clock } from '../../base/clock.ts';
import { PeerTimeout } from '../../base/peer-timeout.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import type { Http2Connection } from '../../proto/http2/connection.ts';
import type { TlsClientRole } from '../../proto/io/tls.ts';
import type { EndpointAddress } from '../config/snapshot.ts';
import { ConnectResult } from '../stats/slots.ts';
import { Unavailable, type Waiter, WaitQueue } from './wait-queue.ts';

export interface PoolOptions {
  readonly address: EndpointAddress;
  /** Null to speak in the clear. */
  readonly tls: TlsClientRole | null;
  readonly clock: Clock;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly counters: Float64Array;
  /** Told of each attempt to connect: a `ConnectResult` (-1: one closed), and how many connections are open now. */
  readonly onConnect: (result: number, open: number) => void;
}

export abstract class ConnectionPool<C extends Http2Connection | Http1ClientConnection> {
  options: PoolOptions;
  protected readonly connections: C[] = [];
  protected readonly queue = new WaitQueue();
  /** No new request finds this pool; late ones, begun under an older configuration, may. */
  protected retired = false;
  private readonly established = new Set<C>();
  private readonly connectTimers = new Map<C, PeerTimeout>();
  private closed = false;
  private pumping = false;

  constructor(options: PoolOptions) {
    this.options = options;
  }

  /** Begins to connect; `onConnected` tells when the socket stands, the owner's `onClosed` when it never did. */
  protected abstract open(onConnected: (connection: C) => void): C;
  protected abstract hasRoom(connection: C): boolean;
  protected abstract isIdle(connection: C): boolean;

  /** Requests waiting for a connection. */
  get pending(): number {
    return this.queue.length;
  }

  /** Connections that stand. */
  get standing(): number {
    return this.established.size;
  }

  /** Hands the waiter a connection now, or later, or tells it that there is none. */
  request(waiter: Waiter): void {
    if (this.closed) {
      waiter.onUnavailable(Unavailable.CLOSED);
      return;
    }
    const connection = this.queue.first === null ? this.withRoom() : null;
    if (connection !== null) {
      waiter.onConnection(connection);
      return;
    }
    if (!this.queue.tryPush(waiter)) waiter.onUnavailable(Unavailable.PENDING_FULL);
  }

  /** The configuration does not use it any more: connections close as soon as they carry nothing. */
  retire(): void {
    this.retired = true;
    for (const connection of [...this.connections]) this.closeIfIdle(connection);
  }

  /** The name this endpoint is called by has these addresses now: connections to others take no new requests. */
  keepOnly(addresses: readonly string[]): void {
    for (const connection of [...this.connections]) {
      const remote = connection.io.socket?.remoteAddress;
      if (remote !== undefined && !addresses.includes(remote)) connection.drain();
    }
  }

  /** Closes everything at once. */
  destroy(): void {
    this.closed = true;
    for (const connection of [...this.connections]) {
      connection.drain();
      connection.io.destroy();
    }
    this.queue.failAll(Unavailable.CLOSED);
  }

  onClosed(connection: C): void {
    this.remove(connection);
    const timer = this.connectTimers.get(connection);
    if (timer !== undefined) {
      timer.clear();
      this.connectTimers.delete(connection);
      this.options.onConnect(ConnectResult.FAILED, this.established.size);
      if (this.connections.length === 0) this.queue.failAll(Unavailable.CONNECT_FAILED);
      return;
    }
    this.established.delete(connection);
    this.options.onConnect(-1, this.established.size);
    this.pump();
  }

  protected remove(connection: C): void {
    const at = this.connections.indexOf(connection);
    if (at >= 0) this.connections.splice(at, 1);
  }

  /** Serves waiting requests while there is room. Not re-entered: a served request may end another at once. */
  protected pump(): void {
    const { queue } = this;
    if (this.pumping || queue.first === null) return;
    this.pumping = true;
    while (queue.first !== null && !this.closed) {
      const connection = this.withRoom();
      if (connection === null) break;
      const waiter: Waiter = queue.first;
      queue.forget(waiter);
      waiter.onConnection(connection);
    }
    this.pumping = false;
  }

  protected closeIfIdle(connection: C): void {
    if (this.isIdle(connection)) connection.drain();
  }

  /** The first connection with room; opens one when there is none and another is allowed. */
  private withRoom(): C | null {
    const { connections } = this;
    for (let i = 0; i < connections.length; i++) if (this.hasRoom(connections[i]!)) return connections[i]!;
    if (connections.length >= this.options.maxConnections) return null;
    const connection = this.connect();
    return this.hasRoom(connection) ? connection : null;
  }

  private connect(): C {
    const connection = this.open((connected) => this.connected(connected));
    this.connections.push(connection);
    const timer = new PeerTimeout(() => this.giveUp(connection), this.options.connectTimeoutMs);
    this.connectTimers.set(connection, timer);
    return connection;
  }

  private giveUp(connection: C): void {
    this.connectTimers.delete(connection);
    this.options.onConnect(ConnectResult.TIMED_OUT, this.established.size);
    connection.io.destroy(new Error('connect timeout'));
    this.remove(connection);
    if (this.connections.length === 0) this.queue.failAll(Unavailable.CONNECT_FAILED);
  }

  private connected(connection: C): void {
    this.connectTimers.get(connection)?.clear();
    this.connectTimers.delete(connection);
    connection.established = true;
    this.established.add(connection);
    this.options.onConnect(ConnectResult.OK, this.established.size);
  }
}
