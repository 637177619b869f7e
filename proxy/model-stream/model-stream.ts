/**
 * ModelStreamInfer of a model with a policy: the caller's stream, whose every message is treated like a call of its own.
 * How that stream is read and ends is in `request-stream.ts`.
 *
 * The first message chooses model and version; one that names another is answered with an error and the stream goes on.
 * Each message passes admission and breaker, has its share of the deadline, and goes on the upstream stream (`StreamLeg`)
 * of the cluster that is to answer it. What has no answer when a leg ends, or a bad one, goes to the next fallback;
 * answers keep the order of their requests. Without a fallback a failure of a message is told in its answer
 * (`error_message`), a failure of the upstream ends the stream with its status.
 *
 * Rules: one request has one answer (decoupled models are not supported); a message is counted with a cluster exactly once
 * per attempt, in `settle`. Bounds: `MAX_MESSAGES` unanswered at the very most, the caller's window closed from `OPEN_MESSAGES`
 * on or while the model's `maxReplaySize` is kept; `MAX_HELD_BYTES` of answers that wait for an earlier one. Where messages
 * go is in `stream-dispatch.ts`, what comes back in `stream-replies.ts`.
 */
import { ProxyErrors } from '../../base/proxy-error.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { formatGrpcTimeout } from '../../proto/grpc/timeout.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream } from '../../proto/http2/stream.ts';
import { streamRequestId } from '../../proto/tensor/oip-stream-message.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import { Outcome, Verdict } from '../policy/circuit-breaker.ts';
import type { DataPlane } from '../request/data-plane.ts';
import { Attempt, type Exchange } from '../request/exchange.ts';
import { editedMessage } from '../request/request-edits.ts';
import { streamHead, withValue } from '../routing/request-traits.ts';
import { AnswerReason, ClusterSlot, RequestOutcome } from '../stats/slots.ts';
import { MAX_QUEUED_BYTES, RequestStream } from './request-stream.ts';
import { errorAnswer, framedCopy, StreamOutbox } from './stream-answers.ts';
import { streamDue } from './stream-deadlines.ts';
import { dispatch, hasNextStep, withholdMessage } from './stream-dispatch.ts';
import { cancelHedge, dropRival } from './stream-hedge.ts';
import { armMessageHedge } from './stream-hedging.ts';
import type { StreamLeg } from './stream-leg.ts';
import { StreamMessage, setDeadline, settle, settleSuspect } from './stream-message.ts';
import { releaseShown, selectShown, sendShown } from './stream-mirroring.ts';
import { StreamPin } from './stream-pin.ts';
import { legBroken, legEnded, legReset, legUnavailable, takeAnswer } from './stream-replies.ts';

/** Messages without an answer from which on the caller's window stays closed, and at which its stream ends. */
const OPEN_MESSAGES = 256;
const MAX_MESSAGES = 16_384;
/** Answers that wait for an earlier one, bytes in all. */
const MAX_HELD_BYTES = 16 * 1024 * 1024;
/** An upstream has this long to end its stream after the caller's has ended, milliseconds. */
const LINGER_MS = 5000;

const NO_BYTES = Buffer.alloc(0);

export class ModelStream extends RequestStream {
  readonly model: MeshModel;
  readonly cluster: MeshCluster;
  private readonly pin: StreamPin;
  readonly head: HeaderList;
  /** Head of the calls its messages are to shadows; null until one is shown. */
  shownHead: HeaderList | null = null;
  readonly messages: StreamMessage[];
  readonly outbox: StreamOutbox;
  /** By step: the primary's, then the fallbacks'. */
  readonly legs: (StreamLeg | null)[] = [];
  private keptBytes = 0;
  /** When its timer runs. */
  armedForMs = Number.POSITIVE_INFINITY;

  /** Takes over a stream whose first message names `model`; `exchange.body` is what has come of it. */
  constructor(plane: DataPlane, exchange: Exchange, model: MeshModel, cluster: MeshCluster, version: string) {
    super(plane, exchange, MAX_MESSAGES, plane.maxScanBytes, ProxyErrors.messageTooLarge);
    const traits = exchange.traits!;
    this.model = model;
    this.cluster = cluster;
    const wanted = version === '' ? cluster.config.version : version;
    this.pin = new StreamPin(model.config.name, wanted, traits.encoding);
    this.head = streamHead(traits.forward);
    this.outbox = new StreamOutbox(exchange, cluster);
    this.messages = this.outbox.messages;
    exchange.infers = true;
    // For the access log: who the stream was meant for.
    exchange.attempt = new Attempt(exchange, cluster, AnswerReason.PRIMARY, Verdict.ADMIT, 0, exchange.startedMs);
    exchange.attempt.settled = true;
    if (exchange.deadlineMs > 0) this.armBy(exchange.deadlineMs);
  }

  // ---- the caller ----------------------------------------------------------------------------------------------

  override onSent(): void {
    for (const leg of this.legs) leg?.credit();
    super.onSent();
  }

  onExpire(nowMs: number): void {
    if (this.ended) for (const leg of this.legs) leg?.end();
    else streamDue(this, nowMs);
  }

  protected override requestsOver(): void {
    this.legs[0]?.flush();
  }

  protected get takesRequests(): boolean {
    if (this.messages.length >= OPEN_MESSAGES || this.keptBytes > this.model.config.maxReplayBytes) return false;
    for (const leg of this.legs) if (leg?.stream != null && leg.stream.queuedBytes > MAX_QUEUED_BYTES) return false;
    return true;
  }

