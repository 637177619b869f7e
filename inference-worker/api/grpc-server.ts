/** The worker's gRPC front: its methods by path, on one HTTP/2 server per address. */
import type { Clock } from '../../base/clock.ts';
import { DEFAULT_HTTP2_LIMITS, type Http2Limits } from '../../proto/http2/limits.ts';
import { Http2Server } from '../../proto/http2/server.ts';
import type { ListenAddress } from '../supervision/isolation-groups.ts';
import { type CallHost, GrpcCall, type GrpcMethod } from './grpc-call.ts';

export interface GrpcServerOptions {
  readonly methods: readonly GrpcMethod[];
  readonly clock: Clock;
  /** Longest request message, inflated size included. */
  readonly maxMessageBytes: number;
  readonly limits?: Partial<Http2Limits>;
}

/** A proxy sends the calls of many clients over few connections, so a connection may have many streams. */
const MAX_STREAMS_PER_CONNECTION = 1_024;

/** All incomplete messages together may hold this many of the longest ones. */
const PENDING_MESSAGES = 4;

export class GrpcServer implements CallHost {
  readonly clock: Clock;
  readonly methods: ReadonlyMap<string, GrpcMethod>;
  readonly maxMessageBytes: number;
  readonly maxPendingBytes: number;
  pendingBytes = 0;
  private readonly servers: Http2Server[] = [];
  private readonly limits: Partial<Http2Limits>;

  constructor(options: GrpcServerOptions) {
    this.clock = options.clock;
    this.methods = new Map(options.methods.map((method) => [method.path, method]));
    this.maxMessageBytes = options.maxMessageBytes;
    this.maxPendingBytes = options.maxMessageBytes * PENDING_MESSAGES;
    this.limits = { ...DEFAULT_HTTP2_LIMITS, maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION, ...options.limits };
  }

  /** Starts listening; resolves with the address in force. Rejects when it cannot be bound. */
  async listen(address: ListenAddress): Promise<ListenAddress> {
    const server = new Http2Server({
      acceptStream: (stream) => new GrpcCall(stream, this),
      limits: this.limits,
      clock: this.clock,
    });
    const bound = await server.listen(address);
    this.servers.push(server);
    return bound;
  }

  /** Stops accepting, lets calls in progress finish, and closes what is left after `deadlineMs`. */
  async drain(deadlineMs: number): Promise<void> {
    await Promise.all(this.servers.map((server) => server.drain(deadlineMs)));
  }

  async close(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.close()));
  }
}
