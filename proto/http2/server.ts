/**
 * A listening HTTP/2 server over TCP or a Unix socket: prior knowledge, one `Http2Connection` per accepted socket.
 * The proxy's listener does more (detection, original destinations); this is for servers that speak nothing else.
 */
import type { Server, Socket } from 'node:net';
import { type Clock, systemClock } from '../../base/clock.ts';
import { adoptAccepted, type ConnectAddress } from '../io/adopt.ts';
import { type ByteSocket, NO_READER } from '../io/byte-socket.ts';
import { createListener, listenAt, untilEmpty } from '../io/listening.ts';
import { type ConnectionOwner, Http2Connection } from './connection.ts';
import { HTTP2_COUNTER_SLOTS, Http2Counter } from './counters.ts';
import { ErrorCode } from './frames.ts';
import { DEFAULT_HTTP2_LIMITS, type Http2Limits } from './limits.ts';
import type { Http2Stream, StreamHandler } from './stream.ts';

export interface Http2ServerOptions {
  /** A request begins; the returned handler gets its head next. */
  readonly acceptStream: (stream: Http2Stream) => StreamHandler;
  readonly limits?: Partial<Http2Limits>;
  /** Connections at once; more are closed as they come. Default 10,000. */
  readonly maxConnections?: number;
  readonly clock?: Clock;
}

export class Http2Server implements ConnectionOwner {
  readonly connections = new Set<Http2Connection>();
  readonly counters = new Float64Array(HTTP2_COUNTER_SLOTS);
  private readonly options: Http2ServerOptions;
  private readonly limits: Http2Limits;
  private readonly server: Server;
  private draining = false;

  constructor(options: Http2ServerOptions) {
    this.options = options;
    this.limits = { ...DEFAULT_HTTP2_LIMITS, ...options.limits };
    this.server = createListener();
    this.server.maxConnections = options.maxConnections ?? 10_000;
    this.server.on('connection', (socket) => this.accept(socket));
    this.server.on('drop', () => this.counters[Http2Counter.CONNECTIONS_REFUSED]!++);
  }

  /** Starts listening; resolves with the address in force (a port of 0 is replaced by the one chosen). */
  listen(address: ConnectAddress): Promise<ConnectAddress> {
    return listenAt(this.server, address);
  }

  /** Serves a socket accepted elsewhere. */
  serve(io: ByteSocket): Http2Connection {
    const clock = this.options.clock ?? systemClock;
    const { limits, counters } = this;
    const connection = new Http2Connection(io, { client: false, limits, clock, owner: this, counters });
    this.connections.add(connection);
    if (this.draining) connection.drain();
    return connection;
  }

  /**
   * Graceful end: stops accepting, sends GOAWAY, lets open streams finish, and closes what is left after `deadlineMs`.
   * Resolves when no connection is left.
   */
  async drain(deadlineMs: number): Promise<void> {
    this.draining = true;
    this.server.close();
    for (const connection of this.connections) connection.drain();
    await untilEmpty(this.connections, deadlineMs);
    await this.close();
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    this.draining = true;
    this.server.close();
    for (const connection of this.connections) {
      connection.close(ErrorCode.NO_ERROR);
      connection.io.destroy();
    }
    await untilEmpty(this.connections, Number.POSITIVE_INFINITY);
  }

  acceptStream(stream: Http2Stream): StreamHandler {
    return this.options.acceptStream(stream);
  }

  onDraining(): void {}

  onCapacity(): void {}

  onClosed(connection: Http2Connection): void {
    this.connections.delete(connection);
  }

  private accept(socket: Socket): void {
    this.serve(adoptAccepted(socket, NO_READER));
  }
}
