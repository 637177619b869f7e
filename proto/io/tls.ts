/**
 * TLS under the wire engines, both roles, on node:tls: the handshake, who the peer is, and a byte socket afterwards that
 * reads into the thread's shared buffer like any other.
 *
 * A handshake ends in exactly one `TlsResult`. The peer's certificate is judged before a byte of ours leaves: for a trusted authority,
 * for its dates, and for its names where names are expected. Contexts may be replaced at any time: connections keep the
 * one they began with.
 */
import type { Socket } from 'node:net';
import type { ConnectionOptions, PeerCertificate, SecureContext, TLSSocket, TLSSocketOptions } from 'node:tls';
import type { ConnectAddress } from './adopt.ts';
import { type ByteReader, ByteSocket, sharedReadOptions } from './byte-socket.ts';
import { namesOneOf, parseSubjectNames } from './subject-names.ts';
import { TlsRefusal, TlsResult, tlsResultOf } from './tls-result.ts';

/** What a listener needs to take part in handshakes. */
export interface TlsServerRole {
  readonly context: SecureContext;
  /** Whether callers show a certificate: `optional` looks at one that is shown. */
  readonly clientCertificate: 'off' | 'optional' | 'required';
  /** Names of which a caller's certificate must carry one; empty for any certificate of a trusted authority. */
  readonly clientNames: readonly string[];
  readonly handshakeTimeoutMs: number;
}

/** What a connection to an upstream needs. */
export interface TlsClientRole {
  readonly context: SecureContext;
  /** Sent as SNI and expected in the certificate; '' for the host that is connected to. */
  readonly serverName: string;
  /** Names of which the upstream's certificate must carry one, instead of `serverName`; empty to expect that. */
  readonly peerNames: readonly string[];
  /** Told of each handshake's end: a `TlsResult`. */
  readonly onHandshake: (result: number) => void;
}

export interface TlsServerObserver {
  /** The caller is accepted; `protocol` is what ALPN agreed on, '' without ALPN. Set the next reader now. */
  onSecure(io: ByteSocket, protocol: string): void;
  /** The handshake failed and the socket is closed or closing. Called once, instead of `onSecure`. */
  onFailed(result: number): void;
}

const SERVER_PROTOCOLS = ['h2', 'http/1.1'];

/** Private parts of Node's TLS socket, named in one place. */
interface TlsInside {
  _handle: { receive(bytes: Uint8Array): void; verifyError(): NodeJS.ErrnoException | null | undefined } | null;
  _tlsOptions: { plainHandle: unknown };
  _wrapHandle(wrap: unknown, handle: unknown, active: boolean): unknown;
  _releaseControl(): boolean;
  connecting: boolean;
  _parent: unknown;
}

/** Loaded with the first connection that needs it: it costs a thread 5 MiB. */
function nodeTls(): typeof import('node:tls') {
  return process.getBuiltinModule('node:tls');
}

type AcceptedTlsSocket = new (plain: Socket, options: TLSSocketOptions, onread: object) => TLSSocket;
let acceptedTlsSocket: AcceptedTlsSocket | null = null;

/**
 * The server's side of TLS on a handle of ours. Node's own way to wrap an accepted socket cannot read into a given buffer;
 * made without a socket it can, and is then given the handle.
 */
function defineAcceptedTlsSocket(): AcceptedTlsSocket {
  const Base = nodeTls().TLSSocket;
  const inside = Base.prototype as unknown as TlsInside;
  return class extends Base {
    constructor(plain: Socket, options: TLSSocketOptions, onread: object) {
      const from = plain as unknown as { _handle: unknown };
      const plainHandle = from._handle;
      from._handle = null;
      const all = { ...options, isServer: true, plainHandle, onread, allowHalfOpen: true };
      super(null as unknown as Socket, all as TLSSocketOptions);
      const self = this as unknown as TlsInside;
      self.connecting = false;
      self._releaseControl();
    }

    _wrapHandle(_wrap: unknown, _handle: unknown, _active: boolean): unknown {
      const self = this as unknown as TlsInside;
      return inside._wrapHandle.call(this, null, self._tlsOptions.plainHandle, false);
    }
  };
}

/**
 * Begins the server's side on a socket of which `first[0..length)` was read already and nothing was written. `plain` is
 * not used again.
 */
export function acceptTls(
  plain: ByteSocket,
  first: Uint8Array,
  length: number,
  role: TlsServerRole,
  observer: TlsServerObserver,
): ByteSocket {
  const handshake = new ServerHandshake(role, observer);
  const io = new ByteSocket(handshake);
  const asks = role.clientCertificate !== 'off';
  const options = {
    secureContext: role.context,
    requestCert: asks,
    rejectUnauthorized: role.clientCertificate === 'required',
    ALPNProtocols: SERVER_PROTOCOLS,
  };
  const net = plain.socket as Socket & { _server?: unknown; server?: unknown };
  acceptedTlsSocket ??= defineAcceptedTlsSocket();
  const socket = new acceptedTlsSocket(net, options, sharedReadOptions(io.onRead));
  // The server counts open connections through this link.
  const counted = socket as unknown as { _server: unknown; server: unknown };
  counted._server = net._server;
  net._server = null;
  handshake.begin(io, socket);
  io.attachTls(socket);
  if (length > 0) (socket as unknown as TlsInside)._handle?.receive(Buffer.from(first.subarray(0, length)));
  return io;
}

