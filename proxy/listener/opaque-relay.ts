/**
 * Relaying a connection as opaque bytes: nothing is read into them, nothing is changed, half-closes are kept, and a side
 * that does not take its bytes stops the other side from being read. Two sockets live and end together.
 */
import { type ConnectAddress, openSocket } from '../../proto/io/adopt.ts';
import type { ByteReader, ByteSocket } from '../../proto/io/byte-socket.ts';

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

export class OpaqueRelay {
  private readonly down = new RelaySide(this);
  private readonly up = new RelaySide(this);
  private readonly onDone: () => void;
  private connectTimer: NodeJS.Timeout | null;
  private done = false;

  /** Connects to `address` and relays; `first[0..length)` goes ahead. `onDone` is called once, when both are closed. */
  constructor(
    io: ByteSocket,
    first: Buffer,
    length: number,
    address: ConnectAddress,
    connectTimeoutMs: number,
    onDone: () => void,
  ) {
    this.onDone = onDone;
    this.connectTimer = setTimeout(() => this.destroy(), connectTimeoutMs);
    const upstream = openSocket(address, this.up, () => this.connected());
    this.down.io = io;
    this.down.peer = upstream;
    this.up.io = upstream;
    this.up.peer = io;
    io.reader = this.down;
    if (length > 0) upstream.write(first, 0, length);
  }

  /** Cuts both sides. */
  destroy(): void {
    this.down.io!.destroy();
    this.up.io!.destroy();
  }

  closed(side: RelaySide, error: Error | null): void {
    const other = side.peer!;
    // An abort is passed on as one; an orderly end lets the other side take what it has.
    if (error !== null) other.reset();
    else other.end();
    if (this.down.io!.closed && this.up.io!.closed) this.finish();
  }

  private connected(): void {
    if (this.connectTimer !== null) clearTimeout(this.connectTimer);
    this.connectTimer = null;
  }

  private finish(): void {
    if (this.done) return;
    this.done = true;
    this.connected();
    this.onDone();
  }
}
