/**
 * Telling HTTP/2, HTTP/1 and everything else apart by a connection's first bytes, without consuming any.
 *
 * A client that speaks HTTP/2 with prior knowledge sends its preface first (RFC 9113, section 3.4), one that speaks
 * HTTP/1 a method and a space, either possibly in pieces of one byte. As long as what has come is a beginning of one of
 * them we wait, at most `timeoutMs`; anything else, and silence (a protocol in which the server speaks first), is relayed
 * as opaque bytes.
 */
import { PeerTimeout } from '../../base/peer-timeout.ts';
import { CLIENT_PREFACE } from '../../proto/http2/frames.ts';
import type { ByteReader, ByteSocket } from '../../proto/io/byte-socket.ts';

const Protocol = { UNDECIDED: 0, HTTP2: 1, HTTP1: 2, OPAQUE: 3, TLS: 4 } as const;

/** A TLS handshake record: its type and its major version (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 22;
const TLS_MAJOR = 3;

/** Methods of RFC 9110 and PATCH. A protocol of its own that begins with one of them and a space is not known. */
const METHODS: readonly string[] = [
  'GET ',
  'POST ',
  'PUT ',
  'HEAD ',
  'DELETE ',
  'OPTIONS ',
  'PATCH ',
  'TRACE ',
  'CONNECT ',
];
const METHOD_BYTES: readonly Buffer[] = METHODS.map((method) => Buffer.from(method, 'latin1'));

function recognise(bytes: Buffer, length: number, tls: boolean): number {
  if (tls && bytes[0] === TLS_HANDSHAKE) {
    if (length < 2) return Protocol.UNDECIDED;
    return bytes[1] === TLS_MAJOR ? Protocol.TLS : Protocol.OPAQUE;
  }
  const compared = Math.min(length, CLIENT_PREFACE.length);
  if (bytes.compare(CLIENT_PREFACE, 0, compared, 0, compared) === 0) {
    return compared === CLIENT_PREFACE.length ? Protocol.HTTP2 : Protocol.UNDECIDED;
  }
  for (const method of METHOD_BYTES) {
    const size = Math.min(length, method.length);
    if (bytes.compare(method, 0, size, 0, size) !== 0) continue;
    return size === method.length ? Protocol.HTTP1 : Protocol.UNDECIDED;
  }
  return Protocol.OPAQUE;
}

export interface DetectionTarget {
  /** It is HTTP/2. `first` holds what was read so far, in `[0..length)`, valid during the call only. */
  onHttp2(io: ByteSocket, first: Buffer, length: number): void;
  /** It is HTTP/1.x. `first` as above. */
  onHttp1(io: ByteSocket, first: Buffer, length: number): void;
  /** It is neither, or nobody knows. `first` as above; empty after a timeout. */
  onOpaque(io: ByteSocket, first: Buffer, length: number): void;
  /** A TLS handshake begins, where one is looked for. `first` as above. */
  onTls?(io: ByteSocket, first: Buffer, length: number): void;
  /** The connection ended before it said anything. */
  onGone(): void;
}

/** Reads a new connection until its protocol is known, then hands it over; the target sets the next reader. */
export class ProtocolDetection implements ByteReader {
  private readonly target: DetectionTarget;
  private readonly timer: PeerTimeout;
  private io: ByteSocket | null = null;
  private readonly peeked = Buffer.allocUnsafe(CLIENT_PREFACE.length);
  private peekedLength = 0;
  private ended = false;

  constructor(target: DetectionTarget, timeoutMs: number) {
    this.target = target;
    this.timer = new PeerTimeout(() => this.giveUp(), timeoutMs);
  }

  /** The socket this reads; to be called before its first byte can come. */
  begin(io: ByteSocket): void {
    this.io = io;
  }

  onBytes(buffer: Buffer, length: number): void {
    const known = this.peekedLength;
    const first = known === 0 ? buffer : Buffer.concat([this.peeked.subarray(0, known), buffer.subarray(0, length)]);
    const total = known + length;
    const verdict = recognise(first, total, this.target.onTls !== undefined);
    if (verdict !== Protocol.UNDECIDED) {
      this.decide(verdict, first, total);
      return;
    }
    // Undecided bytes are fewer than a preface has, so they fit.
    buffer.copy(this.peeked, known, 0, length);
    this.peekedLength = total;
  }

  onEnd(): void {
    this.ended = true;
    this.giveUp();
  }

  onDrained(): void {}

  onClosed(): void {
    this.timer.clear();
    if (this.io !== null) this.target.onGone();
    this.io = null;
  }

  /** Stops looking now: relayed as it is. */
  giveUp(): void {
    if (this.io === null) return;
    const { io, ended } = this;
    this.decide(Protocol.OPAQUE, this.peeked, this.peekedLength);
    if (ended) io.reader.onEnd();
  }

  private decide(protocol: number, first: Buffer, length: number): void {
    this.timer.clear();
    const io = this.io;
    if (io === null) return;
    this.io = null;
    if (protocol === Protocol.HTTP2) this.target.onHttp2(io, first, length);
    else if (protocol === Protocol.HTTP1) this.target.onHttp1(io, first, length);
    else if (protocol === Protocol.TLS) this.target.onTls!(io, first, length);
    else this.target.onOpaque(io, first, length);
  }
}
