/**
 * The mirror of one data thread: shows complete requests to shadows and collects pairs of answers for comparison.
 *
 * The primary never waits for any of this: a shadow gets its copy after the primary has been sent, at its bounds it is
 * dropped and counted, and its answer goes nowhere but into a pair. A pair is complete when the primary's answer and the
 * shadow's are in; a pair that loses either half is counted and forgotten. Shadows never retry and never fall back.
 */
import type { Clock } from '../base/clock.ts';
import { GrpcStatus } from '../base/grpc-status.ts';
import { type TimerWheel, WheelTimer } from '../base/timer-wheel.ts';
import type { Http2Connection } from '../proto/http2/connection.ts';
import { ErrorCode } from '../proto/http2/frames.ts';
import type { HeaderList } from '../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../proto/http2/stream.ts';
import { acquireBody, type BodyBuffer, releaseBody } from './body-buffer.ts';
import type { Exchange } from './exchange.ts';
import type { MeshCluster, MeshModel, MeshShadow } from './mesh.ts';
import type { PairSender } from './mirror/pair-sender.ts';
import { breakerOutcome, judgeStatus } from './policy/answer-judgement.ts';
import { Outcome, Verdict } from './policy/circuit-breaker.ts';
import { hashHundredths } from './routing/murmur3.ts';
import { answerStatus, ResponseTraits } from './routing/response-traits.ts';
import { SpecReader, SpecVerdict } from './routing/spec-reader.ts';
import { ClusterSlot, ComparisonResult, MirrorDrop, RequestOutcome, ShadowSlot } from './stats/slots.ts';
import { Unavailable, Waiter } from './upstream/endpoint-pool.ts';

/** A shadow has this long to answer, milliseconds: a late answer compares as well as a quick one, but holds memory. */
const SHADOW_TIMEOUT_MS = 10_000;
/** Largest answer kept for comparison, bytes. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** Requests up to this size go to the analysis with the pair, whose slices of the inputs it searches. */
const MAX_REQUEST_BYTES = 64 * 1024;
const NO_ANSWER = -1;

/** One mirrored request: the primary's half, and the calls to its shadows. */
export class MirroredPair {
  readonly model: MeshModel;
  readonly selected: readonly MeshShadow[];
  readonly calls: ShadowCall[] = [];
  /** The answers are of a form that the analysis reads: Predict's. */
  comparable = false;
  /** Held by the exchange and by each call; freed when the last lets go. */
  holders = 1;
  cohort = '';
  request: BodyBuffer | null = null;
  primary: BodyBuffer | null = null;
  /** Name of the cluster that answered as the primary. */
  primaryCluster = '';
  primaryStatus = NO_ANSWER;
  primaryLatencyMs = 0;
  primarySettled = false;

  constructor(model: MeshModel, selected: readonly MeshShadow[]) {
    this.model = model;
    this.selected = selected;
  }
}

export interface MirroringOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly cells: Float64Array;
  readonly sender: PairSender;
  readonly random: () => number;
}

export class Mirroring {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly cells: Float64Array;
  private readonly sender: PairSender;
  private readonly random: () => number;
  private readonly spec = new SpecReader();

  constructor(options: MirroringOptions) {
    this.clock = options.clock;
    this.wheel = options.wheel;
    this.cells = options.cells;
    this.sender = options.sender;
    this.random = options.random;
  }

  /** Which shadows see this request; null when none does. The cluster that answers it is no shadow of itself. */
  select(exchange: Exchange, model: MeshModel, chosen: MeshCluster): MirroredPair | null {
    let all = true;
    for (const shadow of model.shadows) {
      if (shadow.config.percentHundredths < 10_000 || shadow.cluster === chosen) all = false;
    }
    if (all) return new MirroredPair(model, model.shadows);
    const point = this.samplePoint(exchange, model);
    const selected = model.shadows.filter((shadow) => {
      if (shadow.cluster === chosen) return false;
      if (point < shadow.config.percentHundredths) return true;
      this.countDrop(shadow, MirrorDrop.NOT_SAMPLED);
      return false;
    });
    return selected.length === 0 ? null : new MirroredPair(model, selected);
  }

