/**
 * The mirror of one data thread: shows complete requests to shadows and collects pairs of answers for comparison.
 *
 * The primary never waits for any of this: a shadow gets its copy after the primary has been sent, at its bounds it is
 * dropped and counted, and its answer goes nowhere but into a pair. A pair is complete when the primary's answer and the
 * shadow's are in; a pair that loses either half is counted and forgotten. Shadows never retry and never fall back.
 */
import type { Clock } from '../../base/clock.ts';
import type { TimerWheel } from '../../base/timer-wheel.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { MeshCluster, MeshModel, MeshShadow } from '../mesh.ts';
import type { PairSender } from '../mirror/pair-sender.ts';
import { Verdict } from '../policy/circuit-breaker.ts';
import { acquireBody, type BodyBuffer, releaseBody } from '../request/body-buffer.ts';
import { SpecReader, SpecVerdict } from '../routing/spec-reader.ts';
import { ComparisonResult, MirrorDrop, ShadowSlot } from '../stats/slots.ts';
import { answerEncoding, jsonBytesOf } from './captured-answer.ts';
import { pointOfHead, pointOfLarge, pointOfMessage, WHEN_COMPLETE } from './mirror-sampling.ts';
import { MirroredPair, type Shown, tellOf } from './mirrored-pair.ts';
import { MAX_ANSWER_BYTES, NO_ANSWER, SHADOW_TIMEOUT_MS, ShadowCall } from './shadow-call.ts';
import { ShadowDeadlines } from './shadow-deadlines.ts';
import { ShadowOutbox } from './shadow-outbox.ts';
import { StreamedCopy } from './streamed-copy.ts';

/** Requests up to this size go to the analysis with the pair, whose slices of the inputs it searches. */
const MAX_REQUEST_BYTES = 64 * 1024;

export interface MirroringOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly cells: Float64Array;
  readonly sender: PairSender;
  readonly random: () => number;
  readonly pressure: { readonly isShort: boolean };
}

export class Mirroring {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly cells: Float64Array;
  readonly deadlines: ShadowDeadlines;
  private readonly outbox: ShadowOutbox;
  private readonly sender: PairSender;
  private readonly random: () => number;
  private readonly pressure: { readonly isShort: boolean };
  private readonly spec = new SpecReader();
  /** The request that was prepared last names its model in what has come of it. */
  isNamed = true;
  /** What has read the request being sent already; null when nobody has. */
  private read: SpecReader | null = null;
  /** The pair of the requests that no answers are captured of, and that go to all shadows of their model. */
  private uncaptured: MirroredPair | null = null;

  constructor(options: MirroringOptions) {
    this.clock = options.clock;
    this.wheel = options.wheel;
    this.cells = options.cells;
    this.deadlines = new ShadowDeadlines(options.clock, options.wheel, SHADOW_TIMEOUT_MS);
    this.outbox = new ShadowOutbox(options.clock);
    this.sender = options.sender;
    this.random = options.random;
    this.pressure = options.pressure;
  }

  /**
   * Which shadows see this request; null when none does. The cluster that answers it is no shadow of itself. `nowMs` decides
   * whether a comparison is left of this second: the request's own time will do.
   */
  select(shown: Shown, model: MeshModel, chosen: MeshCluster, nowMs: number): MirroredPair | null {
    let all = true;
    for (const shadow of model.shadows) {
      if (shadow.config.percentHundredths < 10_000 || shadow.cluster === chosen) all = false;
    }
    if (all) return this.paired(model, model.shadows, nowMs);
    const others = model.shadows.filter((shadow) => shadow.cluster !== chosen);
    const point = pointOfHead(shown, model);
    if (point === WHEN_COMPLETE && others.some(isShare)) {
      const pair = new MirroredPair(model, others, true);
      pair.undecided = true;
      return pair;
    }
    const selected = point === WHEN_COMPLETE ? others : this.sample(others, point);
    return selected.length === 0 ? null : this.paired(model, selected, nowMs);
  }

