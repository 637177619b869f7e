/**
 * Tells HTTP/2 from HTTP/1.1 on one socket by its first bytes: HTTP/2 with prior knowledge begins with a fixed preface
 * (RFC 9113, section 3.4), and no request line of HTTP/1.1 shares its first four bytes. What was read is handed on.
 */

import type { Clock } from '../../base/clock.ts';
import { type TimerWheel, WheelTimer } from '../../base/timer-wheel.ts';
import type { ByteReader, ByteSocket } from '../../proto/io/byte-socket.ts';

const PREFACE = Buffer.from('PRI ');

/** A socket that says nothing for this long is closed. */
export const DETECT_TIMEOUT_MS = 10_000;

export interface DetectorOwner {
  /** Gives the socket to a connection, which becomes its reader. */
  detected(io: ByteSocket, isHttp2: boolean): void;
  /** The socket closed before it said enough. */
  gone(io: ByteSocket): void;
}

export class ProtocolDetector extends WheelTimer implements ByteReader {
  io: ByteSocket | null = null;
  private readonly timers: TimerWheel;
  private readonly owner: DetectorOwner;
  private readonly seen = Buffer.alloc(PREFACE.length);
  private length = 0;

  constructor(timers: TimerWheel, clock: Clock, owner: DetectorOwner) {
    super();
    this.timers = timers;
    this.owner = owner;
    timers.arm(this, clock.nowMs() + DETECT_TIMEOUT_MS);
  }

  onBytes(buffer: Buffer, length: number): void {
    let matching = true;
    let at = 0;
    while (matching && at < length && this.length + at < PREFACE.length) {
      matching = buffer[at] === PREFACE[this.length + at];
      if (matching) at++;
    }
    if (matching && this.length + at < PREFACE.length) {
      buffer.copy(this.seen, this.length, 0, length);
      this.length += length;
      return;
    }
    this.hand(matching, buffer, length);
  }

  onEnd(): void {
    this.io?.destroy();
  }

  onDrained(): void {}

  onClosed(): void {
    this.timers.disarm(this);
    this.owner.gone(this.io!);
  }

  onExpire(): void {
    this.io?.destroy();
  }

  private hand(isHttp2: boolean, buffer: Buffer, length: number): void {
    const io = this.io!;
    this.timers.disarm(this);
    this.owner.detected(io, isHttp2);
    if (this.length > 0) io.reader.onBytes(this.seen, this.length);
    if (!io.closed) io.reader.onBytes(buffer, length);
  }
}
