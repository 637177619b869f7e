/**
 * What one HTTP/2 connection may cost us. Every number here has a verdict when it is passed: a refused stream, a reset
 * stream, or a connection ended with ENHANCE_YOUR_CALM; `FloodGuard` counts the frames that cost the sender nothing.
 */
import type { Clock } from '../../base/clock.ts';

export interface Http2Limits {
  /** Streams the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS); more are refused. */
  readonly maxConcurrentStreams: number;
  /** Receive window per stream, bytes. It is also the most a stream's relay can have to hold. */
  readonly streamWindowBytes: number;
  /** Receive window of the connection, bytes. */
  readonly connectionWindowBytes: number;
  /** Decoded size of a header section as RFC 9113 section 6.5.2 counts it; larger ones get 431 or a reset. */
  readonly maxHeaderListBytes: number;
  readonly maxHeaderFields: number;
  /** Encoded size of a header block over HEADERS and CONTINUATION frames. */
  readonly maxHeaderBlockBytes: number;
  /** CONTINUATION frames per header block. */
  readonly maxContinuations: number;
  /** Free frames (SETTINGS, PING, PRIORITY, empty DATA, WINDOW_UPDATE, resets) a peer may send in a burst. */
  readonly floodBurst: number;
  /** How many of them come back per second. */
  readonly floodPerSecond: number;
  /** Bytes of our answers a peer may leave unread before its connection ends. */
  readonly maxUnreadControlBytes: number;
}

export const DEFAULT_HTTP2_LIMITS: Http2Limits = {
  maxConcurrentStreams: 256,
  streamWindowBytes: 256 * 1024,
  connectionWindowBytes: 4 * 1024 * 1024,
  maxHeaderListBytes: 64 * 1024,
  maxHeaderFields: 256,
  maxHeaderBlockBytes: 64 * 1024,
  maxContinuations: 16,
  floodBurst: 1000,
  floodPerSecond: 200,
  maxUnreadControlBytes: 1024 * 1024,
};

/** Kinds of frames that cost a peer nothing to send. Each has its own budget and its own counter. */
export const Flood = {
  RESET: 0,
  SETTINGS: 1,
  PING: 2,
  EMPTY_DATA: 3,
  WINDOW_UPDATE: 4,
  PRIORITY: 5,
  UNKNOWN_FRAME: 6,
} as const;

export const FLOOD_KINDS: readonly string[] = [
  'rapid_reset',
  'settings',
  'ping',
  'empty_data',
  'window_update',
  'priority',
  'unknown_frame',
];

/** One token bucket per kind; `spend` is false when the peer has used its budget up. */
export class FloodGuard {
  private readonly tokens: Float64Array;
  private readonly refilledMs: Float64Array;
  private readonly clock: Clock;
  private readonly burst: number;
  private readonly perMs: number;

  constructor(limits: Http2Limits, clock: Clock) {
    this.clock = clock;
    this.burst = limits.floodBurst;
    this.perMs = limits.floodPerSecond / 1000;
    this.tokens = new Float64Array(FLOOD_KINDS.length).fill(limits.floodBurst);
    this.refilledMs = new Float64Array(FLOOD_KINDS.length).fill(clock.nowMs());
  }

  /** Takes one token; the clock is read only when the bucket is empty, so the common case is a subtraction. */
  spend(kind: number): boolean {
    if (this.tokens[kind]! >= 1) {
      this.tokens[kind]!--;
      return true;
    }
    const nowMs = this.clock.nowMs();
    this.tokens[kind] = Math.min(this.burst, (nowMs - this.refilledMs[kind]!) * this.perMs);
    this.refilledMs[kind] = nowMs;
    if (this.tokens[kind]! < 1) return false;
    this.tokens[kind]!--;
    return true;
  }

  /** Gives a token back when the peer did something that pays for the frame (a finished request pays for its windows). */
  earn(kind: number, count: number): void {
    const next = this.tokens[kind]! + count;
    this.tokens[kind] = Math.min(next, this.burst);
  }
}