  /** The shadows whose share the point falls into; the others are counted. */
  private sample(shadows: readonly MeshShadow[], point: number): readonly MeshShadow[] {
    return shadows.filter((shadow) => {
      if (point < shadow.config.percentHundredths) return true;
      this.countDrop(shadow, MirrorDrop.NOT_SAMPLED);
      return false;
    });
  }

  /** A pair for these shadows: captured while one of them has not had its comparisons of this second. */
  private paired(model: MeshModel, selected: readonly MeshShadow[], nowMs: number): MirroredPair {
    if (takeTurn(selected, nowMs)) return new MirroredPair(model, selected, true);
    const { uncaptured } = this;
    if (uncaptured !== null && uncaptured.model === model && uncaptured.selected === selected) return uncaptured;
    this.uncaptured = new MirroredPair(model, selected, false);
    return this.uncaptured;
  }

  /**
   * The request is complete: every selected shadow gets its copy, or is counted as dropped. `read` has read just this
   * request, all of it, or is null.
   */
  send(shown: Shown, read: SpecReader | null): void {
    const pair = shown.mirrored!;
    const { body } = shown;
    if (body === null) {
      this.drop(pair, MirrorDrop.TOO_LARGE);
      return;
    }
    if (pair.undecided) this.decide(pair, shown, pointOfMessage(shown, pair.model, body.buffer, body.length));
    if (pair.captured && pair.selected.length > 0) this.keepRequest(pair, shown, body);
    this.read = read;
    this.outbox.open();
    try {
      if (pair.captured) this.sendAgain(shown, pair, body);
      for (let i = 0; i < pair.selected.length; i++) {
        const call = this.sendTo(shown, pair, pair.selected[i]!, body);
        if (call?.isWritten) this.outbox.add(call);
      }
    } finally {
      // Whatever happens to a copy, nobody else's writes may wait.
      this.outbox.close();
      this.read = null;
    }
  }

  /**
   * The request is too large to be kept: its shadows are shown what has come of it, and what will come. Null where the
   * message decides who sees it and too little of it is known.
   */
  begin(shown: Shown): StreamedCopy | null {
    const pair = shown.mirrored!;
    const body = shown.body!;
    if (pair.undecided) {
      const point = pointOfLarge(shown, pair.model, body.buffer, body.length);
      if (point === WHEN_COMPLETE) return null;
      this.decide(pair, shown, point);
    }
    if (pair.captured && pair.selected.length > 0) tellOf(pair, shown);
    const calls: ShadowCall[] = [];
    for (let i = 0; i < pair.selected.length; i++) {
      const call = this.sendTo(shown, pair, pair.selected[i]!, body, !shown.bodyEnded);
      if (call !== null) calls.push(call);
    }
    return new StreamedCopy(calls);
  }

  get isShort(): boolean {
    return this.pressure.isShort;
  }

  private decide(pair: MirroredPair, shown: Shown, point: number): void {
    pair.selected = this.sample(pair.selected, point);
    shown.wasMirrored = pair.selected.length > 0;
    // An answer that was quicker than the request's end has been kept by now.
    if (!pair.primarySettled) pair.captured = takeTurn(pair.selected, this.clock.nowMs());
  }

  /** For the noise floor, the primary gets a share of the requests a second time. */
  private sendAgain(shown: Shown, pair: MirroredPair, body: BodyBuffer): void {
    const { noiseFloorHundredths } = pair.model.config.comparison;
    if (noiseFloorHundredths === 0 || this.random() * 10_000 >= noiseFloorHundredths) return;
    const cluster = shown.attempt?.cluster;
    const secondary = pair.model.secondaries.find((candidate) => candidate.cluster === cluster);
    if (secondary !== undefined) pair.secondary = this.sendTo(shown, pair, secondary, body);
  }

  private keepRequest(pair: MirroredPair, shown: Shown, body: BodyBuffer): void {
    const { cohort } = pair.model.config;
    tellOf(pair, shown);
    if (cohort.source.kind === 'input' || body.length <= MAX_REQUEST_BYTES) {
      pair.request = acquireBody();
      pair.request.append(body.buffer, 0, body.length);
    }
  }

