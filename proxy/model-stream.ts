/**
 * ModelStreamInfer of a model with a policy: the caller's stream, whose every message is treated like a call of its own.
 *
 * The first message chooses model and version; one that names another is answered with an error and the stream goes on.
 * Each message passes admission and breaker, has its share of the deadline, and goes on the upstream stream (`StreamLeg`)
 * of the cluster that is to answer it. What has no answer when a leg ends, or a bad one, goes to the next fallback;
 * answers keep the order of their requests. Without a fallback a failure of a message is told in its answer
 * (`error_message`), a failure of the upstream ends the stream with its status.
 *
 * Rules: one request has one answer (decoupled models are not supported); a message is counted with a cluster exactly once
 * per try, in `settle`; the stream ends exactly once, in `end`. Bounds: `MAX_MESSAGES` unanswered at the very most, the
 * caller's window closed from `OPEN_MESSAGES` on or while the model's `maxReplaySize` is kept; `MAX_HELD_BYTES` of answers
 * that wait for an earlier one.
 */
import { GrpcStatus } from '../base/grpc-status.ts';
import { type ProxyError, ProxyErrors } from '../base/proxy-error.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import { MessageReader, PREFIX_BYTES, writeMessagePrefix } from '../proto/grpc/message-framing.ts';
import { formatGrpcTimeout } from '../proto/grpc/timeout.ts';
import type { HeaderList } from '../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../proto/http2/stream.ts';
import {
  REASON_PARAMETER,
  StreamAnswerView,
  streamRequestId,
  withAnswerParameters,
} from '../proto/tensor/oip-stream-message.ts';
import { WireError } from '../proto/tensor/wire-error.ts';
import { ACCESS_FLAG_CANCELLED, ACCESS_FLAG_FALLBACK } from './access-log.ts';
import { REASON_CODES } from './answer-reasons.ts';
import { isBadStreamAnswer } from './bad-answer.ts';
import type { DataPlane } from './data-plane.ts';
import { Attempt, type Exchange } from './exchange.ts';
import type { MeshCluster, MeshModel } from './mesh.ts';
import { servedFrom } from './outlier-guard.ts';
import { breakerOutcome, judgeStatus } from './policy/answer-judgement.ts';
import { Outcome, Verdict } from './policy/circuit-breaker.ts';
import { beginRequest } from './request-accounts.ts';
import { streamHead, withValue } from './routing/request-traits.ts';
import { answerStatus, ResponseTraits } from './routing/response-traits.ts';
import { recordLatency } from './stats/histogram.ts';
import { AnswerReason, ClusterRefusal, ClusterSlot, RequestEnd, RequestOutcome } from './stats/slots.ts';
import { errorAnswer, framedCopy, NO_TRAILERS, StreamOutbox } from './stream-answers.ts';
import { StreamLeg } from './stream-leg.ts';
import {
  StreamMessage,
  setDeadline,
  setStepDeadline,
  settle,
  settleSuspect,
  suspectPrimary,
} from './stream-message.ts';
import { StreamPin } from './stream-pin.ts';
import { Served } from './upstream/balancer.ts';
import { Unavailable } from './upstream/wait-queue.ts';

/** Messages without an answer from which on the caller's window stays closed, and at which its stream ends. */
const OPEN_MESSAGES = 256;
const MAX_MESSAGES = 16_384;
/** Answers that wait for an earlier one, bytes in all. */
const MAX_HELD_BYTES = 16 * 1024 * 1024;
/** Answer bytes waiting for the caller above which upstreams are not read. */
const MAX_QUEUED_BYTES = 1024 * 1024;
/** An upstream has this long to end its stream after the caller's has ended, milliseconds. */
const LINGER_MS = 5000;

/** A worker's reason for RESOURCE_EXHAUSTED. */
const OUT_OF_MEMORY = 'device_out_of_memory';

