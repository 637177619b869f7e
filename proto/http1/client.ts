/** Opening the client side of an HTTP/1.1 connection, over TCP or a Unix socket. */
import { type Clock, systemClock } from '../../base/clock.ts';
import { type ConnectAddress, openSocket } from '../io/adopt.ts';
import { NO_READER } from '../io/byte-socket.ts';
import { openTlsSocket, type TlsClientRole } from '../io/tls.ts';
import { Http1ClientConnection, type Http1ClientOwner } from './client-connection.ts';
import { HeadParser } from './head-parser.ts';
import { DEFAULT_HTTP1_LIMITS } from './limits.ts';

export interface Http1ClientOptions {
  readonly owner: Http1ClientOwner;
  /** Shared by the connections of a thread; by default one with the default limits. */
  readonly parser?: HeadParser;
  readonly clock?: Clock;
  readonly counters?: Float64Array;
  readonly swept?: boolean;
  readonly tls?: TlsClientRole | null;
  /** The socket stands; until then a request waits in it. */
  readonly onConnected?: (connection: Http1ClientConnection) => void;
}

let sharedParser: HeadParser | null = null;

/** The thread's parser with the default limits. */
export function defaultParser(): HeadParser {
  sharedParser ??= new HeadParser(DEFAULT_HTTP1_LIMITS);
  return sharedParser;
}

/** Connects; the connection may be used at once, and reports a failed connect through `owner.onClosed`. */
export function connectHttp1(address: ConnectAddress, options: Http1ClientOptions): Http1ClientConnection {
  let connection: Http1ClientConnection | null = null;
  const connected = () => {
    if (connection === null || connection.dead) return;
    connection.established = true;
    options.onConnected?.(connection);
  };
  const io =
    options.tls != null
      ? openTlsSocket(address, options.tls, 'http/1.1', NO_READER, connected)
      : openSocket(address, NO_READER, connected);
  connection = new Http1ClientConnection(io, {
    owner: options.owner,
    parser: options.parser ?? defaultParser(),
    clock: options.clock ?? systemClock,
    counters: options.counters,
    swept: options.swept,
  });
  return connection;
}