class ServerHandshake implements ByteReader {
  private readonly role: TlsServerRole;
  private readonly observer: TlsServerObserver;
  private readonly timer: NodeJS.Timeout;
  private io: ByteSocket | null = null;
  private socket: TLSSocket | null = null;
  private over = false;

  constructor(role: TlsServerRole, observer: TlsServerObserver) {
    this.role = role;
    this.observer = observer;
    this.timer = setTimeout(
      () => this.fail(new TlsRefusal(TlsResult.TIMED_OUT, 'handshake timeout')),
      role.handshakeTimeoutMs,
    );
    this.timer.unref();
  }

  begin(io: ByteSocket, socket: TLSSocket): void {
    this.io = io;
    this.socket = socket;
    socket.once('secure', () => this.secure());
  }

  // Nothing can be read before the handshake is done, and then the observer sets the next reader.
  onBytes(): void {}

  onEnd(): void {
    this.fail(null);
  }

  onDrained(): void {}

  onClosed(error: Error | null): void {
    this.fail(error);
  }

  private secure(): void {
    if (this.over) return;
    const refusal = this.judge();
    if (refusal !== null) {
      this.fail(refusal);
      return;
    }
    this.over = true;
    clearTimeout(this.timer);
    this.observer.onSecure(this.io!, this.socket!.alpnProtocol || '');
    this.io!.release();
  }

  /** Why the caller is not accepted; null when it is. */
  private judge(): Error | null {
    const { clientCertificate, clientNames } = this.role;
    if (clientCertificate === 'off') return null;
    const socket = this.socket!;
    const certificate = socket.getPeerCertificate() as PeerCertificate | null;
    const shown = certificate !== null && Object.keys(certificate).length > 0;
    if (!shown) {
      const refused = new TlsRefusal(TlsResult.NO_CERTIFICATE, 'no client certificate');
      return clientCertificate === 'required' ? refused : null;
    }
    const untrusted = (socket as unknown as TlsInside)._handle?.verifyError() ?? null;
    if (untrusted !== null) return untrusted;
    if (clientNames.length === 0 || namesOneOf(parseSubjectNames(certificate.subjectaltname), clientNames)) return null;
    return new TlsRefusal(TlsResult.WRONG_NAME, 'the client certificate has none of the expected names');
  }

  private fail(error: Error | null): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.timer);
    this.observer.onFailed(tlsResultOf(error));
    this.io?.destroy();
  }
}

/**
 * Connects with TLS and offers one application protocol. `onConnected` is called once the upstream is who it should be;
 * until then bytes written wait here. A failure is reported by the reader's `onClosed`.
 */
export function openTlsSocket(
  address: ConnectAddress,
  role: TlsClientRole,
  protocol: 'h2' | 'http/1.1',
  reader: ByteReader,
  onConnected: () => void,
): ByteSocket {
  const io = new ByteSocket(reader);
  const socket = nodeTls().connect({
    ...tlsClientOptions(address, role),
    ALPNProtocols: [protocol],
    allowHalfOpen: true,
    onread: sharedReadOptions(io.onRead),
  } as unknown as ConnectionOptions);
  let settled = false;
  const settle = (result: number) => {
    if (!settled) role.onHandshake(result);
    settled = true;
  };
  let failure: Error | null = null;
  io.attachTls(socket);
  socket.once('connect', () => socket.setNoDelay(true));
  socket.once('secureConnect', () => {
    // HTTP/2 over TLS is agreed on by ALPN or not at all (RFC 9113, section 3.2).
    if (protocol === 'h2' && socket.alpnProtocol !== 'h2') {
      socket.destroy(new TlsRefusal(TlsResult.PROTOCOL, 'the upstream did not agree on HTTP/2'));
      return;
    }
    settle(TlsResult.OK);
    io.release();
    onConnected();
  });
  socket.once('error', (error) => {
    failure = error;
  });
  socket.once('close', () => settle(tlsResultOf(io.failure ?? failure)));
  return io;
}

/** What node:tls needs to connect in a role: where to, what to send as SNI, whom to expect. */
export function tlsClientOptions(address: ConnectAddress, role: TlsClientRole): ConnectionOptions {
  return {
    ...targetOf(address),
    ...(serverNameOf(address, role) !== '' && { servername: serverNameOf(address, role) }),
    secureContext: role.context,
    rejectUnauthorized: true,
    checkServerIdentity: (host: string, certificate: PeerCertificate) => judgeServer(role, host, certificate),
  };
}

function targetOf(address: ConnectAddress): object {
  if (address.kind === 'unix') return { path: address.path };
  return { host: address.host, port: address.port, localAddress: address.localAddress };
}

/** IP addresses are not sent as SNI (RFC 6066, section 3). */
function serverNameOf(address: ConnectAddress, role: TlsClientRole): string {
  if (role.serverName !== '') return role.serverName;
  const isName = address.kind === 'tcp' && !/^[0-9.]+$|:/.test(address.host);
  return isName && address.kind === 'tcp' ? address.host : '';
}

function judgeServer(role: TlsClientRole, host: string, certificate: PeerCertificate): Error | undefined {
  if (role.peerNames.length === 0) return nodeTls().checkServerIdentity(host, certificate);
  if (namesOneOf(parseSubjectNames(certificate.subjectaltname), role.peerNames)) return undefined;
  return new TlsRefusal(TlsResult.WRONG_NAME, 'the certificate has none of the expected names');
}
