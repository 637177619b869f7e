/**
 * A listening HTTP/1.1 server over TCP or a Unix socket, one `Http1ServerConnection` per accepted socket. The proxy's
 * listener does more (detection, original destinations); this is for servers that speak nothing else, and for sockets
 * that a detecting listener hands over (`serve`).
 */
import type { Server, Socket } from 'node:net';
import { type Clock, systemClock } from '../../base/clock.ts';
import { adoptAccepted, type ConnectAddress } from '../io/adopt.ts';
import { type ByteSocket, NO_READER } from '../io/byte-socket.ts';
import { createListener, listenAt, untilEmpty } from '../io/listening.ts';
import { HTTP1_COUNTER_SLOTS } from './counters.ts';
import type { Http1Exchange, Http1Handler } from './exchange.ts';
import type { Http1Error } from './faults.ts';
import { HeadParser } from './head-parser.ts';
import { DEFAULT_HTTP1_LIMITS, type Http1Limits } from './limits.ts';
import { Http1ServerConnection, type Http1ServerOwner } from './server-connection.ts';

export interface Http1ServerOptions {
  /** A request begins; the returned handler gets its head next. */
  readonly acceptExchange: (exchange: Http1Exchange) => Http1Handler;
  readonly limits?: Partial<Http1Limits>;
  /** Connections at once; more are closed as they come. Default 10,000. */
  readonly maxConnections?: number;
  readonly autoContinue?: boolean;
  readonly halfClose?: boolean;
  readonly clock?: Clock;
  /** A client broke the rules. */
  readonly onFault?: (error: Http1Error) => void;
}

export class Http1Server implements Http1ServerOwner {
  readonly connections = new Set<Http1ServerConnection>();
  readonly counters = new Float64Array(HTTP1_COUNTER_SLOTS);
  private readonly options: Http1ServerOptions;
  private readonly parser: HeadParser;
  private readonly server: Server;
  private draining = false;

  constructor(options: Http1ServerOptions) {
    this.options = options;
    this.parser = new HeadParser({ ...DEFAULT_HTTP1_LIMITS, ...options.limits });
    this.server = createListener();
    this.server.maxConnections = options.maxConnections ?? 10_000;
    this.server.on('connection', (socket) => this.accept(socket));
  }

  /** Starts listening; resolves with the address in force (a port of 0 is replaced by the one chosen). */
  listen(address: ConnectAddress): Promise<ConnectAddress> {
    return listenAt(this.server, address);
  }

  /** Serves a socket accepted elsewhere. Bytes read of it before go to the connection's `onBytes`. */
  serve(io: ByteSocket): Http1ServerConnection {
    const connection = new Http1ServerConnection(io, {
      owner: this,
      parser: this.parser,
      clock: this.options.clock ?? systemClock,
      counters: this.counters,
      autoContinue: this.options.autoContinue,
      halfClose: this.options.halfClose,
    });
    this.connections.add(connection);
    if (this.draining) connection.drain();
    return connection;
  }

  /**
   * Graceful end: stops accepting, answers what is in progress with `connection: close`, and closes what is left after
   * `deadlineMs`. Resolves when no connection is left.
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
    for (const connection of this.connections) connection.destroy();
    await untilEmpty(this.connections, Number.POSITIVE_INFINITY);
  }

  acceptExchange(exchange: Http1Exchange): Http1Handler {
    return this.options.acceptExchange(exchange);
  }

  onFault(_connection: Http1ServerConnection, error: Http1Error): void {
    this.options.onFault?.(error);
  }

  onClosed(connection: Http1ServerConnection): void {
    this.connections.delete(connection);
  }

  private accept(socket: Socket): void {
    this.serve(adoptAccepted(socket, NO_READER));
  }
}