  protected take(): void {
    const { buffer, start, end, compressed } = this.reader;
    const bytes = framedCopy(buffer, start, end, compressed);
    const id = compressed ? '' : streamRequestId(buffer, start, end);
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
    setDeadline(message, this.model, this.cluster, deadlineMs, hasNextStep(this, message));
    withholdMessage(this, message);
    this.armBy(message.attempt.dueMs);
    armMessageHedge(this, message);
    const shown = this.model.shadows.length === 0 ? null : selectShown(this, message);
    dispatch(this, message);
    if (shown !== null) sendShown(this, message, shown);
  }

  // ---- to a cluster --------------------------------------------------------------------------------------------

  /** The head of a leg's request: the caller's, with the time that is left and what only this request has. */
  headFor(_leg: StreamLeg): HeaderList {
    const { deadlineMs, traits, extras } = this.exchange;
    let { head } = this;
    if (traits!.timeoutMs > 0)
      head = withValue(head, 'grpc-timeout', formatGrpcTimeout(deadlineMs - this.plane.clock.nowMs()));
    return extras === null ? head : extras.on(head);
  }

  /** Writes a message as the cluster of its leg is to see it. */
  write(stream: Http2Stream, message: StreamMessage, cluster: MeshCluster): void {
    const { plane, exchange } = this;
    const { bytes } = message;
    // A hedge is written while the message is with its primary, so its own reason says nothing.
    const reason = cluster === this.cluster ? AnswerReason.PRIMARY : AnswerReason.HEDGE;
    const edited = editedMessage(this.model, cluster, reason, bytes, exchange.traits!.encoding);
    if (edited !== null) stream.sendData(edited, 0, edited.length, false);
    else this.pin.write(stream, bytes, cluster, exchange.governed);
    const { fallbacks, config } = this.model;
    const isLarge = fallbacks.length > 0 && bytes.length - PREFIX_BYTES > config.maxReplayBytes;
    const isShort = plane.bodies.bytes > plane.mesh.snapshot.maxReplayBytesTotal;
    // With two attempts under way either may still have to be written.
    if (message.rival === null && bytes.length > 0 && (isLarge || isShort)) {
      plane.cells[cluster.config.statsBase + ClusterSlot.NOT_REPLAYABLE]! += 1;
      exchange.replayable = false;
      this.dropBytes(message);
    }
  }

  // ---- from a cluster ------------------------------------------------------------------------------------------

  onAnswer(leg: StreamLeg, buffer: Buffer, start: number, end: number, compressed: boolean): void {
    takeAnswer(this, leg, buffer, start, end, compressed);
  }

  onLegUnavailable(leg: StreamLeg, reason: number): void {
    legUnavailable(this, leg, reason);
  }

  onLegReset(leg: StreamLeg): void {
    legReset(this, leg);
  }

  onLegBroken(leg: StreamLeg): void {
    legBroken(this, leg);
  }

  onLegEnd(leg: StreamLeg, last: HeaderList | null): void {
    legEnded(this, leg, last);
  }

  dropLeg(leg: StreamLeg): void {
    leg.end();
    if (this.legs[leg.step] === leg) this.legs[leg.step] = null;
  }

  // ---- answers -------------------------------------------------------------------------------------------------

  /** Whether upstreams may send more: the caller takes what it is sent. */
  get takesAnswers(): boolean {
    return this.down.queuedBytes <= MAX_QUEUED_BYTES;
  }

  /** A message has its answer; it goes out when its turn comes. */
  give(message: StreamMessage, answer: Buffer): void {
    if (this.ended) return;
    dropRival(this, message);
    this.dropBytes(message);
    releaseShown(this.plane, message);
    this.outbox.give(message, answer);
    if (this.outbox.heldBytes > MAX_HELD_BYTES) this.failWith(ProxyErrors.streamOverflow);
    else this.proceed();
  }

  // ---- accounts and ends ---------------------------------------------------------------------------------------

  armBy(dueMs: number): void {
    if (dueMs === 0 || dueMs >= this.armedForMs) return;
    this.armedForMs = dueMs;
    this.plane.wheel.arm(this, dueMs);
  }

  dropBytes(message: StreamMessage): void {
    const { length } = message.bytes;
    this.keptBytes -= length;
    this.plane.bodies.holdCopy(-length);
    message.bytes = NO_BYTES;
  }

  finish(): void {
    this.outbox.end();
    const legs = this.legs.splice(0);
    this.end();
    // Upstreams end in their own time, within reason; they have nothing to say that anybody waits for.
    for (const leg of legs) leg?.leave();
    this.legs.push(...legs);
    this.plane.wheel.arm(this, this.plane.clock.nowMs() + LINGER_MS);
  }

  /** Ends the stream as the primary ended its. */
  failWithTrailers(trailers: HeaderList): void {
    if (this.ended) return;
    this.outbox.endWith(trailers);
    this.end();
  }

  protected letGo(): void {
    for (const message of this.messages) {
      settleSuspect(this.plane, message, false);
      settle(this.plane, message, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
      cancelHedge(this, message);
      this.dropBytes(message);
      releaseShown(this.plane, message);
    }
    this.messages.length = 0;
    for (const leg of this.legs) leg?.end();
  }
}
