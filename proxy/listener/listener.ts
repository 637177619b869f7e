/**
 * One listening address of a data thread: accepts, finds out where the caller meant to go, detects the protocol, and
 * hands the connection to the data plane or to an opaque relay. It owns every connection until it is closed.
 */
import type { Server, Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Http1Exchange, Http1Handler } from '../../proto/http1/exchange.ts';
import type { HeadParser } from '../../proto/http1/head-parser.ts';
import { Http1ServerConnection, type Http1ServerOwner } from '../../proto/http1/server-connection.ts';
import { type ConnectionOwner, Http2Connection } from '../../proto/http2/connection.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { Http2Limits } from '../../proto/http2/limits.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import { adoptAccepted } from '../../proto/io/adopt.ts';
import { type ByteSocket, NO_READER } from '../../proto/io/byte-socket.ts';
import { createListener, listenAt } from '../../proto/io/listening.ts';
import { clearSocketPath } from '../../proto/io/socket-file.ts';
import { formatAddress } from '../config/address.ts';
import type { EndpointAddress } from '../config/snapshot.ts';
import { ConnectionRefusal, ProcessSlot } from '../stats/slots.ts';
import { inboundSource } from './inbound-source.ts';
import { isProbe, probeAnswer } from './interception-probe.ts';
import { NOT_CUT, OpaqueRelay } from './opaque-relay.ts';
import { type OriginalDestination, readDestination } from './original-destination.ts';
import { ProtocolDetection } from './protocol-detection.ts';
import { tlsServerName } from './tls-server-name.ts';
import { TlsTermination, type TlsTerminationOptions } from './tls-termination.ts';

/** Where a connection's caller meant to go. `destination` is null when it dialled the proxy itself. */
export interface Destination {
  readonly destination: EndpointAddress | null;
  readonly key: string;
}

/** While draining, a connection that has not said what it speaks may still do so for this long, milliseconds. */
const LAST_WORDS_MS = 250;
/** Connections that may wait to be accepted: a burst of callers that all start. */
const BACKLOG = 4096;

const DIRECT: Destination = Object.freeze({ destination: null, key: '' });

/** An opaque connection that closed, for the access log. */
export interface ClosedRelay {
  readonly destination: string;
  /** Server name of a TLS client hello that passed through; '' when there was none. */
  readonly serverName: string;
  readonly durationMs: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

export interface ListenerOptions {
  /** Calls of the application go out; calls to the application come in and are delivered from a source address of ours. */
  readonly direction: 'outbound' | 'inbound';
  readonly address: EndpointAddress;
  /** Several data threads listen on the same port. */
  readonly reusePort: boolean;
  readonly maxConnections: number;
  readonly detectTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** Longest time an opaque connection may carry nothing. */
  readonly opaqueIdleTimeoutMs: number;
  /** Original destination ports relayed without a look. */
  readonly opaquePorts: ReadonlySet<number>;
  readonly limits: Http2Limits;
  readonly clock: Clock;
  readonly cells: Float64Array;
  readonly counters: Float64Array;
  readonly log: Logger;
  readonly acceptStream: (stream: Http2Stream) => StreamHandler;
  readonly acceptExchange: (exchange: Http1Exchange) => Http1Handler;
  readonly http1Parser: HeadParser;
  readonly http1Counters: Float64Array;
  /** Null where callers do not speak TLS with the proxy itself. */
  readonly tls: TlsTerminationOptions | null;
  readonly onRelayClosed: (relay: ClosedRelay) => void;
  /** Where opaque bytes of a caller that dialled the proxy itself go; null to close such connections. */
  readonly opaqueUpstream: () => EndpointAddress | null;
}

export class Listener implements ConnectionOwner, Http1ServerOwner {
  private readonly options: ListenerOptions;
  private readonly server: Server;
  private readonly connections = new Set<Http2Connection>();
  private readonly http1Connections = new Set<Http1ServerConnection>();
  private readonly relays = new Set<OpaqueRelay>();
  private readonly detecting = new Set<ByteSocket>();
  private readonly tls: TlsTermination | null;
  private boundPort = 0;
  private draining = false;

  constructor(options: ListenerOptions) {
    this.options = options;
    this.tls = options.tls === null ? null : new TlsTermination(options.tls);
    this.server = createListener();
    this.server.maxConnections = options.maxConnections;
    this.server.on('connection', (socket) => this.accept(socket));
    this.server.on('drop', () => this.refuse(ConnectionRefusal.MAX_CONNECTIONS));
  }

