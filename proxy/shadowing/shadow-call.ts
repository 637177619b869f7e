/**
 * One mirrored request on its way to one shadow, and the shadow's answer as it comes in.
 *
 * A call ends exactly once, in `settle`: with an answer, or given up at a bound, a deadline, a reset. It borrows the
 * request while it is sent and copies it only when no connection is free at once. A request that is still coming
 * (`StreamedCopy`) is passed on piece by piece: what the shadow has not taken counts as held.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import type { Http1Exchange, Http1Handler } from '../../proto/http1/exchange.ts';
import { Http2Connection } from '../../proto/http2/connection.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { StreamHandler } from '../../proto/http2/stream.ts';
import type { MeshShadow } from '../mesh.ts';
import { breakerOutcome, judgeStatus } from '../policy/answer-judgement.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { acquireBody, type BodyBuffer, releaseBody } from '../request/body-buffer.ts';
import type { WireStream } from '../request/exchange.ts';
import { leaveEndpoint } from '../request/request-accounts.ts';
import type { RequestTraits } from '../routing/request-traits.ts';
import { answerStatus, askedWaitMs, ResponseTraits } from '../routing/response-traits.ts';
import { ClusterSlot, MirrorDrop, RequestOutcome, ShadowSlot } from '../stats/slots.ts';
import { Unavailable, Waiter } from '../upstream/wait-queue.ts';
import { answerEncoding, jsonBytesOf } from './captured-answer.ts';
import type { MirroredPair, Shown } from './mirrored-pair.ts';
import type { Mirroring } from './mirroring.ts';
import type { Awaited } from './shadow-deadlines.ts';
import type { OutgoingCall } from './shadow-outbox.ts';

/** A shadow has this long to answer, milliseconds: a late answer compares as well as a quick one, but holds memory. */
export const SHADOW_TIMEOUT_MS = 10_000;
/** Largest answer kept for comparison, bytes. */
export const MAX_ANSWER_BYTES: number = 1024 * 1024;
/** Status of a half that has no answer. */
export const NO_ANSWER = -1;

/** A REST call names its model in the path. */
const NO_KIND = -1;

/** One request on its way to one shadow. */
export class ShadowCall extends Waiter implements StreamHandler, Http1Handler, Awaited, OutgoingCall {
  readonly pair: MirroredPair;
  readonly shadow: MeshShadow;
  /** Where the request keeps its model's name: `ScanKind`. */
  readonly requestKind: number;
  readonly http1: boolean;
  readonly encoding: string;
  /** The answer came whole, with `status`. */
  answered = false;
  /** It was given the request and answered nothing: reset, not in time, or without an end. */
  failed = false;
  done = false;
  status = NO_ANSWER;
  latencyMs = 0;
  answer: BodyBuffer | null = null;
  answerEncoding = '';
  answerJsonBytes = 0;
  private readonly mirroring: Mirroring;
  private readonly traits: RequestTraits;
  private readonly verdict: number;
  private readonly epoch: number;
  /** When it had the whole request, as far as it is known. */
  private startedMs: number;
  older: Awaited | null = null;
  newer: Awaited | null = null;
  dueMs = 0;
  private stream: WireStream | null = null;
  private connection: Http2Connection | Http1ClientConnection | null = null;
  private head: HeaderList | null = null;
  /** The request, borrowed while `start` runs, then a copy if no connection was free at once. */
  private body: BodyBuffer | null = null;
  private ownsBody = false;
  private held = 0;
  /** Bytes of the answer so far, kept or not. */
  private answerBytes = 0;
  /** More of the request is to come. */
  private isComing: boolean;
  /** It has been copied as it came: what is held of it is what its stream has queued. */
  private readonly streamed: boolean;

