/**
 * Ends what takes too long: connections that never say who they are, frames and header blocks that never finish, peers
 * that take no bytes or send none, connections that rest.
 *
 * One look at every connection in turns of a second, instead of a timer each: a request costs no clock reading and no
 * timer, an idle connection no wake-up of its own, and a limit is kept to within two looks. What a look finds unchanged
 * since the last one has stood still; nothing in the engine takes notes for it but a few counts it has anyway.
 */
import type { Clock } from '../../base/clock.ts';
import type { Http2Connection } from './connection.ts';
import { Http2Counter } from './counters.ts';
import { ErrorCode } from './frames.ts';

/** Time between two looks, milliseconds: limits are seconds and more. */
export const LOOK_EVERY_MS = 1000;

/** What the looks have seen of one connection. */
export class ConnectionAge {
  readonly connection: Http2Connection;
  private readonly watch: ConnectionWatch;
  private readonly createdMs: number;
  private unitSerial = -1;
  private unitSinceMs = 0;
  private streamsSeen = -1;
  private idleSinceMs = 0;
  private takenBytes = -1;
  private stalledSinceMs = 0;

  constructor(connection: Http2Connection, watch: ConnectionWatch) {
    this.connection = connection;
    this.watch = watch;
    this.createdMs = watch.clock.nowMs();
  }

  /** The connection is dead. */
  forget(): void {
    this.watch.remove(this);
  }

  look(nowMs: number): void {
    const { limits } = this.connection;
    if (limits.handshakeTimeoutMs > 0 && this.lookAtHandshake(nowMs, limits.handshakeTimeoutMs)) return;
    if (limits.headerTimeoutMs > 0 && this.lookAtUnit(nowMs, limits.headerTimeoutMs)) return;
    if (limits.stallTimeoutMs > 0 && this.lookAtSocket(nowMs, limits.stallTimeoutMs)) return;
    if (limits.streamStallTimeoutMs > 0) this.lookAtQueues(limits.streamStallTimeoutMs);
    if (limits.bodyTimeoutMs > 0 && !this.connection.client) this.lookAtBodies(limits.bodyTimeoutMs);
    if (limits.idleTimeoutMs > 0 && !this.connection.dead) this.lookForStreams(nowMs, limits.idleTimeoutMs);
  }

  private lookAtHandshake(nowMs: number, timeoutMs: number): boolean {
    const { connection } = this;
    if (connection.settingsSeen || nowMs - this.createdMs < timeoutMs) return false;
    this.cut(Http2Counter.HANDSHAKE_TIMEOUTS, ErrorCode.SETTINGS_TIMEOUT, 'no SETTINGS in time');
    return true;
  }

  private lookAtUnit(nowMs: number, timeoutMs: number): boolean {
    const { block, reader } = this.connection;
    let serial = -1;
    if (block.streamId !== 0) serial = block.serial * 2;
    else if (reader.waiting) serial = reader.partialSerial * 2 + 1;
    if (serial !== this.unitSerial) {
      this.unitSerial = serial;
      this.unitSinceMs = nowMs;
    }
    if (serial < 0 || nowMs - this.unitSinceMs < timeoutMs) return false;
    this.cut(Http2Counter.HEADER_TIMEOUTS, ErrorCode.ENHANCE_YOUR_CALM, 'a frame was not finished in time');
    return true;
  }

  private lookAtSocket(nowMs: number, timeoutMs: number): boolean {
    const { io } = this.connection;
    const taken = io.pendingBytes === 0 ? -1 : io.takenBytes;
    if (taken !== this.takenBytes) {
      this.takenBytes = taken;
      this.stalledSinceMs = nowMs;
    }
    if (taken < 0 || nowMs - this.stalledSinceMs < timeoutMs) return false;
    this.cut(Http2Counter.SOCKET_STALLS, ErrorCode.ENHANCE_YOUR_CALM, 'the peer takes no bytes');
    return true;
  }

  private lookAtQueues(timeoutMs: number): void {
    const { connection } = this;
    for (const stream of connection.send.stalled()) {
      if (stream.dead || stream.queue!.idleLooks++ * LOOK_EVERY_MS < timeoutMs) continue;
      connection.counters[Http2Counter.STREAM_STALLS]!++;
      connection.failStream(stream, ErrorCode.CANCEL);
    }
  }

  private lookAtBodies(timeoutMs: number): void {
    const { connection } = this;
    for (const stream of connection.table.list()) {
      if (stream.remoteEnded || stream.dead || stream.outstanding > 0) continue;
      if (stream.bodyLooks++ * LOOK_EVERY_MS < timeoutMs) continue;
      connection.counters[Http2Counter.BODY_TIMEOUTS]!++;
      connection.failStream(stream, ErrorCode.CANCEL);
    }
  }

  private lookForStreams(nowMs: number, timeoutMs: number): void {
    const { connection } = this;
    const seen = connection.activeStreams > 0 ? -1 : connection.ids.used;
    if (seen !== this.streamsSeen) {
      this.streamsSeen = seen;
      this.idleSinceMs = nowMs;
    }
    if (seen < 0 || connection.draining || nowMs - this.idleSinceMs < timeoutMs) return;
    connection.counters[Http2Counter.IDLE_TIMEOUTS]!++;
    connection.drain();
  }

  private cut(counter: number, errorCode: number, message: string): void {
    const { connection } = this;
    connection.counters[counter]!++;
    connection.fail(errorCode, message);
  }
}

/** Looks after all connections of one clock. */
export class ConnectionWatch {
  readonly clock: Clock;
  private readonly watched = new Set<ConnectionAge>();
  private timer: NodeJS.Timeout | null = null;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  add(age: ConnectionAge): void {
    this.watched.add(age);
    if (this.timer !== null) return;
    this.timer = setInterval(() => this.look(), LOOK_EVERY_MS);
    this.timer.unref();
  }

  remove(age: ConnectionAge): void {
    this.watched.delete(age);
  }

  /** One look at every connection. */
  look(): void {
    const nowMs = this.clock.nowMs();
    for (const age of this.watched) age.look(nowMs);
    if (this.watched.size > 0 || this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
  }
}

const watches = new WeakMap<Clock, ConnectionWatch>();

/** The watch that goes by a clock; one per thread and clock. */
export function watchFor(clock: Clock): ConnectionWatch {
  let watch = watches.get(clock);
  if (watch === undefined) {
    watch = new ConnectionWatch(clock);
    watches.set(clock, watch);
  }
  return watch;
}