  /** Starts listening; resolves with the address in force (a port of 0 is replaced by the one chosen). */
  async listen(): Promise<EndpointAddress> {
    const { address, reusePort } = this.options;
    if (address.kind === 'unix') await clearSocketPath(address.path);
    const bound = await listenAt(this.server, address, BACKLOG, reusePort);
    this.server.on('error', (error) => this.options.log.error('listener_error', { error }));
    if (bound.kind === 'tcp') this.boundPort = bound.port;
    return bound;
  }

  /** Connections that are open, of any kind. */
  get open(): number {
    return this.connections.size + this.http1Connections.size + this.relays.size + this.detecting.size;
  }

  /** No new connections from now on; open HTTP/2 connections are told to go elsewhere and finish. */
  drain(): void {
    this.draining = true;
    this.server.close();
    for (const connection of this.connections) connection.drain();
    for (const connection of this.http1Connections) connection.drain();
    if (this.detecting.size > 0) setTimeout(() => this.cutDetecting(), LAST_WORDS_MS);
  }

  /** Cuts everything. */
  destroy(): void {
    this.drain();
    for (const connection of this.connections) {
      connection.close(ErrorCode.NO_ERROR);
      connection.io.destroy();
    }
    for (const connection of this.http1Connections) connection.destroy();
    for (const relay of this.relays) relay.destroy();
    this.cutDetecting();
  }

  private cutDetecting(): void {
    for (const io of this.detecting) io.destroy();
  }

  acceptExchange(exchange: Http1Exchange): Http1Handler {
    return this.options.acceptExchange(exchange);
  }

  onFault(): void {}

  acceptStream(stream: Http2Stream): StreamHandler {
    return this.options.acceptStream(stream);
  }

  onDraining(): void {}

  onCapacity(): void {}

  onClosed(connection: Http2Connection | Http1ServerConnection): void {
    if (connection instanceof Http2Connection) this.connections.delete(connection);
    else this.http1Connections.delete(connection);
    this.countConnections(0);
  }

  private accept(socket: Socket): void {
    const reading = readDestination(socket);
    const redirected = reading.verdict === 'redirected';
    if (redirected && isProbe(reading.destination.host)) {
      socket.end(probeAnswer(reading.destination.host, reading.destination.port));
      return;
    }
    const destination = redirected ? this.judge(reading.destination) : this.dialled(reading.verdict);
    if (destination === null) {
      this.refuse(redirected ? ConnectionRefusal.LOOP : ConnectionRefusal.NOT_REDIRECTED);
      socket.destroy();
      return;
    }
    // A TLS session of the application with somebody else is not ours to end.
    const tls = this.options.direction === 'inbound' || destination === DIRECT ? this.tls : null;
    const detection = this.detection(destination, tls, () => io);
    const io = adoptAccepted(socket, detection);
    this.detecting.add(io);
    this.countConnections(1);
    detection.begin(io);
    const to = destination.destination;
    const opaque = to !== null && to.kind === 'tcp' && this.options.opaquePorts.has(to.port);
    if (opaque && tls?.strict !== true) detection.giveUp();
  }

  /** Looks at what a connection says, or what is said inside its TLS session when `tls` is null. */
  private detection(destination: Destination, tls: TlsTermination | null, ioOf: () => ByteSocket): ProtocolDetection {
    const strict = tls?.strict === true;
    const refuse = (io: ByteSocket) => this.refusePlain(io, tls!);
    return new ProtocolDetection(
      {
        onHttp2: (io, first, length) => (strict ? refuse(io) : this.serveHttp2(io, first, length, destination)),
        onHttp1: (io, first, length) => (strict ? refuse(io) : this.serveHttp1(io, first, length, destination)),
        onOpaque: (io, first, length) => (strict ? refuse(io) : this.serveOpaque(io, first, length, destination)),
        ...(tls !== null && {
          onTls: (io: ByteSocket, first: Buffer, length: number) => this.serveTls(io, first, length, destination, tls),
        }),
        onGone: () => this.forget(ioOf()),
      },
      this.options.detectTimeoutMs,
    );
  }

  private refuse(reason: number): void {
    this.options.cells[ProcessSlot.CONNECTION_REFUSALS + reason]! += 1;
  }

  private refusePlain(io: ByteSocket, tls: TlsTermination): void {
    tls.refusedPlain();
    this.close(io);
  }

  private close(io: ByteSocket): void {
    this.detecting.delete(io);
    io.reader = NO_READER;
    io.destroy();
    this.countConnections(0);
  }