  /** The request is complete: every selected shadow gets its copy, or is counted as dropped. */
  send(exchange: Exchange): void {
    const pair = exchange.mirrored!;
    const { body } = exchange;
    if (body === null) {
      this.drop(pair, MirrorDrop.TOO_LARGE);
      return;
    }
    const { cohort } = pair.model.config;
    pair.comparable = exchange.traits!.call!.method === 'Predict';
    if (cohort.source.kind === 'header') pair.cohort = exchange.head!.get(cohort.source.name) ?? '';
    if (cohort.source.kind === 'input' || body.length <= MAX_REQUEST_BYTES) {
      pair.request = acquireBody();
      pair.request.append(body.buffer, 0, body.length);
    }
    for (const shadow of pair.selected) this.sendTo(exchange, pair, shadow, body);
  }

  /** Counts a drop for every shadow the request was meant for. */
  drop(pair: MirroredPair, reason: number): void {
    for (const shadow of pair.selected) this.countDrop(shadow, reason);
  }

  /** The primary's half is known; `answer` is null when its bytes were not kept. */
  primaryDone(pair: MirroredPair, cluster: string, answer: BodyBuffer | null, status: number, latencyMs: number): void {
    if (pair.primarySettled) return;
    pair.primarySettled = true;
    pair.primaryCluster = cluster;
    pair.primaryStatus = status;
    pair.primaryLatencyMs = latencyMs;
    if (answer !== null && answer.length <= MAX_ANSWER_BYTES) {
      pair.primary = acquireBody();
      pair.primary.append(answer.buffer, 0, answer.length);
    }
    for (const call of pair.calls) if (call.done) this.complete(call);
  }

  /** The exchange is over. Shadows that are still answering go on; they hold the pair themselves. */
  release(pair: MirroredPair): void {
    if (!pair.primarySettled) this.primaryDone(pair, '', null, NO_ANSWER, 0);
    this.letGo(pair);
  }

  countDrop(shadow: MeshShadow, reason: number): void {
    this.cells[shadow.config.statsBase + ShadowSlot.DROPS + reason]! += 1;
  }

  /** A shadow's call has ended, with an answer or without. */
  callDone(call: ShadowCall): void {
    const { shadow } = call;
    shadow.inFlight--;
    this.cells[shadow.config.statsBase + ShadowSlot.IN_FLIGHT] = shadow.inFlight;
    if (call.pair.primarySettled) this.complete(call);
  }

  /** Plans the request for the shadow's model and version. */
  prepare(call: ShadowCall, body: BodyBuffer): SpecReader | null {
    const { requestKind, encoding } = call;
    const { config, target } = call.shadow.cluster;
    const verdict = this.spec.read(body.buffer, body.length, true, requestKind, encoding);
    if (verdict !== SpecVerdict.FOUND || !this.spec.rewrite(config.model, config.version, target)) return null;
    return this.spec;
  }

  private sendTo(exchange: Exchange, pair: MirroredPair, shadow: MeshShadow, body: BodyBuffer): void {
    const { config, cluster } = shadow;
    if (shadow.inFlight >= config.maxConcurrent) {
      this.countDrop(shadow, MirrorDrop.QUEUE_FULL);
      return;
    }
    if (shadow.heldBytes + body.length > config.maxBytes) {
      this.countDrop(shadow, MirrorDrop.BYTES_FULL);
      return;
    }
    const nowMs = this.clock.nowMs();
    const verdict = cluster.pools.length === 0 ? Verdict.REJECT : cluster.breaker.tryAcquire(nowMs);
    if (verdict === Verdict.REJECT) {
      this.countDrop(shadow, MirrorDrop.UNHEALTHY);
      return;
    }
    const call = new ShadowCall(this, exchange, pair, shadow, verdict, nowMs);
    pair.calls.push(call);
    pair.holders++;
    shadow.inFlight++;
    this.cells[config.statsBase + ShadowSlot.MIRRORED]! += 1;
    this.cells[config.statsBase + ShadowSlot.IN_FLIGHT] = shadow.inFlight;
    call.start(body);
  }

