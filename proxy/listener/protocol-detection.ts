/**
 * Telling HTTP/2 from everything else by a connection's first bytes, without consuming any.
 *
 * A client that speaks HTTP/2 with prior knowledge sends its preface first (RFC 9113, section 3.4), possibly in pieces
 * of one byte. As long as what has come is a beginning of the preface we wait, at most `timeoutMs`; anything else, and
 * silence (a protocol in which the server speaks first), is relayed as opaque bytes.
 */
import { CLIENT_PREFACE } from '../../proto/http2/frames.ts';
import type { ByteReader, ByteSocket } from '../../proto/io/byte-socket.ts';

export interface DetectionTarget {
  /** It is HTTP/2. `first` holds what was read so far, in `[0..length)`, valid during the call only. */
  onHttp2(io: ByteSocket, first: Buffer, length: number): void;
  /** It is not, or nobody knows. `first` as above; empty after a timeout. */
  onOpaque(io: ByteSocket, first: Buffer, length: number): void;
  /** The connection ended before it said anything. */
  onGone(): void;
}

/** Reads a new connection until its protocol is known, then hands it over; the target sets the next reader. */
export class ProtocolDetection implements ByteReader {
  private readonly target: DetectionTarget;
  private readonly timer: NodeJS.Timeout;
  private io: ByteSocket | null = null;
  private readonly peeked = Buffer.allocUnsafe(CLIENT_PREFACE.length);
  private peekedLength = 0;
  private ended = false;

  constructor(target: DetectionTarget, timeoutMs: number) {
    this.target = target;
    this.timer = setTimeout(() => this.giveUp(), timeoutMs);
    this.timer.unref();
  }

  /** The socket this reads; to be called before its first byte can come. */
  begin(io: ByteSocket): void {
    this.io = io;
  }

  onBytes(buffer: Buffer, length: number): void {
    const known = this.peekedLength;
    const compared = Math.min(length, CLIENT_PREFACE.length - known);
    const matches = buffer.compare(CLIENT_PREFACE, known, known + compared, 0, compared) === 0;
    if (matches && known + compared < CLIENT_PREFACE.length) {
      buffer.copy(this.peeked, known, 0, compared);
      this.peekedLength = known + compared;
      return;
    }
    const first = known === 0 ? buffer : Buffer.concat([this.peeked.subarray(0, known), buffer.subarray(0, length)]);
    this.decide(matches, first, known + length);
  }

  onEnd(): void {
    this.ended = true;
    this.giveUp();
  }

  onDrained(): void {}

  onClosed(): void {
    clearTimeout(this.timer);
    if (this.io !== null) this.target.onGone();
    this.io = null;
  }

  /** Stops looking now: relayed as it is. */
  giveUp(): void {
    if (this.io === null) return;
    const { io, ended } = this;
    this.decide(false, this.peeked, this.peekedLength);
    if (ended) io.reader.onEnd();
  }

  private decide(http2: boolean, first: Buffer, length: number): void {
    clearTimeout(this.timer);
    const io = this.io;
    if (io === null) return;
    this.io = null;
    if (http2) this.target.onHttp2(io, first, length);
    else this.target.onOpaque(io, first, length);
  }
}