const NO_BYTES = Buffer.alloc(0);
const SERVED_BY: readonly string[] = ['x-understudy-served-by', 'x-understudy-model-version', REASON_PARAMETER];

const view = new StreamAnswerView();

export class ModelStream extends WheelTimer implements StreamHandler {
  /** The caller has sent its last message. */
  requestsEnded = false;
  private readonly plane: DataPlane;
  private readonly exchange: Exchange;
  private readonly down: Http2Stream;
  private readonly model: MeshModel;
  private readonly cluster: MeshCluster;
  private readonly pin: StreamPin;
  private readonly head: HeaderList;
  private readonly reader: MessageReader;
  /** Messages without an answer that has gone out, in their order. */
  private readonly messages: StreamMessage[];
  private readonly outbox: StreamOutbox;
  /** By step: the primary's, then the fallbacks'. */
  private readonly legs: (StreamLeg | null)[] = [];
  private keptBytes = 0;
  private unconsumed = 0;
  private armedForMs = Number.POSITIVE_INFINITY;
  private ended = false;

  /** Takes over a stream whose first message names `model`; `exchange.body` is what has come of it. */
  constructor(plane: DataPlane, exchange: Exchange, model: MeshModel, cluster: MeshCluster, version: string) {
    super();
    const traits = exchange.traits!;
    this.plane = plane;
    this.exchange = exchange;
    this.down = exchange.down as Http2Stream;
    this.model = model;
    this.cluster = cluster;
    const wanted = version === '' ? cluster.config.version : version;
    this.pin = new StreamPin(model.config.name, wanted, traits.encoding);
    this.head = streamHead(traits.forward);
    this.reader = new MessageReader(plane.maxScanBytes);
    this.outbox = new StreamOutbox(exchange, cluster);
    this.messages = this.outbox.messages;
    exchange.infers = true;
    // For the access log: who the stream was meant for.
    exchange.attempt = new Attempt(exchange, cluster, AnswerReason.PRIMARY, Verdict.ADMIT, 0, exchange.startedMs);
    exchange.attempt.settled = true;
    if (exchange.deadlineMs > 0) this.armBy(exchange.deadlineMs);
  }

  /** Begins with what had come before the model was known. */
  start(body: Buffer, length: number): void {
    this.unconsumed = this.down.outstanding;
    this.read(body, 0, length);
    if (this.exchange.bodyEnded) this.endRequests();
    this.credit();
  }

  // ---- the caller ----------------------------------------------------------------------------------------------

