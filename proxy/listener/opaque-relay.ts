/**
 * Relaying a connection as opaque bytes: nothing is read into them, nothing is changed, half-closes are kept, and a side
 * that does not take its bytes stops the other side from being read. Two sockets live and end together; one pair that
 * carries nothing for long is cut, for nobody else would ever end it when both peers are gone without a word.
 */
import { PeerTimeout } from '../../base/peer-timeout.ts';
import { type ConnectAddress, openSocket } from '../../proto/io/adopt.ts';
import { type ByteReader, ByteSocket } from '../../proto/io/byte-socket.ts';
import { OpaqueCut } from '../stats/slots.ts';

/** One direction's reader: what comes in here goes out there. */
class RelaySide implements ByteReader {
  peer: ByteSocket | null = null;
  io: ByteSocket | null = null;
  private readonly relay: OpaqueRelay;

  constructor(relay: OpaqueRelay) {
    this.relay = relay;
  }

  onBytes(buffer: Buffer, length: number): void {
    const peer = this.peer!;
    peer.write(buffer, 0, length);
    if (peer.pendingBytes > RELAY_BUFFER_BYTES) {
      peer.flush();
      if (!peer.writable) this.io!.pauseReading();
    }
  }

  onEnd(): void {
    this.peer?.end();
  }

  onDrained(): void {
    this.peer?.resumeReading();
  }

  onClosed(error: Error | null): void {
    this.relay.closed(this, error);
  }
}

/** Bytes waiting for one side above which the other is looked at; the socket's own high-water mark decides. */
const RELAY_BUFFER_BYTES = 64 * 1024;

/** Looks at the byte counts that make up one idle time; the cut comes at most one look late. */
const LOOKS_PER_IDLE_TIME = 4;
/** What `onDone` is told of a relay that its peers ended. */
export const NOT_CUT = -1;

export interface OpaqueRelayLimits {
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

export class OpaqueRelay {
  private readonly down = new RelaySide(this);
  private readonly up = new RelaySide(this);
  private readonly onDone: (cut: number) => void;
  private readonly connecting: PeerTimeout;
  private looking: NodeJS.Timeout | undefined;
  private isConnected = false;
  private cut: number = NOT_CUT;
  private bytesSeen = 0;
  private looksWithoutBytes = 0;
  private done = false;

  /**
   * Connects to `to`, or takes a socket that stands already, and relays; `first[0..length)` goes ahead. `onDone` is called
   * once, when both are closed, with an `OpaqueCut` or `NOT_CUT`.
   */
  constructor(
    io: ByteSocket,
    first: Buffer,
    length: number,
    to: ConnectAddress | ByteSocket,
    { connectTimeoutMs, idleTimeoutMs }: OpaqueRelayLimits,
    onDone: (cut: number) => void,
  ) {
    this.onDone = onDone;
    this.connecting = new PeerTimeout(() => this.cutOff(OpaqueCut.CONNECT_TIMEOUT), connectTimeoutMs);
    const upstream = to instanceof ByteSocket ? to : openSocket(to, this.up, () => this.connected(idleTimeoutMs));
    upstream.reader = this.up;
    this.down.io = io;
    this.down.peer = upstream;
    this.up.io = upstream;
    this.up.peer = io;
    io.reader = this.down;
    if (length > 0) upstream.write(first, 0, length);
    if (upstream === to) this.connected(idleTimeoutMs);
  }

  /** Cuts both sides. */
  destroy(): void {
    this.down.io!.destroy();
    this.up.io!.destroy();
  }

  closed(side: RelaySide, error: Error | null): void {
    const other = side.peer!;
    if (side === this.up && !this.isConnected && this.cut === NOT_CUT) this.cut = OpaqueCut.CONNECT_FAILED;
    // An abort is passed on as one; an orderly end lets the other side take what it has.
    if (error !== null) other.reset();
    else other.end();
    if (this.down.io!.closed && this.up.io!.closed) this.finish();
  }

  private connected(idleTimeoutMs: number): void {
    this.isConnected = true;
    this.connecting.clear();
    if (!this.done) this.looking = setInterval(() => this.look(), idleTimeoutMs / LOOKS_PER_IDLE_TIME).unref();
  }

  private look(): void {
    const bytes = this.down.io!.bytesIn + this.up.io!.bytesIn;
    this.looksWithoutBytes = bytes === this.bytesSeen ? this.looksWithoutBytes + 1 : 0;
    this.bytesSeen = bytes;
    if (this.looksWithoutBytes >= LOOKS_PER_IDLE_TIME) this.cutOff(OpaqueCut.IDLE);
  }

  private cutOff(reason: number): void {
    this.cut = reason;
    this.destroy();
  }

  private finish(): void {
    if (this.done) return;
    this.done = true;
    this.connecting.clear();
    clearInterval(this.looking);
    this.onDone(this.cut);
  }
}