  constructor(
    mirroring: Mirroring,
    shown: Shown,
    pair: MirroredPair,
    shadow: MeshShadow,
    verdict: number,
    nowMs: number,
    isComing: boolean,
  ) {
    super();
    const traits = shown.traits!;
    this.mirroring = mirroring;
    this.pair = pair;
    this.shadow = shadow;
    this.verdict = verdict;
    this.epoch = shadow.cluster.breaker.epoch;
    this.startedMs = nowMs;
    this.requestKind = traits.call === null ? NO_KIND : traits.call.requestKind;
    this.http1 = shown.http1;
    this.isComing = isComing;
    this.streamed = isComing;
    this.encoding = traits.encoding;
    this.traits = traits;
  }

  start(body: BodyBuffer): void {
    this.hold(body.length);
    this.body = body;
    this.mirroring.deadlines.watch(this, this.startedMs);
    this.shadow.cluster.request(this, this.http1);
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

  /** More of a request that is copied as it comes, `ended` when it is all. Nothing of it is kept beyond the bound. */
  more(buffer: Buffer, start: number, end: number, ended: boolean): void {
    if (this.done || !this.isComing) return;
    const { stream, shadow, mirroring } = this;
    if (mirroring.isShort) {
      this.cut(MirrorDrop.PRESSURE);
      return;
    }
    if (shadow.heldBytes + end - start > shadow.config.maxBytes) {
      this.cut(MirrorDrop.BYTES_FULL);
      return;
    }
    this.startedMs = mirroring.clock.nowMs();
    mirroring.deadlines.watch(this, this.startedMs);
    this.isComing = !ended;
    if (stream === null) {
      this.hold(end - start);
      this.body!.append(buffer, start, end);
      return;
    }
    const left = stream.sendData(buffer, start, end, ended);
    if (!this.done) this.hold(end - start - left);
  }

  /** It has been written whole: it leaves when `onLeft` says so. */
  get isWritten(): boolean {
    return this.stream !== null && !this.done;
  }

  onLeft(nowMs: number): void {
    if (!this.done) this.startedMs = nowMs;
  }

  /** Gives the call up, if it is not over. */
  cut(reason: number): void {
    if (!this.done) this.end(reason, Outcome.IGNORED);
  }

  onConnection(connection: Http2Connection | Http1ClientConnection): void {
    if (this.done) return;
    const body = this.body!;
    const { isComing } = this;
    const spec = this.requestKind === NO_KIND ? null : this.mirroring.prepare(this, body, isComing);
    if (isComing && this.requestKind !== NO_KIND && spec === null && !this.mirroring.isNamed) {
      this.end(MirrorDrop.TOO_LARGE, Outcome.IGNORED);
      return;
    }
    const head = this.headFor(spec !== null);
    const stream =
      connection instanceof Http2Connection
        ? connection.openStream(this, head, false)
        : connection.open(this, head, false);
    if (stream === null) {
      this.end(MirrorDrop.UNHEALTHY, Outcome.IGNORED);
      return;
    }
    this.stream = stream;
    this.connection = connection;
    if (spec === null) {
      stream.sendData(body.buffer, 0, body.length, !isComing);
    } else {
      spec.send(stream, !isComing);
    }
    if (this.streamed && !this.done) this.hold(stream.queuedBytes - this.held);
    if (this.ownsBody) this.dropBody();
  }

  onUnavailable(reason: number): void {
    if (reason === Unavailable.PENDING_FULL) this.end(MirrorDrop.QUEUE_FULL, Outcome.IGNORED);
    else this.end(MirrorDrop.UNHEALTHY, Outcome.FAILURE);
  }

  onHeaders(stream: WireStream, headers: HeaderList, endStream: boolean): void {
    if (this.done || !stream.headReceived) return;
    this.head ??= headers;
    if (endStream) {
      this.finish(headers);
      return;
    }
    this.answerEncoding = answerEncoding(headers);
    this.answerJsonBytes = jsonBytesOf(headers);
  }

  onHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    this.onHeaders(exchange, head, end);
  }

  onTrailers(): void {
    if (!this.done) this.finish(null);
  }

