/** HTTP/2 connections to one endpoint: many requests over few of them. */
import { connectHttp2 } from '../../proto/http2/client.ts';
import type { ConnectionOwner, Http2Connection } from '../../proto/http2/connection.ts';
import type { Http2Limits } from '../../proto/http2/limits.ts';
import type { StreamHandler } from '../../proto/http2/stream.ts';
import { ConnectionPool, type PoolOptions } from './connection-pool.ts';

export class Http2Pool extends ConnectionPool<Http2Connection> implements ConnectionOwner {
  private readonly limits: Http2Limits;
  /** Streams the endpoint last allowed per connection: a new one is taken to allow as many until it says so itself. */
  private lastStreamLimit = Number.POSITIVE_INFINITY;

  constructor(options: PoolOptions, limits: Http2Limits) {
    super(options);
    this.limits = limits;
  }

  acceptStream(): StreamHandler {
    throw new Error('a client connection accepts no streams');
  }

  onDraining(connection: Http2Connection): void {
    this.remove(connection);
    this.pump();
  }

  onCapacity(connection: Http2Connection): void {
    if (connection.settingsSeen) this.lastStreamLimit = connection.peer.maxConcurrentStreams;
    this.pump();
    if (this.retired) this.closeIfIdle(connection);
  }

  protected open(onConnected: (connection: Http2Connection) => void): Http2Connection {
    const { address, clock, counters, tls } = this.options;
    return connectHttp2(address, { owner: this, limits: this.limits, clock, counters, tls, onConnected });
  }

  protected hasRoom(connection: Http2Connection): boolean {
    return connection.canOpen && (connection.settingsSeen || connection.activeStreams < this.lastStreamLimit);
  }

  protected isIdle(connection: Http2Connection): boolean {
    return connection.activeStreams === 0;
  }
}