  onHeaders(_stream: Http2Stream, _headers: HeaderList, endStream: boolean): void {
    if (endStream) this.endRequests();
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.ended) {
      stream.consume(end - start);
      return;
    }
    this.exchange.bodyBytes += end - start;
    this.unconsumed += end - start;
    this.read(buffer, start, end);
    if (endStream) this.endRequests();
    this.credit();
  }

  onSent(): void {
    for (const leg of this.legs) leg?.credit();
    this.credit();
  }

  onReset(): void {
    if (this.ended) return;
    this.exchange.flag = ACCESS_FLAG_CANCELLED;
    this.exchange.end = RequestEnd.CANCELLED;
    this.end();
  }

  /** Deadlines: of messages with their cluster, then of the stream. */
  onExpire(nowMs: number): void {
    if (this.ended) {
      for (const leg of this.legs) leg?.end();
      return;
    }
    this.armedForMs = Number.POSITIVE_INFINITY;
    const { deadlineMs } = this.exchange;
    if (deadlineMs > 0 && nowMs >= deadlineMs) {
      const waits = this.messages.length > 0;
      for (const message of this.messages) settle(this.plane, message, RequestOutcome.DEADLINE, Outcome.FAILURE, -1);
      this.failWith(waits ? ProxyErrors.deadlineUpstream : ProxyErrors.deadlineCaller);
      return;
    }
    for (const message of [...this.messages]) {
      if (message.stepDueMs === 0 || message.answer !== null || this.ended) continue;
      if (nowMs < message.stepDueMs) {
        this.armBy(message.stepDueMs);
        continue;
      }
      const { leg } = message;
      settle(this.plane, message, RequestOutcome.DEADLINE, Outcome.FAILURE, -1);
      leg?.abandon(message);
      if (leg?.isIdle) this.dropLeg(leg);
      const late = message.dueMs > 0 && nowMs >= message.dueMs;
      if (late) this.answerError(message, message.failure ?? ProxyErrors.deadlineUpstream);
      else this.moveOn(message, AnswerReason.DEADLINE_BUDGET, ProxyErrors.deadlineBudget);
    }
    if (deadlineMs > 0 && !this.ended) this.armBy(deadlineMs);
  }

  private read(buffer: Buffer, start: number, end: number): void {
    const { reader } = this;
    try {
      reader.feed(buffer, start, end);
      while (!this.ended && reader.next()) this.take();
    } catch (error) {
      // Framing is lost: nothing that follows can be read.
      if (!(error instanceof WireError)) throw error;
      this.failWith(error.reason === 'too_large' ? ProxyErrors.messageTooLarge : ProxyErrors.badRequest);
    }
  }

  private endRequests(): void {
    if (this.ended || this.requestsEnded) return;
    this.requestsEnded = true;
    this.exchange.bodyEnded = true;
    if (!this.reader.atBoundary) {
      this.failWith(ProxyErrors.badRequest);
      return;
    }
    this.legs[0]?.flush();
    if (this.messages.length === 0) this.finish();
  }

  /** One message of the caller's is complete. */
  private take(): void {
    const { buffer, start, end } = this.reader;
    if (this.messages.length >= MAX_MESSAGES) {
      this.failWith(ProxyErrors.streamOverflow);
      return;
    }
    const bytes = Buffer.allocUnsafe(end - start + PREFIX_BYTES);
    writeMessagePrefix(bytes, 0, end - start, this.reader.compressed);
    buffer.copy(bytes, PREFIX_BYTES, start, end);
    const id = this.reader.compressed ? '' : streamRequestId(buffer, start, end);
    const message = new StreamMessage(bytes, id, this.plane.clock.nowMs());
    this.messages.push(message);
    this.keptBytes += bytes.length;
    this.plane.bodies.holdCopy(bytes.length);
    const problem = this.pin.problemOf(bytes);
    if (problem !== '') {
      this.give(message, errorAnswer(ProxyErrors.badRequest, problem, id));
      return;
    }
    const { deadlineMs } = this.exchange;
    setDeadline(message, this.model, this.cluster, deadlineMs, this.hasNext(message));
    this.withholdIfDegraded(message);
    this.armBy(message.stepDueMs);
    this.dispatch(message);
  }

  /** While the model is degraded a share of the messages begins with the fallback, and some are shown to the primary. */
  private withholdIfDegraded(message: StreamMessage): void {
    const { plane, model, cluster, exchange } = this;
    const { gate } = model;
    if (gate === null || !exchange.governed || !model.split.includes(cluster)) return;
    message.gate = gate;
    if (gate.admits(plane.random)) return;
    const nowMs = plane.clock.nowMs();
    message.withheld = true;
    message.step = 1;
    message.reason = AnswerReason.DEGRADED;
    setStepDeadline(message, model, nowMs, this.hasNext(message));
    if (gate.takesProbe(nowMs)) plane.probing.sendMessage(exchange.head!, message.bytes, cluster, gate);
  }

  // ---- to a cluster --------------------------------------------------------------------------------------------

  /** Admission, breaker, leg: for this step, or the next that takes it. */
  private dispatch(message: StreamMessage): void {
    const { plane } = this;
    const cluster = message.step === 0 ? this.cluster : this.model.fallbacks[message.step - 1]!;
    const { statsBase } = cluster.config;
    const refusals = statsBase + ClusterSlot.REFUSALS;
    if (!cluster.load.tryEnter(cluster.config.maxConcurrentRequests)) {
      plane.cells[refusals + ClusterRefusal.CONCURRENCY]! += 1;
      this.moveOn(message, AnswerReason.OVERFLOW, ProxyErrors.admissionOverflow);
      return;
    }
    if (cluster.endpoints.length === 0) {
      cluster.load.leave();
      plane.cells[refusals + ClusterRefusal.NO_ENDPOINT]! += 1;
      this.moveOn(message, AnswerReason.CONNECT_FAILED, ProxyErrors.connectFailed);
      return;
    }
    const nowMs = plane.clock.nowMs();
    const verdict = cluster.breaker.tryAcquire(nowMs, message.stepDueMs);
    if (verdict === Verdict.REJECT) {
      cluster.load.leave();
      plane.cells[refusals + ClusterRefusal.BREAKER_OPEN]! += 1;
      this.moveOn(message, AnswerReason.BREAKER_OPEN, ProxyErrors.breakerOpen);
      return;
    }
    message.cluster = cluster;
    message.verdict = verdict;
    message.epoch = cluster.breaker.epoch;
    message.startedMs = nowMs;
    beginRequest(plane.cells, cluster);
    let leg = this.legs[message.step] ?? null;
    const isNew = leg === null || leg.ended || leg.stream?.localEnded === true || leg.stream?.endQueued === true;
    if (isNew) {
      leg = new StreamLeg(this, cluster, message.step, plane.maxScanBytes);
      this.legs[message.step] = leg;
    }
    message.leg = leg;
    leg!.send(message);
    if (isNew) cluster.request(leg!, false);
  }

  /** The head of a leg's request: the caller's, with the time that is left. */
  headFor(_leg: StreamLeg): HeaderList {
    const { deadlineMs } = this.exchange;
    if (this.exchange.traits!.timeoutMs === 0) return this.head;
    return withValue(this.head, 'grpc-timeout', formatGrpcTimeout(deadlineMs - this.plane.clock.nowMs()));
  }

  /** Writes a message as the cluster of its leg is to see it. */
  write(stream: Http2Stream, message: StreamMessage, cluster: MeshCluster): void {
    const { plane, exchange } = this;
    this.pin.write(stream, message.bytes, cluster, exchange.governed);
    if (plane.bodies.bytes > plane.mesh.snapshot.maxReplayBytesTotal) {
      plane.cells[cluster.config.statsBase + ClusterSlot.NOT_REPLAYABLE]! += 1;
      exchange.replayable = false;
      this.dropBytes(message);
    }
  }

  /** This step gave no answer: the next, or the failure itself. */
  private moveOn(message: StreamMessage, reason: number, error: ProxyError): void {
    if (message.failure === null && message.failedAnswer === null && message.failedTrailers === null) {
      message.failure = error;
    }
    if (error.fallback && this.hasNext(message)) {
      message.step++;
      if (message.reason === AnswerReason.PRIMARY) message.reason = reason;
      setStepDeadline(message, this.model, this.plane.clock.nowMs(), this.hasNext(message));
      this.armBy(message.stepDueMs);
      this.dispatch(message);
      return;
    }
    if (error.fallback && message.withheld && !message.isLast && message.bytes.length > 0) {
      this.askPrimaryAfterAll(message);
      return;
    }
    this.giveUp(message);
  }

  /** Nobody answers for a degraded primary: what it says itself goes to the caller. */
  private askPrimaryAfterAll(message: StreamMessage): void {
    message.isLast = true;
    message.step = 0;
    message.reason = AnswerReason.PRIMARY;
    message.failure = null;
    message.failedAnswer = null;
    message.failedTrailers = null;
    message.stepDueMs = message.dueMs;
    this.armBy(message.stepDueMs);
    this.dispatch(message);
  }

  private hasNext(message: StreamMessage): boolean {
    return (
      this.exchange.governed &&
      !message.isLast &&
      message.bytes.length > 0 &&
      message.step < this.model.fallbacks.length
    );
  }

  /** Nobody answered: the primary's failure, in the way it failed. */
  private giveUp(message: StreamMessage): void {
    settleSuspect(this.plane, message, false);
    if (message.failedAnswer !== null) this.give(message, message.failedAnswer);
    else if (message.failedTrailers !== null) this.failWithTrailers(message.failedTrailers);
    else if (message.failure === ProxyErrors.connectFailed || message.failure === ProxyErrors.upstreamReset)
      this.failWith(message.failure!);
    else this.answerError(message, message.failure!);
  }

  private answerError(message: StreamMessage, error: ProxyError): void {
    settleSuspect(this.plane, message, false);
    this.give(message, errorAnswer(error, error.message, message.id));
  }

  // ---- from a cluster ------------------------------------------------------------------------------------------

  /** One answer of a leg, without its prefix; valid only during the call. */
  onAnswer(leg: StreamLeg, buffer: Buffer, start: number, end: number, compressed: boolean): void {
    let readable = !compressed;
    try {
      if (readable) view.read(buffer, start, end);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      readable = false;
    }
    const message = leg.take(readable ? view.id : '');
    if (message === null) {
      if (leg.isIdle && leg.step > 0) this.dropLeg(leg);
      return;
    }
    // Nobody asked: an answer of a decoupled model, whose place in the order nobody knows.
    if (message === undefined) {
      if (leg.step === 0) this.outbox.relay(framedCopy(buffer, start, end, compressed));
      return;
    }
    if (readable && view.errorMessage !== '') this.onErrorAnswer(message, buffer, start, end);
    else if (this.isBad(message, readable, compressed, buffer)) {
      settle(this.plane, message, RequestOutcome.BAD_OUTPUT, Outcome.FAILURE, GrpcStatus.OK);
      this.moveOn(message, AnswerReason.BAD_OUTPUT, ProxyErrors.badOutput);
    } else {
      const { cluster, startedMs } = message;
      settle(this.plane, message, RequestOutcome.OK, Outcome.SUCCESS, GrpcStatus.OK);
      const { statsBase } = cluster!.config;
      recordLatency(this.plane.cells, statsBase + ClusterSlot.LATENCY, this.plane.clock.nowMs() - startedMs);
      settleSuspect(this.plane, message, true);
      this.give(message, this.answerOf(message, cluster!, buffer, start, end, compressed));
    }
  }

  /** An answer that says the request failed: whose fault it was, if it does not say, a fallback's answer tells. */
  private onErrorAnswer(message: StreamMessage, buffer: Buffer, start: number, end: number): void {
    const { status, reason } = view;
    message.outOfMemory = reason === OUT_OF_MEMORY;
    const answer = framedCopy(buffer, start, end, false);
    const unknown = status < 0;
    const replaceable = unknown || (this.model.fallbackStatusBits & (1 << status)) !== 0;
    if (unknown && message.step === 0 && this.hasNext(message)) {
      suspectPrimary(message);
    } else {
      const result = unknown ? RequestOutcome.CALLER_ERROR : judgeStatus(status, reason);
      settle(this.plane, message, result, unknown ? Outcome.IGNORED : breakerOutcome(result), status);
    }
    if (message.step === 0) message.failedAnswer = answer;
    else if (message.failure === null && message.failedAnswer === null) message.failedAnswer = answer;
    if (replaceable) this.moveOn(message, AnswerReason.STATUS, ProxyErrors.upstreamStatus);
    else this.giveUp(message);
  }

  private isBad(message: StreamMessage, readable: boolean, compressed: boolean, buffer: Buffer): boolean {
    const { plane, model } = this;
    const start = readable ? view.responseStart : -1;
    return isBadStreamAnswer(plane.cells, model, message.cluster!, compressed, buffer, start, view.responseEnd);
  }

  /** The answer as the caller gets it: one that is not the primary's says so in its parameters. */
  private answerOf(
    message: StreamMessage,
    cluster: MeshCluster,
    buffer: Buffer,
    start: number,
    end: number,
    compressed: boolean,
  ): Buffer {
    const { reason } = message;
    this.plane.cells[cluster.config.statsBase + ClusterSlot.ANSWERS + reason]! += 1;
    if (!this.exchange.committed) this.outbox.sendHead(message.leg?.responseHead ?? null, cluster, reason);
    if (reason === AnswerReason.PRIMARY) return framedCopy(buffer, start, end, compressed);
    this.exchange.flag = ACCESS_FLAG_FALLBACK;
    if (compressed) return framedCopy(buffer, start, end, compressed);
    const values = [cluster.name, cluster.config.version, REASON_CODES[reason]!];
    return withAnswerParameters(buffer, start, end, view, SERVED_BY, values);
  }

  /** A leg could not be opened. */
  onLegUnavailable(leg: StreamLeg, reason: number): void {
    const full = reason === Unavailable.PENDING_FULL;
    if (reason === Unavailable.NO_ENDPOINT) {
      const { statsBase } = leg.cluster.config;
      this.plane.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.NO_ENDPOINT]! += 1;
      const error = ProxyErrors.noHealthyEndpoint;
      this.legFailed(leg, RequestOutcome.CONNECT_FAILED, Outcome.IGNORED, AnswerReason.CONNECT_FAILED, error);
      return;
    }
    if (full) this.plane.cells[leg.cluster.config.statsBase + ClusterSlot.REFUSALS + ClusterRefusal.PENDING]! += 1;
    const result = full ? RequestOutcome.OVERLOADED : RequestOutcome.CONNECT_FAILED;
    const outcome = full ? Outcome.IGNORED : Outcome.FAILURE;
    const error = full ? ProxyErrors.pendingOverflow : ProxyErrors.connectFailed;
    this.legFailed(leg, result, outcome, full ? AnswerReason.OVERFLOW : AnswerReason.CONNECT_FAILED, error);
  }

  onLegReset(leg: StreamLeg): void {
    this.legFailed(leg, RequestOutcome.UPSTREAM_RESET, Outcome.FAILURE, AnswerReason.RESET, ProxyErrors.upstreamReset);
  }

  /** It sent what is no gRPC, or an answer too large to keep. */
  onLegBroken(leg: StreamLeg): void {
    this.legFailed(leg, RequestOutcome.BAD_OUTPUT, Outcome.FAILURE, AnswerReason.BAD_OUTPUT, ProxyErrors.badOutput);
  }

  /** A leg has ended by itself, with its trailers, its only header section, or without a word. */
  onLegEnd(leg: StreamLeg, last: HeaderList | null): void {
    const status = answerStatus(leg.responseHead!, last, true);
    const waits = leg.takeAll();
    leg.cluster.quit(leg, status === GrpcStatus.OK ? Served.OK : Served.FAILED);
    this.dropLeg(leg);
    if (waits.length === 0) {
      // A server may end the conversation; one that only went away is asked again with the next message.
      if (leg.step === 0 && status === GrpcStatus.OK && this.messages.length === 0) this.finish();
      return;
    }
    if (status === GrpcStatus.OK) {
      for (const message of waits) {
        settle(this.plane, message, RequestOutcome.UPSTREAM_RESET, Outcome.FAILURE, status);
        if (!this.ended) this.moveOn(message, AnswerReason.RESET, ProxyErrors.upstreamReset);
      }
      return;
    }
    const trailers = last ?? NO_TRAILERS;
    const { reason } = ResponseTraits.of(trailers);
    const result = judgeStatus(status, reason);
    for (const message of waits) message.outOfMemory = reason === OUT_OF_MEMORY;
    const replaceable = status < 32 && (this.model.fallbackStatusBits & (1 << status)) !== 0;
    for (const message of waits) settle(this.plane, message, result, breakerOutcome(result), status);
    for (const message of waits) {
      if (this.ended) return;
      if (message.failure === null && message.failedAnswer === null) message.failedTrailers ??= trailers;
      if (replaceable) this.moveOn(message, AnswerReason.STATUS, ProxyErrors.upstreamStatus);
      else this.giveUp(message);
    }
  }

  private legFailed(leg: StreamLeg, result: number, outcome: number, reason: number, error: ProxyError): void {
    const waits = leg.takeAll();
    leg.cluster.quit(leg, servedFrom(outcome, result === RequestOutcome.OVERLOADED));
    this.dropLeg(leg);
    for (const message of waits) settle(this.plane, message, result, outcome, -1);
    for (const message of waits) if (!this.ended) this.moveOn(message, reason, error);
  }

  private dropLeg(leg: StreamLeg): void {
    leg.end();
    if (this.legs[leg.step] === leg) this.legs[leg.step] = null;
  }

  // ---- answers -------------------------------------------------------------------------------------------------

  /** Whether upstreams may send more: the caller takes what it is sent. */
  get takesAnswers(): boolean {
    return this.down.queuedBytes <= MAX_QUEUED_BYTES;
  }

  /** A message has its answer; it goes out when its turn comes. */
  private give(message: StreamMessage, answer: Buffer): void {
    if (this.ended) return;
    this.dropBytes(message);
    this.outbox.give(message, answer);
    if (this.outbox.heldBytes > MAX_HELD_BYTES) this.failWith(ProxyErrors.streamOverflow);
    else if (this.requestsEnded && this.messages.length === 0) this.finish();
    else this.credit();
  }

  // ---- accounts and ends ---------------------------------------------------------------------------------------

  private armBy(dueMs: number): void {
    if (dueMs === 0 || dueMs >= this.armedForMs) return;
    this.armedForMs = dueMs;
    this.plane.wheel.arm(this, dueMs);
  }

  /** Opens the caller's window again unless enough is under way. */
  credit(): void {
    if (this.ended || this.unconsumed === 0) return;
    if (this.messages.length >= OPEN_MESSAGES || this.keptBytes > this.model.config.maxReplayBytes) return;
    for (const leg of this.legs) if (leg?.stream != null && leg.stream.queuedBytes > MAX_QUEUED_BYTES) return;
    const { unconsumed } = this;
    this.unconsumed = 0;
    this.down.consume(unconsumed);
  }

  private dropBytes(message: StreamMessage): void {
    const { length } = message.bytes;
    this.keptBytes -= length;
    this.plane.bodies.holdCopy(-length);
    message.bytes = NO_BYTES;
  }

  /** Everything asked is answered. */
  private finish(): void {
    this.outbox.end();
    const legs = this.legs.splice(0);
    this.end();
    // Upstreams end in their own time, within reason; they have nothing to say that anybody waits for.
    for (const leg of legs) leg?.leave();
    this.legs.push(...legs);
    this.plane.wheel.arm(this, this.plane.clock.nowMs() + LINGER_MS);
  }

  private failWith(error: ProxyError): void {
    if (this.ended) return;
    this.close();
    this.plane.fail(this.exchange, error);
  }

  /** Ends the stream as the primary ended its. */
  private failWithTrailers(trailers: HeaderList): void {
    if (this.ended) return;
    this.outbox.endWith(trailers);
    this.end();
  }

  private end(): void {
    if (this.ended) return;
    this.close();
    this.plane.finish(this.exchange);
  }

  /** Lets go of everything but the caller. */
  private close(): void {
    this.ended = true;
    this.plane.wheel.disarm(this);
    for (const message of this.messages) {
      settleSuspect(this.plane, message, false);
      settle(this.plane, message, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
      this.dropBytes(message);
    }
    this.messages.length = 0;
    for (const leg of this.legs) leg?.end();
  }
}
