/**
 * What one HTTP/2 connection may cost us. Every number here has a verdict when it is passed: a refused stream, a reset
 * stream, or a connection ended with ENHANCE_YOUR_CALM; `FloodGuard` counts the frames that cost the sender nothing.
 */
import type { Clock } from '../../base/clock.ts';

export interface Http2Limits {
  /**
   * Server: streams the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS); more are refused. Client: streams
   * we open at once even if the peer allows more.
   */
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
  /** Streams a connection carries before it is drained, so that identifiers never run out. */
  readonly maxStreamsPerConnection: number;
  /** The preface and the first SETTINGS must come within this time of the connection, milliseconds. 0: no limit. */
  readonly handshakeTimeoutMs: number;
  /** A frame other than DATA, and a header block, must be complete within this time, milliseconds. 0: no limit. */
  readonly headerTimeoutMs: number;
  /** A connection without streams is drained after this time, milliseconds. 0: never. */
  readonly idleTimeoutMs: number;
  /** A connection whose socket takes none of our bytes for this long is cut, milliseconds. 0: never. */
  readonly stallTimeoutMs: number;
  /** A stream is reset whose bytes wait this long for the peer's flow control, milliseconds. 0: never. */
  readonly streamStallTimeoutMs: number;
  /**
   * Server: a request whose body stops growing for this long, though we gave it room, is reset, milliseconds. 0: never,
   * the default, because a stream of events may rest as long as it likes.
   */
  readonly bodyTimeoutMs: number;
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
  maxStreamsPerConnection: 1_000_000_000,
  handshakeTimeoutMs: 10_000,
  headerTimeoutMs: 10_000,
  idleTimeoutMs: 3_600_000,
  stallTimeoutMs: 30_000,
  streamStallTimeoutMs: 300_000,
  bodyTimeoutMs: 0,
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
  GOAWAY: 7,
  INFORMATIONAL: 8,
} as const;

export const FLOOD_KINDS: readonly string[] = [
  'rapid_reset',
  'settings',
  'ping',
  'empty_data',
  'window_update',
  'priority',
  'unknown_frame',
  'goaway',
  'informational',
];

/** Free frames of each kind that a DATA frame with content, in either direction, pays for. */
const PAID_BY_FRAME: readonly number[] = [0, 0, 1, 0, 2, 0, 0, 0, 0];
/** Free frames of each kind that a stream which ended in order pays for. */
const PAID_BY_STREAM: readonly number[] = [1, 0, 1, 0, 2, 1, 2, 0, 2];

/**
 * One token bucket per kind; `spend` is false when the peer has used its budget up. Buckets fill with time and with work:
 * an honest peer's PING, WINDOW_UPDATE and priority frames go with streams and DATA.
 */
export class FloodGuard {
  /** DATA frames with content so far, both directions. */
  frames = 0;
  /** Streams that ended in order so far. */
  finished = 0;
  private readonly clock: Clock;
  private readonly burst: number;
  private readonly perMs: number;
  private readonly tokens: Float64Array;
  // When each bucket was last filled: time, frames and streams then.
  private readonly filledMs: Float64Array;
  private readonly filledFrames: Float64Array;
  private readonly filledStreams: Float64Array;

  constructor(limits: Http2Limits, clock: Clock) {
    const kinds = FLOOD_KINDS.length;
    this.clock = clock;
    this.burst = limits.floodBurst;
    this.perMs = limits.floodPerSecond / 1000;
    this.tokens = new Float64Array(kinds).fill(limits.floodBurst);
    this.filledMs = new Float64Array(kinds).fill(clock.nowMs());
    this.filledFrames = new Float64Array(kinds);
    this.filledStreams = new Float64Array(kinds);
  }

  /** Takes one token; time and work are looked at only when the bucket is empty, so the common case is a subtraction. */
  spend(kind: number): boolean {
    if (this.tokens[kind]! < 1) this.refill(kind);
    if (this.tokens[kind]! < 1) return false;
    this.tokens[kind]!--;
    return true;
  }

  /** Adds what time and work since the last refill have paid for. */
  private refill(kind: number): void {
    const nowMs = this.clock.nowMs();
    const byTime = (nowMs - this.filledMs[kind]!) * this.perMs;
    const byFrames = (this.frames - this.filledFrames[kind]!) * PAID_BY_FRAME[kind]!;
    const byStreams = (this.finished - this.filledStreams[kind]!) * PAID_BY_STREAM[kind]!;
    this.tokens[kind] = Math.min(this.burst, this.tokens[kind]! + byTime + byFrames + byStreams);
    this.filledMs[kind] = nowMs;
    this.filledFrames[kind] = this.frames;
    this.filledStreams[kind] = this.finished;
  }
}