  private complete(call: ShadowCall): void {
    const { pair, shadow } = call;
    const { statsBase } = shadow.config;
    // A shadow that failed to answer counts against it; leaving it out would judge only the answers it managed.
    if ((call.answered || call.failed) && pair.primaryStatus !== NO_ANSWER) {
      const accepted =
        pair.comparable &&
        this.sender.send({
          model: pair.model.config.name,
          primary: pair.primaryCluster,
          shadow: shadow.cluster.name,
          cohort: pair.cohort,
          encoding: call.answerEncoding,
          primaryStatus: pair.primaryStatus,
          shadowStatus: call.status,
          primaryLatencyMs: pair.primaryLatencyMs,
          shadowLatencyMs: call.latencyMs,
          request: bytesOf(pair.request),
          primaryBody: bytesOf(pair.primary),
          shadowBody: call.answered ? bytesOf(call.answer) : NO_BYTES,
        });
      const result = accepted ? ComparisonResult.COMPARED : ComparisonResult.SKIPPED;
      this.cells[statsBase + ShadowSlot.COMPARISONS + result]! += 1;
    } else {
      this.cells[statsBase + ShadowSlot.COMPARISONS + ComparisonResult.FAILED]! += 1;
    }
    call.free();
    this.letGo(pair);
  }

  private letGo(pair: MirroredPair): void {
    if (--pair.holders > 0) return;
    if (pair.primary !== null) releaseBody(pair.primary);
    if (pair.request !== null) releaseBody(pair.request);
    pair.primary = null;
    pair.request = null;
  }

  /** One point for all shadows of a model, from what two processes both see: sticky key, request id, else chance. */
  private samplePoint(exchange: Exchange, model: MeshModel): number {
    const head = exchange.head!;
    const { stickyHeader, salt } = model.config;
    const key = (stickyHeader === '' ? undefined : head.get(stickyHeader)) ?? head.get('x-request-id');
    return key === undefined ? Math.floor(this.random() * 10_000) : hashHundredths(`${salt}/mirror`, key);
  }
}

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
  private readonly mirroring: Mirroring;
  private readonly heads: { readonly plain: HeaderList; readonly rewritten: HeaderList };
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
    this.heads = { plain: traits.shadow, rewritten: traits.shadowRewritten };
    this.timer = new ShadowTimer(this);
  }

  start(body: BodyBuffer): void {
    this.hold(body.length);
    this.body = body;
    this.mirroring.wheel.arm(this.timer, this.startedMs + SHADOW_TIMEOUT_MS);
    this.shadow.cluster.request(this);
    if (this.done || this.stream !== null) {
      this.body = null;
      return;
    }
    this.body = acquireBody();
    this.body.append(body.buffer, 0, body.length);
    this.ownsBody = true;
  }

  onConnection(connection: Http2Connection): void {
    if (this.done) return;
    const body = this.body!;
    const spec = this.mirroring.prepare(this, body);
    const stream = connection.openStream(this, spec === null ? this.heads.plain : this.heads.rewritten, false);
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
    cells[config.statsBase + ClusterSlot.REQUESTS + result]! += 1;
    breaker.record(this.verdict, this.epoch, breakerOutcome(result), nowMs);
    this.settle();
  }

  /** No answer worth comparing: counted as a drop of this shadow. */
  private end(reason: number, outcome: number): void {
    this.failed = reason === MirrorDrop.RESET || reason === MirrorDrop.DEADLINE;
    const { mirroring, stream } = this;
    mirroring.countDrop(this.shadow, reason);
    this.shadow.cluster.breaker.record(this.verdict, this.epoch, outcome, mirroring.clock.nowMs());
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
    this.mirroring.cells[this.shadow.config.statsBase + ShadowSlot.HELD_BYTES] = this.shadow.heldBytes;
  }
}

const NO_BYTES = new Uint8Array(0);

function bytesOf(body: BodyBuffer | null): Uint8Array {
  return body === null ? NO_BYTES : body.buffer.subarray(0, body.length);
}
