/** HTTP/1.1 connections to one endpoint: one request at a time on each, kept open between requests. */
import { connectHttp1 } from '../../proto/http1/client.ts';
import type { Http1ClientConnection, Http1ClientOwner } from '../../proto/http1/client-connection.ts';
import { ConnectionPool } from './connection-pool.ts';

export class Http1Pool extends ConnectionPool<Http1ClientConnection> implements Http1ClientOwner {
  onIdle(connection: Http1ClientConnection): void {
    this.pump();
    if (this.retired) this.closeIfIdle(connection);
  }

  protected open(onConnected: (connection: Http1ClientConnection) => void): Http1ClientConnection {
    const { address, clock, tls } = this.options;
    return connectHttp1(address, { owner: this, clock, tls, onConnected });
  }

  protected hasRoom(connection: Http1ClientConnection): boolean {
    return connection.canOpen;
  }

  protected isIdle(connection: Http1ClientConnection): boolean {
    return connection.current === null;
  }
}