  /** Counts a drop for every shadow the request was meant for. */
  drop(pair: MirroredPair, reason: number): void {
    for (const shadow of pair.selected) this.countDrop(shadow, reason);
  }

  /** The primary's half is known; `answer` is null when its bytes were not kept. */
  primaryDone(
    pair: MirroredPair,
    cluster: string,
    head: HeaderList | null,
    answer: BodyBuffer | null,
    status: number,
    latencyMs: number,
  ): void {
    if (pair.primarySettled || !pair.captured) return;
    if (head !== null) {
      pair.primaryEncoding = answerEncoding(head);
      pair.primaryJsonBytes = jsonBytesOf(head);
    }
    pair.primarySettled = true;
    pair.primaryCluster = cluster;
    pair.primaryStatus = status;
    pair.primaryLatencyMs = latencyMs;
    if (answer !== null && answer.length <= MAX_ANSWER_BYTES) {
      pair.primary = acquireBody();
      pair.primary.append(answer.buffer, 0, answer.length);
    }
    this.completeAll(pair);
  }

  /** Compares the calls that are done, if what they are held against is in. */
  private completeAll(pair: MirroredPair): void {
    if (!pair.primarySettled || (pair.secondary !== null && !pair.secondary.done)) return;
    for (const call of pair.calls) if (call.done) this.complete(call);
  }

  /** The request is over. Shadows that are still answering go on; they hold the pair themselves. */
  release(pair: MirroredPair): void {
    if (!pair.captured) return;
    if (!pair.primarySettled) this.primaryDone(pair, '', null, null, NO_ANSWER, 0);
    this.letGo(pair);
  }

  countDrop(shadow: MeshShadow, reason: number): void {
    this.cells[shadow.config.statsBase + ShadowSlot.DROPS + reason]! += 1;
  }

  /** A shadow's call has ended, with an answer or without. */
  callDone(call: ShadowCall): void {
    const { shadow, pair } = call;
    shadow.inFlight--;
    if (shadow.isSecondary) {
      this.completeAll(pair);
      this.letGo(pair);
    } else if (pair.primarySettled && (pair.secondary === null || pair.secondary.done)) {
      this.complete(call);
    } else if (!pair.captured) {
      this.count(shadow, ComparisonResult.NOT_SAMPLED, call);
    }
    // Last, because another thread may read at any moment: nothing in flight means that everything is accounted for.
    this.cells[shadow.config.statsBase + ShadowSlot.IN_FLIGHT]! -= 1;
  }

  private count(shadow: MeshShadow, result: number, call: ShadowCall): void {
    this.cells[shadow.config.statsBase + ShadowSlot.COMPARISONS + result]! += 1;
    call.free();
  }

  /** Plans the request for the shadow's model and version; null when it goes as it is. `isNamed` says what it found. */
  prepare(call: ShadowCall, body: BodyBuffer, isComing: boolean): SpecReader | null {
    const { requestKind, encoding } = call;
    const { config, target } = call.shadow.cluster;
    const spec = this.read ?? this.spec;
    this.isNamed = true;
    if (spec === this.spec) {
      const verdict = spec.read(body.buffer, body.length, !isComing, requestKind, encoding);
      this.isNamed = verdict === SpecVerdict.FOUND;
      if (!this.isNamed) return null;
    }
    return spec.rewrite(config.model, config.version, target) ? spec : null;
  }

