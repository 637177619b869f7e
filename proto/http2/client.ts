/** Opening the client side of an HTTP/2 connection over TCP or a Unix socket: with prior knowledge, or agreed on in TLS. */
import { type Clock, systemClock } from '../../base/clock.ts';
import { type ConnectAddress, openSocket } from '../io/adopt.ts';
import { NO_READER } from '../io/byte-socket.ts';
import { openTlsSocket, type TlsClientRole } from '../io/tls.ts';
import { type ConnectionOwner, Http2Connection } from './connection.ts';
import { DEFAULT_HTTP2_LIMITS, type Http2Limits } from './limits.ts';

export interface Http2ClientOptions {
  readonly owner: ConnectionOwner;
  readonly limits?: Http2Limits;
  readonly clock?: Clock;
  readonly counters?: Float64Array;
  /** TLS to the peer, agreed on by ALPN; without it HTTP/2 with prior knowledge. */
  readonly tls?: TlsClientRole | null;
  /** The socket stands; until then requests wait in it. */
  readonly onConnected?: (connection: Http2Connection) => void;
}

/** Connects; the connection may be used at once, and reports a failed connect through `owner.onClosed`. */
export function connectHttp2(address: ConnectAddress, options: Http2ClientOptions): Http2Connection {
  let connection: Http2Connection | null = null;
  const connected = () => {
    if (connection === null || connection.dead) return;
    connection.established = true;
    options.onConnected?.(connection);
  };
  const io =
    options.tls != null
      ? openTlsSocket(address, options.tls, 'h2', NO_READER, connected)
      : openSocket(address, NO_READER, connected);
  connection = new Http2Connection(io, {
    client: true,
    limits: options.limits ?? DEFAULT_HTTP2_LIMITS,
    clock: options.clock ?? systemClock,
    owner: options.owner,
    counters: options.counters,
  });
  return connection;
}
