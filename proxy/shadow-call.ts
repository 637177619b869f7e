/**
 * One mirrored request on its way to one shadow, and the shadow's answer as it comes in.
 *
 * A call ends exactly once, in `settle`: with an answer, or given up at a bound, a deadline, a reset. It borrows the
 * request while it is sent and copies it only when no connection is free at once.
 */
import { GrpcStatus } from '../base/grpc-status.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import type { Http1ClientConnection } from '../proto/http1/client-connection.ts';
import { Http2Connection } from '../proto/http2/connection.ts';
import { ErrorCode } from '../proto/http2/frames.ts';
import type { HeaderList } from '../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../proto/http2/stream.ts';
import { acquireBody, type BodyBuffer, releaseBody } from './body-buffer.ts';
import type { Exchange } from './exchange.ts';
import type { MeshShadow } from './mesh.ts';
import type { MirroredPair, Mirroring } from './mirroring.ts';
import { breakerOutcome, judgeStatus } from './policy/answer-judgement.ts';
import { Outcome } from './policy/circuit-breaker.ts';
import { leaveEndpoint } from './request-accounts.ts';
import { answerStatus, ResponseTraits } from './routing/response-traits.ts';
import { ClusterSlot, MirrorDrop, RequestOutcome, ShadowSlot } from './stats/slots.ts';
import { Unavailable, Waiter } from './upstream/wait-queue.ts';

/** A shadow has this long to answer, milliseconds: a late answer compares as well as a quick one, but holds memory. */
const SHADOW_TIMEOUT_MS = 10_000;
/** Largest answer kept for comparison, bytes. */
export const MAX_ANSWER_BYTES: number = 1024 * 1024;
/** Status of a half that has no answer. */
export const NO_ANSWER = -1;

/** The shadow's timer; a call is a waiter already and cannot extend both. */
class ShadowTimer extends WheelTimer {
  private readonly call: ShadowCall;

  constructor(call: ShadowCall) {
    super();
    this.call = call;
  }

  onExpire(): void {
    this.call.expire();
  }
}

/** One request on its way to one shadow. */
export class ShadowCall extends Waiter implements StreamHandler {
  readonly pair: MirroredPair;
  readonly shadow: MeshShadow;
  /** Where the request keeps its model's name: `ScanKind`. */
  readonly requestKind: number;
  readonly encoding: string;
  /** The answer came whole, with `status`. */
  answered = false;
  /** It was given the request and answered nothing: reset, or not in time. */
  failed = false;
  done = false;
  status = NO_ANSWER;
  latencyMs = 0;
  answer: BodyBuffer | null = null;
  answerEncoding = '';
  answerJsonBytes = 0;
  private readonly mirroring: Mirroring;
  private readonly plainHead: HeaderList;
  private readonly rewrittenHead: HeaderList;
  private readonly verdict: number;
  private readonly epoch: number;
  private readonly startedMs: number;
  private readonly timer: ShadowTimer;
  private stream: Http2Stream | null = null;
  private head: HeaderList | null = null;
  /** The request, borrowed while `start` runs, then a copy if no connection was free at once. */
  private body: BodyBuffer | null = null;
  private ownsBody = false;
  private held = 0;

  constructor(
    mirroring: Mirroring,
    exchange: Exchange,
    pair: MirroredPair,
    shadow: MeshShadow,
    verdict: number,
    nowMs: number,
  ) {
    super();
    const traits = exchange.traits!;
    this.mirroring = mirroring;
    this.pair = pair;
    this.shadow = shadow;
    this.verdict = verdict;
    this.epoch = shadow.cluster.breaker.epoch;
    this.startedMs = nowMs;
    this.requestKind = traits.call!.requestKind;
    this.encoding = traits.encoding;
    this.plainHead = traits.shadow;
    this.rewrittenHead = traits.shadowRewritten;
    this.timer = new ShadowTimer(this);
  }

  start(body: BodyBuffer): void {
    this.hold(body.length);
    this.body = body;
    this.mirroring.wheel.arm(this.timer, this.startedMs + SHADOW_TIMEOUT_MS);
    this.shadow.cluster.request(this, false);
    if (this.done || this.stream !== null) {
      this.body = null;
      return;
    }
    // Where callers wait for connections too, a shadow does not stand in their queue.
    if (!this.shadow.judged) {
      this.end(MirrorDrop.PRESSURE, Outcome.IGNORED);
      return;
    }
    this.body = acquireBody();
    this.body.append(body.buffer, 0, body.length);
    this.ownsBody = true;
  }