  /** The handshake, and behind it what ALPN agreed on; what is said without ALPN is looked at again. */
  private serveTls(
    plain: ByteSocket,
    first: Buffer,
    length: number,
    destination: Destination,
    tls: TlsTermination,
  ): void {
    this.detecting.delete(plain);
    let failed = false;
    let secured: ByteSocket | null = null;
    secured = tls.accept(plain, first, length, {
      onSecure: (io, protocol) => {
        if (protocol === 'h2') this.serveHttp2(io, first, 0, destination);
        else if (protocol === 'http/1.1') this.serveHttp1(io, first, 0, destination);
        else this.detectInside(io, destination);
      },
      onFailed: () => {
        failed = true;
        if (secured !== null) this.forget(secured);
      },
    });
    if (secured === null) this.close(plain);
    else if (!failed) this.detecting.add(secured);
    this.countConnections(0);
  }

  private detectInside(io: ByteSocket, destination: Destination): void {
    const detection = this.detection(destination, null, () => io);
    io.reader = detection;
    detection.begin(io);
  }

  /** A redirected connection's destination; null when it is this listener itself, which would loop. */
  private judge(destination: OriginalDestination): Destination | null {
    const { address } = this.options;
    if (destination.port === this.boundPort && address.kind === 'tcp' && destination.host === address.host) return null;
    const to: EndpointAddress = { kind: 'tcp', host: destination.host, port: destination.port };
    if (this.options.direction === 'outbound') return { destination: to, key: formatAddress(to) };
    const localAddress = inboundSource(destination.family);
    return { destination: { ...to, localAddress }, key: `inbound ${formatAddress(to)}` };
  }

  /** A caller that dialled the listener itself: fine where callers may, but inbound there is nobody to hand it to. */
  private dialled(verdict: 'direct' | 'unavailable'): Destination | null {
    return this.options.direction === 'inbound' && verdict === 'direct' ? null : DIRECT;
  }

  private serveHttp2(io: ByteSocket, first: Buffer, length: number, destination: Destination): void {
    const { limits, clock, counters } = this.options;
    this.detecting.delete(io);
    const connection = new Http2Connection(io, { client: false, limits, clock, owner: this, counters });
    connection.context = destination;
    this.connections.add(connection);
    this.countConnections(0);
    if (this.draining) connection.drain();
    if (length > 0) connection.onBytes(first, length);
  }

  private serveHttp1(io: ByteSocket, first: Buffer, length: number, destination: Destination): void {
    const { clock, http1Parser, http1Counters } = this.options;
    this.detecting.delete(io);
    const options = { owner: this, parser: http1Parser, clock, counters: http1Counters };
    const connection = new Http1ServerConnection(io, options);
    connection.context = destination;
    this.http1Connections.add(connection);
    this.countConnections(0);
    if (this.draining) connection.drain();
    if (length > 0) connection.onBytes(first, length);
  }

  private serveOpaque(io: ByteSocket, first: Buffer, length: number, destination: Destination): void {
    const address = destination.destination ?? this.options.opaqueUpstream();
    if (address === null) {
      this.refuse(ConnectionRefusal.NO_UPSTREAM);
      this.close(io);
      return;
    }
    this.detecting.delete(io);
    const { cells, connectTimeoutMs, opaqueIdleTimeoutMs } = this.options;
    const limits = { connectTimeoutMs, idleTimeoutMs: opaqueIdleTimeoutMs };
    const startedMs = this.options.clock.nowMs();
    const serverName = tlsServerName(first, length);
    const relay = new OpaqueRelay(io, first, length, address, limits, (cut) => {
      this.relays.delete(relay);
      cells[ProcessSlot.OPAQUE_CONNECTIONS]! -= 1;
      if (cut !== NOT_CUT) cells[ProcessSlot.OPAQUE_CUTS + cut]! += 1;
      this.countConnections(0);
      this.options.onRelayClosed({
        destination: formatAddress(address),
        serverName,
        durationMs: Math.round(this.options.clock.nowMs() - startedMs),
        bytesReceived: io.bytesIn,
        bytesSent: io.bytesOut,
      });
    });
    this.relays.add(relay);
    cells[ProcessSlot.OPAQUE_CONNECTIONS]! += 1;
    cells[ProcessSlot.OPAQUE_CONNECTIONS_TOTAL]! += 1;
    this.countConnections(0);
  }

  private forget(io: ByteSocket): void {
    this.detecting.delete(io);
    this.countConnections(0);
  }

  private lastOpen = 0;

  /** The gauge is shared by all listeners of the thread, so each moves it by its own change. */
  private countConnections(opened: number): void {
    const { cells } = this.options;
    const now = this.open;
    cells[ProcessSlot.CONNECTIONS]! += now - this.lastOpen;
    this.lastOpen = now;
    cells[ProcessSlot.CONNECTIONS_TOTAL]! += opened;
  }
}