  /** The call under way, or null, and a drop counted. */
  private sendTo(
    shown: Shown,
    pair: MirroredPair,
    shadow: MeshShadow,
    body: BodyBuffer,
    isComing = false,
  ): ShadowCall | null {
    const { config } = shadow;
    const nowMs = this.clock.nowMs();
    let reason = -1;
    if (this.pressure.isShort) reason = MirrorDrop.PRESSURE;
    else if (shadow.inFlight >= config.maxConcurrent) reason = MirrorDrop.QUEUE_FULL;
    else if (shadow.heldBytes + body.length > config.maxBytes) reason = MirrorDrop.BYTES_FULL;
    const verdict = reason < 0 ? admission(shadow, nowMs) : Verdict.REJECT;
    if (verdict === Verdict.REJECT) {
      this.countDrop(shadow, reason < 0 ? MirrorDrop.UNHEALTHY : reason);
      return null;
    }
    const call = new ShadowCall(this, shown, pair, shadow, verdict, nowMs, isComing);
    if (pair.captured) {
      if (!shadow.isSecondary) pair.calls.push(call);
      pair.holders++;
    }
    shadow.inFlight++;
    this.cells[config.statsBase + ShadowSlot.MIRRORED]! += 1;
    this.cells[config.statsBase + ShadowSlot.IN_FLIGHT]! += 1;
    call.start(body);
    return call;
  }

  private complete(call: ShadowCall): void {
    const { pair, shadow } = call;
    // A shadow that failed to answer counts against it; leaving it out would judge only the answers it managed.
    if ((call.answered || call.failed) && pair.primaryStatus !== NO_ANSWER) {
      const accepted = this.sender.send({
        model: pair.model.config.name,
        primary: pair.primaryCluster,
        shadow: shadow.cluster.name,
        cohort: pair.cohort,
        protocol: pair.protocol,
        method: pair.method,
        primaryEncoding: pair.primaryEncoding,
        encoding: call.answerEncoding,
        requestJsonBytes: pair.requestJsonBytes,
        primaryJsonBytes: pair.primaryJsonBytes,
        shadowJsonBytes: call.answerJsonBytes,
        primaryStatus: pair.primaryStatus,
        shadowStatus: call.status,
        primaryLatencyMs: pair.primaryLatencyMs,
        shadowLatencyMs: call.latencyMs,
        request: bytesOf(pair.request),
        primaryBody: bytesOf(pair.primary),
        shadowBody: call.answered ? bytesOf(call.answer) : NO_BYTES,
        secondaryStatus: pair.secondary === null ? NO_ANSWER : pair.secondary.status,
        secondaryBody: pair.secondary?.answered ? bytesOf(pair.secondary.answer) : NO_BYTES,
      });
      this.count(shadow, accepted ? ComparisonResult.COMPARED : ComparisonResult.SKIPPED, call);
    } else {
      this.count(shadow, ComparisonResult.FAILED, call);
    }
    this.letGo(pair);
  }

  private letGo(pair: MirroredPair): void {
    if (--pair.holders > 0) return;
    if (pair.primary !== null) releaseBody(pair.primary);
    if (pair.request !== null) releaseBody(pair.request);
    pair.secondary?.free();
    pair.primary = null;
    pair.request = null;
  }
}

function isShare(shadow: MeshShadow): boolean {
  return shadow.config.percentHundredths < 10_000;
}

/** Whether one of the shadows has comparisons left of this second; takes one of each that has. */
function takeTurn(selected: readonly MeshShadow[], nowMs: number): boolean {
  let captured = false;
  for (let i = 0; i < selected.length; i++) {
    const { pace, config } = selected[i]!;
    if (pace.take(nowMs, config.maxComparisonsPerSecond)) captured = true;
  }
  return captured;
}

/** The breaker's verdict. One that judges callers' requests too is only looked at: a shadow must not be its probe. */
function admission({ cluster, judged }: MeshShadow, nowMs: number): number {
  if (cluster.endpoints.length === 0) return Verdict.REJECT;
  if (judged) return cluster.breaker.tryAcquire(nowMs);
  const { enabled } = cluster.config.breaker;
  return enabled && cluster.breaker.state !== 'closed' ? Verdict.REJECT : Verdict.ADMIT;
}

const NO_BYTES = new Uint8Array(0);

function bytesOf(body: BodyBuffer | null): Uint8Array {
  return body === null ? NO_BYTES : body.buffer.subarray(0, body.length);
}
