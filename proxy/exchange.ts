/**
 * One request on its way through the proxy: its state, and nothing that decides. The data plane moves it from stage to
 * stage; the exchange only hands stream events and its deadline to the plane. Every field is initialised here, in order,
 * so that all exchanges share one shape.
 */
import type { ProxyError } from '../base/proxy-error.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import type { Http2Connection } from '../proto/http2/connection.ts';
import type { HeaderList } from '../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../proto/http2/stream.ts';
import type { BodyBuffer } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import type { MeshCluster, MeshModel } from './mesh.ts';
import type { MirroredPair } from './mirroring.ts';
import type { RequestTraits } from './routing/request-traits.ts';
import type { SpecReader } from './routing/spec-reader.ts';
import { Waiter } from './upstream/endpoint-pool.ts';

/** Where a request is. Transitions only go downwards, except that a failed attempt may start the next. */
export const Stage = {
  /** Head read; nothing decided. */
  NEW: 0,
  /** Waiting for the bytes that name the model. */
  AWAITING_SPEC: 1,
  /** With a cluster: waiting for a connection, sent, or being answered. */
  FORWARDING: 2,
  /** Answered, cancelled or reset; late events are ignored. */
  DONE: 3,
} as const;

export class Exchange extends WheelTimer implements StreamHandler {
  readonly plane: DataPlane;
  readonly down: Http2Stream;
  stage: number = Stage.NEW;
  head: HeaderList | null = null;
  traits: RequestTraits | null = null;
  model: MeshModel | null = null;
  attempt: Attempt | null = null;
  /** Position in the model's fallback list of the next step to try. */
  nextFallback = 0;
  /** Whether the model's policies (split, fallback, mirror) apply; not for calls that pin an unknown version. */
  governed = false;
  startedMs: number;
  /** When the caller stops waiting; 0 for never. */
  deadlineMs = 0;
  /** The request from its first byte, as long as it is needed: see `keepsBody`. */
  body: BodyBuffer | null = null;
  /** The body is kept after it was forwarded, for another attempt or a shadow. */
  keepsBody = false;
  /** DATA bytes of the request seen so far. */
  bodyBytes = 0;
  /** The whole request has arrived. */
  bodyEnded = false;
  /** The answer's head has been sent to the caller: no fallback any more. */
  committed = false;
  /** The answer is kept back until it is complete or too large to keep. */
  holds = false;
  held: BodyBuffer | null = null;
  /** Reads a message that comes in several pieces, and watches the rest of one that was routed before its end. */
  reader: SpecReader | null = null;
  /** For the access log: gRPC status of the answer (-1: none), its bytes, why it is what it is. */
  status = -1;
  answerBytes = 0;
  flag = '';
  wasMirrored = false;
  /** False once the kept copy of the request was given up. */
  replayable = true;
  /** What the primary did wrong, kept while fallbacks are tried: an error of ours, or the trailers it sent. */
  failure: ProxyError | null = null;
  failedAnswer: HeaderList | null = null;
  /** Request and answer bytes for the shadows; null when the request is not mirrored. */
  mirrored: MirroredPair | null = null;

  constructor(plane: DataPlane, down: Http2Stream, nowMs: number) {
    super();
    this.plane = plane;
    this.down = down;
    this.startedMs = nowMs;
  }

  onHeaders(_stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.stage === Stage.NEW) this.plane.onRequestHead(this, headers, endStream);
    else this.plane.onRequestTrailers(this, headers);
  }

  onData(_stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    this.plane.onRequestData(this, buffer, start, end, endStream);
  }

  onSent(_stream: Http2Stream, bytes: number): void {
    // Answer bytes left the queue towards the caller: the upstream may send as many again.
    const stream = this.attempt?.stream;
    if (stream != null) stream.consume(Math.min(bytes, stream.outstanding));
  }

  onReset(_stream: Http2Stream, _errorCode: number): void {
    this.plane.onCallerGone(this);
  }

  onExpire(nowMs: number): void {
    this.plane.onDeadline(this, nowMs);
  }
}

/** One try of a request with one cluster. A request has one at a time; late events of an earlier one are ignored. */
export class Attempt extends Waiter implements StreamHandler {
  readonly exchange: Exchange;
  readonly cluster: MeshCluster;
  /** `AnswerReason`: PRIMARY, or why a fallback is tried. */
  readonly reason: number;
  /** The breaker's verdict and epoch, to be handed back with the outcome. */
  readonly verdict: number;
  readonly epoch: number;
  readonly startedMs: number;
  stream: Http2Stream | null = null;
  responseHead: HeaderList | null = null;
  settled = false;
  /** Times the request was refused unprocessed and sent again. */
  refusals = 0;

  constructor(
    exchange: Exchange,
    cluster: MeshCluster,
    reason: number,
    verdict: number,
    epoch: number,
    startedMs: number,
  ) {
    super();
    this.exchange = exchange;
    this.cluster = cluster;
    this.reason = reason;
    this.verdict = verdict;
    this.epoch = epoch;
    this.startedMs = startedMs;
  }

  onConnection(connection: Http2Connection): void {
    this.exchange.plane.forward(this.exchange, this, connection);
  }

  onUnavailable(reason: number): void {
    this.exchange.plane.onUnavailable(this.exchange, this, reason);
  }

  onHeaders(_stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.settled) return;
    if (this.responseHead === null) this.exchange.plane.onAnswerHead(this.exchange, this, headers, endStream);
    else this.exchange.plane.onAnswerEnd(this.exchange, this, headers);
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.settled) stream.consume(end - start);
    else this.exchange.plane.onAnswerData(this.exchange, this, buffer, start, end, endStream);
  }

  onSent(_stream: Http2Stream, bytes: number): void {
    // Request bytes left the queue towards the upstream: the caller may send as many again.
    const { down } = this.exchange;
    if (this.exchange.attempt === this) down.consume(Math.min(bytes, down.outstanding));
  }

  onReset(stream: Http2Stream, errorCode: number): void {
    if (!this.settled) this.exchange.plane.onAnswerReset(this.exchange, this, stream.refused, errorCode);
  }
}
