/**
 * Where the worker listens: addresses that speak gRPC, REST, or both on one port, told apart by the first bytes. All
 * share one HTTP/2 and one HTTP/1.1 server, so that drain and limits hold for the process and not per address.
 */
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { TimerWheel } from '../../base/timer-wheel.ts';
import { Http1Server } from '../../proto/http1/server.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Limits } from '../../proto/http2/limits.ts';
import { Http2Server } from '../../proto/http2/server.ts';
import type { Http2Stream } from '../../proto/http2/stream.ts';
import { adoptAccepted, adoptTls } from '../../proto/io/adopt.ts';
import type { ByteReader, ByteSocket } from '../../proto/io/byte-socket.ts';
import { createListener, listenAt } from '../../proto/io/listening.ts';
import { readCallHead } from '../api/call-head.ts';
import { type CallHost, GrpcCall } from '../api/grpc-call.ts';
import { OipStream, type OipStreamHost, STREAM_INFER_PATH } from '../api/oip/oip-stream.ts';
import type { TlsSettings } from '../config/ssl-config.ts';
import type { ListenAddress } from '../supervision/isolation-groups.ts';
import { type DetectorOwner, ProtocolDetector } from './protocol-detector.ts';
import { RestExchange } from './rest-exchange.ts';
import type { RestHost } from './rest-host.ts';

/** What an address speaks. */
export type FrontProtocol = 'grpc' | 'rest' | 'shared';

export interface ServingFrontOptions {
  readonly grpc: CallHost;
  readonly streams: OipStreamHost;
  readonly rest: RestHost;
  readonly clock: Clock;
  readonly http2Limits?: Partial<Http2Limits>;
  /** Connections at once and address; more are closed as they come. */
  readonly maxConnections?: number;
}

/** A proxy sends the calls of many clients over few connections. */
const MAX_STREAMS_PER_CONNECTION = 1_024;
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Reader of a TLS socket between its adoption and its connection, in the same turn. */
const UNREAD: ByteReader = { onBytes() {}, onEnd() {}, onDrained() {}, onClosed() {} };

export class ServingFront implements DetectorOwner {
  private readonly options: ServingFrontOptions;
  private readonly timers: TimerWheel;
  private readonly http2: Http2Server;
  private readonly http1: Http1Server;
  private readonly listeners: Server[] = [];
  private readonly detecting = new Set<ByteSocket>();

  constructor(options: ServingFrontOptions) {
    const { grpc, streams, rest, clock } = options;
    this.options = options;
    this.timers = new TimerWheel(clock);
    this.http2 = new Http2Server({
      acceptStream: (stream) => new FrontCall(stream, grpc, streams),
      limits: { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION, ...options.http2Limits },
      clock,
    });
    this.http1 = new Http1Server({ acceptExchange: (exchange) => new RestExchange(exchange, rest), clock });
  }

  /** Starts listening; resolves with the address in force. Rejects when it cannot be bound, or `tls` cannot be used. */
  async listen(
    address: ListenAddress,
    protocol: FrontProtocol,
    tls: TlsSettings | null = null,
  ): Promise<ListenAddress> {
    const listener = tls === null ? this.plainListener(protocol) : this.tlsListener(protocol, tls);
    listener.maxConnections = this.options.maxConnections ?? 10_000;
    const bound = await listenAt(listener, address);
    this.listeners.push(listener);
    return bound;
  }

  /** Stops accepting, lets calls in progress finish, and closes what is left after `deadlineMs`. */
  async drain(deadlineMs: number): Promise<void> {
    this.stopAccepting();
    for (const stream of [...this.options.streams.open]) stream.drain();
    await Promise.all([this.http2.drain(deadlineMs), this.http1.drain(deadlineMs)]);
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    this.stopAccepting();
    await Promise.all([this.http2.close(), this.http1.close()]);
  }

  detected(io: ByteSocket, isHttp2: boolean): void {
    this.detecting.delete(io);
    if (isHttp2) this.http2.serve(io);
    else this.http1.serve(io);
  }

  gone(io: ByteSocket): void {
    this.detecting.delete(io);
  }

  private plainListener(protocol: FrontProtocol): Server {
    const listener = createListener();
    listener.on('connection', (socket) => this.accept(socket, protocol));
    return listener;
  }

  /** The handshake says which protocol follows; a client that says nothing is taken for HTTP/1.1. */
  private tlsListener(protocol: FrontProtocol, { key, cert, ca, clientVerify }: TlsSettings): Server {
    const listener = createTlsServer({
      key,
      cert,
      ...(ca !== '' && { ca }),
      requestCert: clientVerify,
      rejectUnauthorized: clientVerify,
      minVersion: 'TLSv1.2',
      ALPNProtocols: protocol === 'rest' ? ['http/1.1'] : ['h2', 'http/1.1'],
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    });
    listener.on('secureConnection', (socket) => {
      const io = adoptTls(socket, UNREAD);
      this.detected(io, protocol === 'grpc' || socket.alpnProtocol === 'h2');
    });
    // A client that fails its handshake is its own affair.
    listener.on('tlsClientError', () => {});
    return listener;
  }

  private stopAccepting(): void {
    for (const listener of this.listeners) listener.close();
    // Nothing was asked on these yet.
    for (const io of this.detecting) io.destroy();
    this.detecting.clear();
  }

  private accept(socket: Socket, protocol: FrontProtocol): void {
    const detector = new ProtocolDetector(this.timers, this.options.clock, this);
    const io = adoptAccepted(socket, detector);
    detector.io = io;
    if (protocol === 'shared') {
      this.detecting.add(io);
      return;
    }
    this.timers.disarm(detector);
    this.detected(io, protocol === 'grpc');
  }
}

/** A gRPC call that turns into a stream of inferences where its path says so. */
class FrontCall extends GrpcCall {
  private readonly streams: OipStreamHost;

  constructor(stream: Http2Stream, host: CallHost, streams: OipStreamHost) {
    super(stream, host);
    this.streams = streams;
  }

  override onHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    const isStream = stream.handler === this && headers.get(':path') === STREAM_INFER_PATH;
    if (!isStream || !readCallHead(headers).isGrpc) {
      super.onHeaders(stream, headers, endStream);
      return;
    }
    const handler = new OipStream(stream, this.streams, headers);
    stream.handler = handler;
    if (endStream) handler.onHeaders(stream, headers, true);
  }
}