  onConnection(connection: Http2Connection | Http1ClientConnection): void {
    if (this.done || !(connection instanceof Http2Connection)) return;
    const body = this.body!;
    const spec = this.mirroring.prepare(this, body);
    const stream = connection.openStream(this, spec === null ? this.plainHead : this.rewrittenHead, false);
    if (stream === null) {
      this.end(MirrorDrop.UNHEALTHY, Outcome.IGNORED);
      return;
    }
    this.stream = stream;
    if (spec === null) {
      stream.sendData(body.buffer, 0, body.length, true);
    } else {
      stream.sendData(spec.prefix, 0, spec.prefixLength, false);
      stream.sendData(spec.tail, spec.tailStart, spec.tailEnd, true);
    }
    if (this.ownsBody) this.dropBody();
  }

  onUnavailable(reason: number): void {
    if (reason === Unavailable.PENDING_FULL) this.end(MirrorDrop.QUEUE_FULL, Outcome.IGNORED);
    else this.end(MirrorDrop.UNHEALTHY, Outcome.FAILURE);
  }

  onHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.done || !stream.headReceived) return;
    this.head ??= headers;
    if (endStream) this.finish(headers);
    else this.answerEncoding = headers.get('grpc-encoding') ?? '';
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (this.done) return;
    if (!this.pair.captured) {
      if (endStream) this.finish(null);
      return;
    }
    this.answer ??= acquireBody();
    const { heldBytes, config } = this.shadow;
    if (this.answer.length + end - start > MAX_ANSWER_BYTES || heldBytes + end - start > config.maxBytes) {
      this.end(MirrorDrop.BYTES_FULL, Outcome.IGNORED);
      return;
    }
    this.hold(end - start);
    this.answer.append(buffer, start, end);
    if (endStream) this.finish(null);
  }

  onSent(): void {}

  onReset(stream: Http2Stream): void {
    if (this.done) return;
    if (!stream.refused) this.end(MirrorDrop.RESET, Outcome.FAILURE);
    else if (stream.connection.established) this.end(MirrorDrop.RESET, Outcome.IGNORED);
    else this.end(MirrorDrop.UNHEALTHY, Outcome.FAILURE);
  }

  expire(): void {
    if (!this.done) this.end(MirrorDrop.DEADLINE, Outcome.FAILURE);
  }

  /** Frees what the call holds, once it has been compared or given up. */
  free(): void {
    if (this.answer !== null) releaseBody(this.answer);
    this.answer = null;
    this.hold(-this.held);
  }

  /** The whole answer is in. */
  private finish(last: HeaderList | null): void {
    const { cells, clock } = this.mirroring;
    const { breaker, config } = this.shadow.cluster;
    const nowMs = clock.nowMs();
    this.answered = true;
    this.status = answerStatus(this.head!, last, true);
    this.latencyMs = nowMs - this.startedMs;
    const reason = last === null ? '' : ResponseTraits.of(last).reason;
    const result = this.status === GrpcStatus.OK ? RequestOutcome.OK : judgeStatus(this.status, reason);
    if (this.shadow.judged) {
      cells[config.statsBase + ClusterSlot.REQUESTS + result]! += 1;
      breaker.record(this.verdict, this.epoch, breakerOutcome(result), nowMs);
    }
    leaveEndpoint(this.shadow.cluster, this, result, breakerOutcome(result), nowMs, 0);
    this.settle();
  }

  /** No answer worth comparing: counted as a drop of this shadow. */
  private end(reason: number, outcome: number): void {
    this.failed = reason === MirrorDrop.RESET || reason === MirrorDrop.DEADLINE;
    const { mirroring, stream } = this;
    mirroring.countDrop(this.shadow, reason);
    const { judged, cluster } = this.shadow;
    if (judged) cluster.breaker.record(this.verdict, this.epoch, outcome, mirroring.clock.nowMs());
    leaveEndpoint(cluster, this, RequestOutcome.UPSTREAM_RESET, outcome, mirroring.clock.nowMs(), 0);
    if (this.waitingIn !== null) this.waitingIn.forget(this);
    this.settle();
    if (stream !== null && !stream.closed) stream.reset(ErrorCode.CANCEL);
  }

  private settle(): void {
    this.done = true;
    this.mirroring.wheel.disarm(this.timer);
    if (this.ownsBody) this.dropBody();
    this.mirroring.callDone(this);
  }

  private dropBody(): void {
    if (this.body !== null) releaseBody(this.body);
    this.body = null;
    this.ownsBody = false;
  }

  private hold(bytes: number): void {
    this.held += bytes;
    this.shadow.heldBytes += bytes;
    this.mirroring.cells[this.shadow.config.statsBase + ShadowSlot.HELD_BYTES]! += bytes;
  }
}