  onData(stream: WireStream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (this.done) return;
    this.answerBytes += end - start;
    if (this.answerBytes > MAX_ANSWER_BYTES) {
      // Read to no end it would take the thread's time from the primary: such a shadow fails, and is spared by its breaker.
      this.end(MirrorDrop.BYTES_FULL, Outcome.FAILURE);
      return;
    }
    if (!this.pair.captured) {
      if (endStream) this.finish(null);
      return;
    }
    this.answer ??= acquireBody();
    const { heldBytes, config } = this.shadow;
    if (heldBytes + end - start > config.maxBytes) {
      this.end(MirrorDrop.BYTES_FULL, Outcome.IGNORED);
      return;
    }
    this.hold(end - start);
    this.answer.append(buffer, start, end);
    if (endStream) this.finish(null);
  }

  onSent(_stream: WireStream, bytes: number): void {
    if (this.streamed && !this.done) this.hold(-bytes);
  }

  onReset(stream: WireStream): void {
    if (this.done) return;
    if (!stream.refused) this.end(MirrorDrop.RESET, Outcome.FAILURE);
    else if (this.connection!.established) this.end(MirrorDrop.RESET, Outcome.IGNORED);
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

  private headFor(rewritten: boolean): HeaderList {
    const { traits, shadow } = this;
    if (this.requestKind !== NO_KIND) return rewritten ? traits.shadowRewritten : traits.shadow;
    const { id, config } = shadow.cluster;
    return traits.shadowRestHead(id, config.model, config.version);
  }

  /** The whole answer is in. */
  private finish(last: HeaderList | null): void {
    const { cells, clock } = this.mirroring;
    const { breaker, config } = this.shadow.cluster;
    const nowMs = clock.nowMs();
    this.answered = true;
    this.status = answerStatus(this.head!, last, this.traits.grpc, this.requestKind === NO_KIND);
    this.latencyMs = nowMs - this.startedMs;
    const reason = ResponseTraits.of(last ?? this.head!).reason;
    const result = this.status === GrpcStatus.OK ? RequestOutcome.OK : judgeStatus(this.status, reason);
    const outcome = breakerOutcome(result);
    const waitMs = result === RequestOutcome.OK ? 0 : askedWaitMs(this.head!, last);
    if (this.shadow.judged) {
      if (outcome === Outcome.FAILURE) breaker.pushBack(waitMs, nowMs);
      cells[config.statsBase + ClusterSlot.REQUESTS + result]! += 1;
      breaker.record(this.verdict, this.epoch, outcome, nowMs);
    }
    leaveEndpoint(this.shadow.cluster, this, result, outcome, nowMs, waitMs);
    const { stream, isComing } = this;
    this.settle();
    // It answered before it had heard all: nothing more is said to it.
    if (isComing && !stream!.closed) stream!.reset(ErrorCode.NO_ERROR);
  }

  /** No answer worth comparing: counted as a drop of this shadow. */
  private end(reason: number, outcome: number): void {
    const isEndless = this.answerBytes > MAX_ANSWER_BYTES;
    this.failed = reason === MirrorDrop.RESET || reason === MirrorDrop.DEADLINE || isEndless;
    const { mirroring, stream } = this;
    mirroring.countDrop(this.shadow, reason);
    mirroring.cells[this.shadow.config.statsBase + ShadowSlot.CUT]! += 1;
    const { judged, cluster } = this.shadow;
    if (judged) cluster.breaker.record(this.verdict, this.epoch, outcome, mirroring.clock.nowMs());
    leaveEndpoint(cluster, this, RequestOutcome.UPSTREAM_RESET, outcome, mirroring.clock.nowMs(), 0);
    if (this.waitingIn !== null) this.waitingIn.forget(this);
    this.settle();
    if (stream !== null && !stream.closed) stream.reset(ErrorCode.CANCEL);
  }

  private settle(): void {
    this.done = true;
    this.mirroring.deadlines.forget(this);
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
