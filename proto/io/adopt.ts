/**
 * Binding net sockets to byte sockets. A server's accepted socket cannot be told to read into a buffer of ours, so its
 * handle is taken over by a socket that can; the first one is left empty-handed and is never used again.
 */
import { type NetConnectOpts, connect as netConnect, type Server, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type ByteReader, ByteSocket, sharedReadOptions } from './byte-socket.ts';

/** What net keeps under its sockets; private to Node, so it is named in one place. */
interface HandleOwner {
  _handle: unknown;
  _server: Server | null;
  server: Server | null;
}

/**
 * Takes over a socket accepted by a server with `pauseOnConnect` and `allowHalfOpen`. Nothing has been read from it.
 */
export function adoptAccepted(accepted: Socket, reader: ByteReader): ByteSocket {
  const io = new ByteSocket(reader);
  const from = accepted as unknown as HandleOwner;
  const handle = from._handle;
  if (handle === null || handle === undefined) {
    // The peer was gone before we looked: report an ordinary close.
    setImmediate(() => io.destroy());
    return io;
  }
  from._handle = null;
  const options = { handle, allowHalfOpen: true, onread: sharedReadOptions(io.onRead) };
  const socket = new Socket(options as unknown as ConstructorParameters<typeof Socket>[0]);
  // The server counts open connections through this link.
  const to = socket as unknown as HandleOwner;
  to._server = from._server;
  to.server = from._server;
  from._server = null;
  io.attach(socket, false);
  return io;
}

/** Takes over a TLS socket whose handshake is done. */
export function adoptTls(socket: TLSSocket, reader: ByteReader): ByteSocket {
  const io = new ByteSocket(reader);
  io.attach(socket, true);
  return io;
}

/** Where to connect: a TCP host and port, or a Unix socket's path. */
export type ConnectAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly localAddress?: string }
  | { readonly kind: 'unix'; readonly path: string };

/**
 * Opens a connection. Bytes may be written at once and leave when it stands; `onConnected` tells when. A failure is
 * reported by the reader's `onClosed` with the socket's error.
 */
export function openSocket(address: ConnectAddress, reader: ByteReader, onConnected: () => void): ByteSocket {
  const io = new ByteSocket(reader);
  const onread = sharedReadOptions(io.onRead);
  const target =
    address.kind === 'unix'
      ? { path: address.path, allowHalfOpen: true, onread }
      : {
          host: address.host,
          port: address.port,
          allowHalfOpen: true,
          noDelay: true,
          localAddress: address.localAddress,
          onread,
        };
  const socket = netConnect(target as unknown as NetConnectOpts);
  io.attach(socket, false);
  socket.once('connect', onConnected);
  return io;
}

/** `127.0.0.1:8500` or `unix:/path`, for logs. */
export function formatAddress(address: ConnectAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
