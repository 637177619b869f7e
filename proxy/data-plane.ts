/**
 * The request path of one data thread, top to bottom:
 *
 *   accept stream ▸ head ▸ (model's name from the message) ▸ version ▸ admission ▸ breaker ▸ forward ▸ mirror
 *   ▸ answer ▸ fallback if it may and must ▸ respond ▸ record
 *
 * Nothing here waits: every step is an event of a stream, a pool or the timer wheel, and moves the exchange on. Rules:
 * an exchange ends exactly once, in `finish`; an attempt is settled exactly once, in `settle`, which alone tells the
 * breaker and the statistics; nothing is sent elsewhere after a byte of the answer was committed. The file is long because
 * the path is one state machine: what a step may do depends on all the others.
 */
import type { Clock } from '../base/clock.ts';
import { GrpcStatus, httpStatusFor } from '../base/grpc-status.ts';
import { type ProxyError, ProxyErrors } from '../base/proxy-error.ts';
import type { TimerWheel } from '../base/timer-wheel.ts';
import { formatGrpcTimeout } from '../proto/grpc/timeout.ts';
import type { Http1ClientConnection } from '../proto/http1/client-connection.ts';
import type { Http1Exchange, Http1Handler } from '../proto/http1/exchange.ts';
import { withoutHopByHop } from '../proto/http1/hop-by-hop.ts';
import { Http2Connection } from '../proto/http2/connection.ts';
import { ErrorCode } from '../proto/http2/frames.ts';
import { HeaderList } from '../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../proto/http2/stream.ts';
import { ACCESS_FLAG_CANCELLED, ACCESS_FLAG_FALLBACK, type AccessLog } from './access-log.ts';
import { withServedBy } from './answer-reasons.ts';
import { isBadAnswer } from './bad-answer.ts';
import { acquireBody, clearBody, releaseBody } from './body-buffer.ts';
import { type EndpointAddress, type GuardSubject, RetryOn, type UpgradePolicy } from './config/snapshot.ts';
import { Attempt, Exchange, Stage, type WireStream } from './exchange.ts';
import { KeptBodies } from './kept-bodies.ts';
import type { Mesh, MeshCluster, MeshModel } from './mesh.ts';
import type { Mirroring } from './mirroring.ts';
import { ModelStream } from './model-stream.ts';
import { breakerOutcome, judgeStatus } from './policy/answer-judgement.ts';
import { Outcome, Verdict } from './policy/circuit-breaker.ts';
import type { PrimaryProbing } from './primary-probe.ts';
import { beginRequest, countRouted, endRequest, leaveEndpoint } from './request-accounts.ts';
import { nameRequest, trustHead } from './request-extras.ts';
import type { RequestGuards } from './request-guards.ts';
import { chooseVersion, clusterOfCaller, clusterOfUnknownModel } from './request-routing.ts';
import { localReplySlot, respondError, stopBody } from './respond.ts';
import { attemptsAfterFirst, mayRetry } from './retrying.ts';
import { type HeadPolicy, withoutInternal } from './routing/head-policy.ts';
import { RequestTraits, withValue } from './routing/request-traits.ts';
import { answerStatus, ResponseTraits } from './routing/response-traits.ts';
import type { RestCall } from './routing/rest-path.ts';
import { SpecReader, SpecVerdict } from './routing/spec-reader.ts';
import { recordLatency } from './stats/histogram.ts';
import {
  AnswerReason,
  ClusterRefusal,
  ClusterSlot,
  MemoryVerdict,
  MirrorDrop,
  ProcessSlot,
  RequestEnd,
  RequestOutcome,
} from './stats/slots.ts';
import type { Tracer } from './tracing.ts';
import { DEFAULT_UPGRADES, type Tunnels, upgradeHead } from './tunnels.ts';
import type { Balanced } from './upstream/balancer.ts';
import { Unavailable } from './upstream/wait-queue.ts';

/** Where a downstream connection's caller meant to go, kept in `Http2Connection.context`. */
export interface DownstreamContext {
  /** Original destination of a redirected connection; null when the proxy was dialled. */
  readonly destination: EndpointAddress | null;
  /** Its name among the dynamic clusters. */
  readonly key: string;
}

export interface DataPlaneOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly mesh: Mesh;
  readonly mirroring: Mirroring;
  readonly probing: PrimaryProbing;
  readonly tunnels: Tunnels;
  readonly cells: Float64Array;
  /** Longest message kept in order to find its model's name, bytes. */
  readonly maxScanBytes: number;
  /** Most that is kept of all messages together whose model's name is still to be found, bytes. */
  readonly maxWaitingBytes: number;
  /** Uniform in 0..1, for splits without a sticky key. */
  readonly random: () => number;
  /** Null when there is none. */
  readonly accessLog: AccessLog | null;
  /** Null when nothing is traced. */
  readonly tracer: Tracer | null;
  readonly guards: RequestGuards;
}

/** Answers up to this size are kept back so that a failure at their end can still be replaced, bytes. */
const MAX_HELD_BYTES = 1024 * 1024;
/** Readers kept for messages that come in several pieces. */
const MAX_IDLE_READERS = 64;
/** Requests up to this size are kept until they are answered even if no policy may need them, to be sent again if refused. */
const RESENT_BYTES = 16_384;
/** Time spent here above which the upstream's timeout is shortened, milliseconds; below it the head goes on as it is. */
const WORTH_TELLING_MS = 1;
/** A request the upstream refused unprocessed is sent again this often. */
const MAX_REFUSALS = 2;

export class DataPlane {
  readonly mesh: Mesh;
  /** Exchanges in flight. */
  active = 0;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  private readonly mirroring: Mirroring;
  readonly probing: PrimaryProbing;
  private readonly tunnels: Tunnels;
  readonly cells: Float64Array;
  readonly maxScanBytes: number;
  readonly random: () => number;
  private readonly accessLog: AccessLog | null;
  private readonly tracer: Tracer | null;
  private readonly guards: RequestGuards;
  private spec = new SpecReader();
  private readonly idleReaders: SpecReader[] = [];
  /** The request that `spec` has read last. */
  private specOf: Exchange | null = null;
  readonly bodies: KeptBodies;

  constructor(options: DataPlaneOptions) {
    this.clock = options.clock;
    this.wheel = options.wheel;
    this.mesh = options.mesh;
    this.mirroring = options.mirroring;
    this.probing = options.probing;
    this.tunnels = options.tunnels;
    this.cells = options.cells;
    this.bodies = new KeptBodies(options.cells, options.maxWaitingBytes);
    this.maxScanBytes = options.maxScanBytes;
    this.random = options.random;
    this.accessLog = options.accessLog;
    this.tracer = options.tracer;
    this.guards = options.guards;
  }

  // ---- the request comes in ------------------------------------------------------------------------------------

  acceptStream(stream: Http2Stream, heads: HeadPolicy): StreamHandler {
    this.active++;
    this.cells[ProcessSlot.STREAMS] = this.active;
    this.cells[ProcessSlot.STREAMS_TOTAL]! += 1;
    return new Exchange(this, stream, false, heads, this.clock.nowMs());
  }

  /** The same for HTTP/1.1. */
  acceptExchange(exchange: Http1Exchange, heads: HeadPolicy): Http1Handler {
    this.active++;
    this.cells[ProcessSlot.STREAMS] = this.active;
    this.cells[ProcessSlot.STREAMS_TOTAL]! += 1;
    return new Exchange(this, exchange, true, heads, this.clock.nowMs());
  }

  onRequestHead(exchange: Exchange, read: HeaderList, endStream: boolean): void {
    const head = exchange.heads.prepare(read, exchange.down.connection.io);
    const traits = RequestTraits.of(head);
    exchange.head = head;
    exchange.traits = traits;
    exchange.bodyEnded = endStream;
    if (exchange.heads.makesRequestIds) nameRequest(exchange);
    if (this.tracer !== null) this.tracer.begin(exchange);
    if (traits.timeoutMs > 0) {
      exchange.deadlineMs = exchange.startedMs + traits.timeoutMs;
      exchange.dueMs = exchange.deadlineMs;
      this.wheel.arm(exchange, exchange.deadlineMs);
    }
    const { routes, snapshot } = this.mesh;
    this.guards.use(snapshot);
    if (this.isLimited('listener', exchange.heads.rules.side, exchange)) return;
    const route = routes === null ? -1 : routes.match(head, traits);
    const taken = route < 0 ? null : snapshot.routes[route]!;
    exchange.routeBase = taken === null ? snapshot.unroutedStatsBase : taken.statsBase;
    if (taken !== null) exchange.route = taken.name;
    if (traits.isConnect && (route < 0 || !snapshot.routes[route]!.connect)) {
      this.fail(exchange, ProxyErrors.methodNotAllowed);
      return;
    }
    if (route >= 0) {
      if (snapshot.routes[route]!.trustsInternal) trustHead(exchange, read);
      const { name, upgrade } = snapshot.routes[route]!;
      if (!this.isLimited('route', name, exchange))
        this.relay(exchange, this.mesh.routeClusters[route]!, upgrade, name);
      return;
    }
    if (traits.call === null) {
      if (traits.rest !== null) this.routeRest(exchange, traits.rest);
      else this.passThrough(exchange);
      return;
    }
    exchange.stage = Stage.AWAITING_SPEC;
    exchange.body = acquireBody();
    if (endStream) this.fail(exchange, ProxyErrors.missingModel);
  }

  onRequestData(exchange: Exchange, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    const { down, attempt } = exchange;
    if (exchange.stage === Stage.DONE) {
      down.consume(end - start);
      return;
    }
    exchange.bodyBytes += end - start;
    if (endStream) exchange.bodyEnded = true;
    if (exchange.stage === Stage.AWAITING_SPEC) {
      this.bodies.append(exchange, exchange.body!, buffer, start, end);
      this.readSpec(exchange);
      return;
    }
    // No attempt yet: it waits for an injected delay.
    const stream = attempt?.stream ?? null;
    const { reader } = exchange;
    if (reader !== null && (!reader.watch(buffer, start, end) || (endStream && reader.isCut))) {
      this.contradicted(exchange);
      return;
    }
    if (exchange.body !== null) this.keepBody(exchange, buffer, start, end, stream === null);
    if (stream !== null) down.consume(stream.sendData(buffer, start, end, endStream));
    if (endStream && attempt !== null) attempt.askedMs = this.clock.nowMs();
    if (endStream && exchange.mirrored !== null) this.mirroring.send(exchange, null);
    if (endStream && exchange.probes) this.probe(exchange);
  }

  onRequestTrailers(exchange: Exchange, trailers: HeaderList): void {
    exchange.bodyEnded = true;
    const stream = exchange.attempt?.stream ?? null;
    if (exchange.stage === Stage.AWAITING_SPEC) this.readSpec(exchange);
    else if (exchange.reader?.isCut) this.contradicted(exchange);
    else {
      if (stream !== null) stream.sendHeaders(withoutInternal(trailers), true);
      if (exchange.probes) this.probe(exchange);
      if (exchange.mirrored !== null) this.mirroring.send(exchange, null);
    }
  }

  // ---- where it goes -------------------------------------------------------------------------------------------

  /** Looks for the model's name in what has arrived of the message. */
  private readSpec(exchange: Exchange): void {
    const body = exchange.body!;
    const { encoding, call } = exchange.traits!;
    const kind = call!.requestKind;
    const own = exchange.reader;
    const spec = own ?? this.spec;
    if (own === null) this.specOf = exchange;
    const verdict =
      own === null
        ? spec.read(body.buffer, body.length, exchange.bodyEnded, kind, encoding)
        : own.readOn(body.buffer, body.length, exchange.bodyEnded, kind, encoding);
    switch (verdict) {
      case SpecVerdict.FOUND:
        if (spec.early && own === null) this.giveReader(exchange);
        this.route(exchange, spec);
        return;
      case SpecVerdict.NEED_MORE:
        if (own === null) this.giveReader(exchange);
        if (body.length > this.maxScanBytes) this.fail(exchange, ProxyErrors.requestTooLarge);
        else if (!this.bodies.wait(exchange)) this.fail(exchange, ProxyErrors.memoryOverflow);
        else exchange.down.consume(exchange.down.outstanding);
        return;
      case SpecVerdict.ABSENT:
        this.fail(exchange, ProxyErrors.missingModel);
        return;
      case SpecVerdict.UNKNOWN_ENCODING:
        this.fail(exchange, ProxyErrors.unknownEncoding);
        return;
      case SpecVerdict.TOO_LARGE:
        this.fail(exchange, ProxyErrors.requestTooLarge);
        return;
      default:
        this.fail(exchange, ProxyErrors.badRequest);
    }
  }

  /** The message comes in several pieces: the reader stays with it until `finish`. */
  private giveReader(exchange: Exchange): void {
    exchange.reader = this.spec;
    this.spec = this.idleReaders.pop() ?? new SpecReader();
  }

  /** The model is known: its policy, its version, and whether the request is mirrored. */
  private route(exchange: Exchange, spec: SpecReader): void {
    const model = this.mesh.models.get(spec.name);
    exchange.stage = Stage.FORWARDING;
    if (exchange.waitingBytes > 0) this.bodies.stopWaiting(exchange);
    if (model === undefined) {
      this.routeUnknownModel(exchange);
      return;
    }
    exchange.model = model;
    if (this.isLimited('model', model.config.name, exchange)) return;
    exchange.keepsBody =
      model.fallbacks.length > 0 || model.shadows.length > 0 || exchange.body!.length <= RESENT_BYTES;
    const cluster = chooseVersion(this.mesh, this.random, exchange, model, spec.pinned, spec.version, spec.mixed);
    const { isInference: infers, isStream } = exchange.traits!.call!;
    if (isStream && !exchange.http1) {
      this.carryStream(exchange, model, cluster, spec.label);
      return;
    }
    exchange.infers = infers;
    this.prepareCall(exchange, model, cluster);
    this.begin(exchange, cluster);
    if (exchange.bodyEnded && exchange.probes) this.probe(exchange);
    if (!exchange.bodyEnded || exchange.mirrored === null) return;
    const isShared = exchange.reader === null && this.specOf === exchange;
    this.mirroring.send(exchange, isShared ? spec : null);
  }

  /** Once the cluster is known: its deadline, who is shown the request, and whether the answer is held. */
  private prepareCall(exchange: Exchange, model: MeshModel, cluster: MeshCluster): void {
    const { infers } = exchange;
    this.limitTime(exchange, cluster, infers);
    this.withholdIfDegraded(exchange, cluster);
    if (exchange.governed && infers && model.shadows.length > 0 && exchange.withheldFrom === null) {
      exchange.mirrored = this.mirroring.select(exchange, model, cluster);
      exchange.wasMirrored = exchange.mirrored !== null;
    }
    exchange.holds =
      exchange.governed &&
      infers &&
      (model.fallbacks.length > 0 || exchange.mirrored?.captured === true || model.config.checkOutputs);
    this.allowRetries(exchange, cluster, exchange.infers);
  }

  /** A stream of messages goes its own way from here: `down` no longer speaks to the exchange. */
  private carryStream(exchange: Exchange, model: MeshModel, cluster: MeshCluster, version: string): void {
    this.wheel.disarm(exchange);
    this.bodies.forget(exchange);
    const body = exchange.body!;
    exchange.body = null;
    this.bodies.hold(-body.length);
    const stream = new ModelStream(this, exchange, model, cluster, version);
    exchange.down.handler = stream;
    stream.start(body.buffer, body.length);
    releaseBody(body);
  }

  /** A REST call: the path says it all, so it goes on before its body has come. */
  private routeRest(exchange: Exchange, rest: RestCall): void {
    const model = this.mesh.models.get(rest.model);
    exchange.stage = Stage.FORWARDING;
    if (!exchange.bodyEnded) exchange.body = acquireBody();
    if (model === undefined) {
      this.routeUnknownModel(exchange);
      return;
    }
    exchange.model = model;
    if (this.isLimited('model', model.config.name, exchange)) return;
    const cluster = chooseVersion(this.mesh, this.random, exchange, model, rest.pinned, rest.version, false);
    exchange.infers = rest.isInference;
    exchange.keepsBody = model.fallbacks.length > 0 || model.shadows.length > 0;
    this.prepareCall(exchange, model, cluster);
    this.begin(exchange, cluster);
    if (exchange.bodyEnded && exchange.probes) this.probe(exchange);
    if (exchange.bodyEnded && exchange.mirrored !== null) this.mirroring.send(exchange, null);
  }

  /** While a model is degraded a share of its requests is kept from the primary, and some of those are shown to it. */
  private withholdIfDegraded(exchange: Exchange, cluster: MeshCluster): void {
    const { gate, split } = exchange.model!;
    if (gate === null || !exchange.governed || !exchange.infers || !split.includes(cluster)) return;
    if (gate.admits(this.random)) return;
    exchange.withheldFrom = cluster;
    exchange.probes = gate.takesProbe(this.clock.nowMs());
  }

  /** The first attempt: with the primary, or with the fallback the primary's requests are to go to. */
  private begin(exchange: Exchange, cluster: MeshCluster): void {
    if (exchange.withheldFrom === null) this.attemptPrimary(exchange, cluster, 'model', exchange.model!.config.name);
    else this.fallBack(exchange, AnswerReason.DEGRADED);
  }

  private probe(exchange: Exchange): void {
    exchange.probes = false;
    if (exchange.withheldFrom !== null) this.probing.send(exchange, exchange.withheldFrom, exchange.model!.gate!);
  }

  /** A long message on its way named its model again, or ended before its end: whatever the upstream made of it, not this. */
  private contradicted(exchange: Exchange): void {
    const { attempt } = exchange;
    if (attempt !== null && !attempt.settled) {
      this.settle(exchange, attempt, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
      attempt.stream?.reset(ErrorCode.CANCEL);
    }
    this.fail(exchange, ProxyErrors.badRequest);
  }

  /** A model no entry names: on to where the caller meant, untouched, or to the default cluster. */
  private routeUnknownModel(exchange: Exchange): void {
    const cluster = clusterOfUnknownModel(this.mesh, exchange);
    if (cluster === null) this.fail(exchange, ProxyErrors.routeNotFound);
    else this.attemptWith(exchange, cluster, AnswerReason.PRIMARY);
  }

  /** Not a model call: on to where the caller meant, or to the configured upstream. */
  private passThrough(exchange: Exchange): void {
    const cluster = clusterOfCaller(this.mesh, exchange);
    if (cluster === null) this.fail(exchange, ProxyErrors.routeNotFound);
    else this.relay(exchange, cluster, DEFAULT_UPGRADES);
  }

  /** Untouched to a cluster. */
  private relay(exchange: Exchange, cluster: MeshCluster, upgrades: UpgradePolicy, route = ''): void {
    exchange.stage = Stage.FORWARDING;
    const { down, bodyEnded } = exchange;
    // With a body in front of it, what the upgrade's bytes are could be read in two ways.
    if (bodyEnded && 'upgradeAsked' in down && down.head!.upgrade)
      exchange.tunnel = upgradeHead(exchange.head!, exchange.traits!.forward, upgrades);
    // What arrives before there is a connection has to be kept; after that it streams.
    if (!exchange.bodyEnded) exchange.body = acquireBody();
    this.allowRetries(exchange, cluster, false);
    this.limitTime(exchange, cluster, false);
    this.attemptPrimary(exchange, cluster, 'route', route);
  }

  /** Answers the request if it is above a rate limit. */
  private isLimited(kind: GuardSubject['kind'], name: string, exchange: Exchange): boolean {
    if (!this.guards.active || this.guards.admits(kind, name, this.clock.nowMs())) return false;
    this.fail(exchange, ProxyErrors.rateLimited);
    return true;
  }

  /** Keeps what another try would need: the request, and of a model's answer what could still prove to be a failure. */
  private allowRetries(exchange: Exchange, cluster: MeshCluster, infers: boolean): void {
    if (attemptsAfterFirst(cluster) === 0) return;
    const { body } = exchange;
    if (body === null || body.length <= cluster.config.retry.maxBytes) exchange.keepsBody = true;
    if (infers) exchange.holds = true;
  }

  /** Arms the deadline: the caller's or the cluster's, and before it the primary's share when a fallback waits. */
  private limitTime(exchange: Exchange, cluster: MeshCluster, replaceable: boolean): void {
    const { requestTimeoutMs } = cluster.config;
    if (exchange.deadlineMs === 0 && requestTimeoutMs > 0) exchange.deadlineMs = exchange.startedMs + requestTimeoutMs;
    if (exchange.deadlineMs === 0) return;
    const { model } = exchange;
    let due = exchange.deadlineMs;
    if (replaceable && exchange.governed && model !== null && model.fallbacks.length > 0) {
      due = exchange.startedMs + (due - exchange.startedMs) * model.config.primaryBudgetFraction;
    }
    exchange.dueMs = due;
    this.wheel.arm(exchange, due);
  }

  // ---- one attempt ---------------------------------------------------------------------------------------------

  /** The primary, or the fault that a drill puts in front of it. */
  private attemptPrimary(exchange: Exchange, cluster: MeshCluster, kind: 'route' | 'model', name: string): void {
    if (this.guards.active && this.guards.injects(exchange, cluster, kind, name)) return;
    this.attemptWith(exchange, cluster, AnswerReason.PRIMARY);
  }

  /** Admission, breaker, connection. A refusal goes to the next fallback or to the caller. */
  attemptWith(exchange: Exchange, cluster: MeshCluster, reason: number, avoid: Balanced<unknown> | null = null): void {
    const nowMs = this.clock.nowMs();
    const { statsBase } = cluster.config;
    if (!cluster.load.tryEnter(cluster.config.maxConcurrentRequests)) {
      this.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.CONCURRENCY]! += 1;
      this.refused(exchange, AnswerReason.OVERFLOW, ProxyErrors.admissionOverflow);
      return;
    }
    if (cluster.endpoints.length === 0) {
      cluster.load.leave();
      this.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.NO_ENDPOINT]! += 1;
      this.refused(exchange, AnswerReason.CONNECT_FAILED, ProxyErrors.connectFailed);
      return;
    }
    const verdict = cluster.breaker.tryAcquire(nowMs, exchange.deadlineMs);
    if (verdict === Verdict.REJECT) {
      cluster.load.leave();
      this.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.BREAKER_OPEN]! += 1;
      this.refused(exchange, AnswerReason.BREAKER_OPEN, ProxyErrors.breakerOpen);
      return;
    }
    const attempt = new Attempt(exchange, cluster, reason, verdict, cluster.breaker.epoch, nowMs);
    exchange.attempt = attempt;
    attempt.left = avoid;
    beginRequest(this.cells, cluster);
    const attempts = attemptsAfterFirst(cluster);
    if (attempts > 0) this.limitTry(exchange, cluster, attempts, nowMs);
    cluster.request(attempt, exchange.http1);
  }

  /** Arms the timer for one try where another may follow, and counts the first for the retry budget. */
  private limitTry(exchange: Exchange, cluster: MeshCluster, attempts: number, nowMs: number): void {
    const { perTryTimeoutMs } = cluster.config.retry;
    if (exchange.retries === 0) cluster.retryBudget.request(nowMs);
    if (perTryTimeoutMs === 0) return;
    const tryMs = exchange.retries < attempts ? nowMs + perTryTimeoutMs : exchange.dueMs;
    if (tryMs > 0) this.wheel.arm(exchange, exchange.dueMs > 0 ? Math.min(tryMs, exchange.dueMs) : tryMs);
  }

  /** Sends a request that failed here to another endpoint of the same cluster; false when that may not be. */
  private tryAgain(
    exchange: Exchange,
    attempt: Attempt,
    condition: number,
    result: number,
    status: number,
    nowMs: number,
  ): boolean {
    if (!mayRetry(this.cells, exchange, attempt, condition, nowMs)) return false;
    attempt.retried = true;
    this.settle(exchange, attempt, result, Outcome.FAILURE, status, nowMs);
    const { stream } = attempt;
    if (stream !== null && !stream.closed) stream.reset(ErrorCode.CANCEL);
    if (exchange.held !== null) clearBody(exchange.held);
    exchange.retries++;
    this.attemptWith(exchange, attempt.cluster, attempt.reason, attempt.left);
    return true;
  }

  /** A connection has room: the head and what has arrived of the body go out. */
  forward(exchange: Exchange, attempt: Attempt, connection: Http2Connection | Http1ClientConnection): void {
    const { body, traits } = exchange;
    const spec = exchange.reader ?? this.spec;
    const empty = body === null || body.length === 0;
    const ended = exchange.bodyEnded && empty;
    const rewrites =
      exchange.governed && body !== null && traits!.call !== null && this.needsRewrite(exchange, attempt.cluster, spec);
    const { id, config } = attempt.cluster;
    const asks = exchange.governed && traits!.rest !== null;
    const plain = asks ? traits!.restHead(id, config.model, config.version) : traits!.forward;
    let stream: WireStream | null;
    if (connection instanceof Http2Connection) {
      let head = rewrites ? traits!.rewritten : plain;
      if (traits!.timeoutMs > 0) head = this.withTimeLeft(exchange, head);
      if (exchange.extras !== null) head = exchange.extras.on(head);
      if (head.listSize > connection.peer.maxHeaderListSize) {
        this.settle(exchange, attempt, RequestOutcome.CALLER_ERROR, Outcome.IGNORED, -1);
        this.fail(exchange, ProxyErrors.headTooLarge);
        return;
      }
      stream = connection.openStream(attempt, head, ended);
    } else {
      const head = exchange.tunnel ?? plain;
      stream = connection.open(attempt, exchange.extras === null ? head : exchange.extras.on(head), ended);
    }
    if (stream === null) {
      // Full since the pool looked, or a head this protocol cannot say: the latter would go round for ever.
      if (attempt.refusals++ < MAX_REFUSALS) attempt.cluster.request(attempt, exchange.http1);
      else this.onUnavailable(exchange, attempt, Unavailable.PENDING_FULL);
      return;
    }
    attempt.stream = stream;
    attempt.connection = connection;
    if (rewrites) {
      stream.sendData(spec.prefix, 0, spec.prefixLength, false);
      stream.sendData(spec.tail, spec.tailStart, spec.tailEnd, exchange.bodyEnded);
    } else if (!empty) {
      stream.sendData(body.buffer, 0, body.length, exchange.bodyEnded);
    }
    const { down } = exchange;
    if (down.outstanding > stream.queuedBytes) down.consume(down.outstanding - stream.queuedBytes);
    if (!exchange.keepsBody) this.bodies.drop(exchange);
  }

  /** The upstream is told the time that is left, once some of it is gone: to a fallback, or after a wait. */
  private withTimeLeft(exchange: Exchange, head: HeaderList): HeaderList {
    const nowMs = this.clock.nowMs();
    if (nowMs - exchange.startedMs < WORTH_TELLING_MS) return head;
    return withValue(head, 'grpc-timeout', formatGrpcTimeout(exchange.deadlineMs - nowMs));
  }

  /** Plans the rewrite of the spec when the cluster asks for another model or version than the caller wrote. */
  private needsRewrite(exchange: Exchange, cluster: MeshCluster, spec: SpecReader): boolean {
    const body = exchange.body!;
    const { encoding, call } = exchange.traits!;
    const kind = call!.requestKind;
    if (spec === exchange.reader) {
      spec.extend(body.buffer, body.length);
    } else if (this.specOf !== exchange) {
      // The shared reader has read another request since: read again, it costs less than keeping the result.
      this.specOf = exchange;
      const verdict = spec.read(body.buffer, body.length, exchange.bodyEnded, kind, encoding);
      if (verdict !== SpecVerdict.FOUND) return false;
    }
    return spec.rewrite(cluster.config.model, cluster.config.version, cluster.target);
  }

  onUnavailable(exchange: Exchange, attempt: Attempt, reason: number): void {
    if (attempt.settled) return;
    const { statsBase } = attempt.cluster.config;
    if (reason === Unavailable.PENDING_FULL) {
      this.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.PENDING]! += 1;
      this.settle(exchange, attempt, RequestOutcome.OVERLOADED, Outcome.IGNORED, -1);
      this.refused(exchange, AnswerReason.OVERFLOW, ProxyErrors.pendingOverflow);
    } else if (reason === Unavailable.NO_ENDPOINT) {
      this.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.NO_ENDPOINT]! += 1;
      this.settle(exchange, attempt, RequestOutcome.CONNECT_FAILED, Outcome.IGNORED, -1);
      this.refused(exchange, AnswerReason.CONNECT_FAILED, ProxyErrors.noHealthyEndpoint);
    } else {
      this.connectFailed(exchange, attempt);
    }
  }

  // ---- the answer ----------------------------------------------------------------------------------------------

  onAnswerHead(exchange: Exchange, attempt: Attempt, head: HeaderList, endStream: boolean): void {
    if (!attempt.stream!.headReceived) {
      if (exchange.tunnel !== null && head.get(':status') === '101') this.openTunnel(exchange, attempt, head);
      else relayInformational(exchange, head);
      return;
    }
    if (exchange.http1 && exchange.traits!.isConnect && head.get(':status')!.startsWith('2')) {
      this.openTunnel(exchange, attempt, head);
      return;
    }
    if (!exchange.down.takesSection(head)) {
      this.settle(exchange, attempt, RequestOutcome.CALLER_ERROR, Outcome.IGNORED, -1);
      this.fail(exchange, ProxyErrors.answerHeadTooLarge);
      return;
    }
    attempt.responseHead = head;
    if (endStream) this.onAnswerEnd(exchange, attempt, head);
    else if (!exchange.holds) this.commit(exchange, attempt);
  }

  /** Both sides have agreed to leave HTTP. */
  private openTunnel(exchange: Exchange, attempt: Attempt, head: HeaderList): void {
    const { cluster } = attempt;
    exchange.status = GrpcStatus.OK;
    exchange.httpStatus = ResponseTraits.of(head).httpStatus;
    exchange.committed = true;
    this.settle(exchange, attempt, RequestOutcome.OK, Outcome.SUCCESS, GrpcStatus.OK);
    this.cells[cluster.config.statsBase + ClusterSlot.ANSWERS + attempt.reason]! += 1;
    this.tunnels.join(exchange.down as Http1Exchange, attempt.stream as Http1Exchange, head, cluster.name);
    this.finish(exchange);
  }

  onAnswerData(
    exchange: Exchange,
    attempt: Attempt,
    buffer: Buffer,
    start: number,
    end: number,
    endStream: boolean,
  ): void {
    exchange.answerBytes += end - start;
    const stream = attempt.stream!;
    if (exchange.committed) {
      stream.consume(exchange.down.sendData(buffer, start, end, endStream));
    } else {
      exchange.held ??= acquireBody();
      this.bodies.appendAnswer(exchange, exchange.held, buffer, start, end);
      stream.consume(end - start);
      if (exchange.held.length > MAX_HELD_BYTES) this.commit(exchange, attempt);
    }
    if (endStream) this.onAnswerEnd(exchange, attempt, null);
  }

  /** The answer is complete: `last` is its trailers, its only header section, or null when it ended with DATA. */
  onAnswerEnd(exchange: Exchange, attempt: Attempt, last: HeaderList | null): void {
    if (exchange.trace !== null) exchange.trace.answer = last ?? attempt.responseHead;
    const { grpc, rest } = exchange.traits!;
    const status = answerStatus(attempt.responseHead!, last, grpc, rest !== null && exchange.model !== null);
    const reason = ResponseTraits.of(last ?? attempt.responseHead!).reason;
    exchange.status = status;
    const nowMs = this.clock.nowMs();
    if (status === GrpcStatus.OK && isBadAnswer(exchange, attempt)) {
      this.settle(exchange, attempt, RequestOutcome.BAD_OUTPUT, Outcome.FAILURE, status, nowMs);
      this.refused(exchange, AnswerReason.BAD_OUTPUT, ProxyErrors.badOutput);
      return;
    }
    if (status === GrpcStatus.OK) {
      this.settle(exchange, attempt, RequestOutcome.OK, Outcome.SUCCESS, status, nowMs);
      recordLatency(this.cells, attempt.cluster.config.statsBase + ClusterSlot.LATENCY, nowMs - attempt.startedMs);
      this.deliver(exchange, attempt, last);
      return;
    }
    const fault = judgeStatus(status, reason);
    const outcome = breakerOutcome(fault);
    attempt.outOfMemory = reason === 'device_out_of_memory' && fault === RequestOutcome.UPSTREAM_ERROR;
    if (outcome === Outcome.FAILURE) this.heedPushback(attempt, last, nowMs);
    if (
      status === GrpcStatus.UNAVAILABLE &&
      this.tryAgain(exchange, attempt, RetryOn.UNAVAILABLE, fault, status, nowMs)
    )
      return;
    this.settle(exchange, attempt, fault, outcome, status, nowMs);
    const { model } = exchange;
    const replaceable = model !== null && status < 32 && (model.fallbackStatusBits & (1 << status)) !== 0;
    if (replaceable && this.canFallBack(exchange)) {
      if (exchange.failure === null && exchange.failedAnswer === null) this.keepFailure(exchange, attempt, last);
      this.fallBack(exchange, AnswerReason.STATUS);
    } else if (hasFailed(exchange) && attempt.reason !== AnswerReason.PRIMARY && !exchange.committed) {
      this.failAsPrimary(exchange, ProxyErrors.upstreamStatus);
    } else {
      this.deliver(exchange, attempt, last);
    }
  }

  /** A failure may say how long it wants to be left alone. */
  private heedPushback(attempt: Attempt, last: HeaderList | null, nowMs: number): void {
    const unixMs = Date.now();
    const inHead = ResponseTraits.of(attempt.responseHead!).pushbackMs(unixMs);
    const inTrailers = last === null ? 0 : ResponseTraits.of(last).pushbackMs(unixMs);
    attempt.cluster.breaker.pushBack(Math.max(inHead, inTrailers), nowMs);
  }

  onAnswerReset(exchange: Exchange, attempt: Attempt, refused: boolean, errorCode: number): void {
    if (refused && attempt.connection!.established && this.canResend(exchange, attempt)) {
      // The upstream promises that it did not look at it (GOAWAY, REFUSED_STREAM): the same attempt, elsewhere.
      attempt.refusals++;
      attempt.stream = null;
      attempt.responseHead = null;
      attempt.cluster.request(attempt, exchange.http1);
      return;
    }
    if (refused && !attempt.connection!.established) {
      this.connectFailed(exchange, attempt);
      return;
    }
    const nowMs = this.clock.nowMs();
    if (this.tryAgain(exchange, attempt, RetryOn.RESET, RequestOutcome.UPSTREAM_RESET, -1, nowMs)) return;
    this.settle(exchange, attempt, RequestOutcome.UPSTREAM_RESET, Outcome.FAILURE, -1, nowMs);
    if (exchange.model === null && exchange.traits!.call === null && !attempt.connection!.dead) {
      // Traffic we only relay: the caller hears what the upstream said. A connection that died said nothing.
      exchange.down.reset(errorCode === ErrorCode.NO_ERROR ? ErrorCode.CANCEL : errorCode);
      exchange.end = RequestEnd.CUT;
      this.finish(exchange);
      return;
    }
    this.refused(exchange, AnswerReason.RESET, ProxyErrors.upstreamReset);
  }

  private connectFailed(exchange: Exchange, attempt: Attempt): void {
    const nowMs = this.clock.nowMs();
    const result = RequestOutcome.CONNECT_FAILED;
    if (this.tryAgain(exchange, attempt, RetryOn.CONNECT_FAILED, result, -1, nowMs)) return;
    this.settle(exchange, attempt, result, Outcome.FAILURE, -1, nowMs);
    this.refused(exchange, AnswerReason.CONNECT_FAILED, ProxyErrors.connectFailed);
  }

  /** Nothing of the answer is out and the request can be sent again as it is. */
  private canResend(exchange: Exchange, attempt: Attempt): boolean {
    if (exchange.committed || attempt.refusals >= MAX_REFUSALS) return false;
    return exchange.body !== null || exchange.bodyBytes === 0;
  }

  // ---- stepping in ---------------------------------------------------------------------------------------------

  /** This cluster gave no answer: the next fallback, or the failure itself. */
  refused(exchange: Exchange, reason: number, error: ProxyError): void {
    if (error.fallback && this.canFallBack(exchange)) {
      if (exchange.failedAnswer === null) exchange.failure ??= error;
      this.fallBack(exchange, reason);
    } else {
      this.failAsPrimary(exchange, error);
    }
  }

  /** No fallback answered either: the caller gets the primary's failure, which came first. */
  private failAsPrimary(exchange: Exchange, error: ProxyError): void {
    const answer = exchange.failedAnswer;
    if (answer === null || exchange.committed) {
      this.fail(exchange, exchange.failure ?? error);
      return;
    }
    exchange.committed = true;
    const body = exchange.failedBody;
    if (answer.get(':status') === undefined) exchange.down.sendHeaders(GRPC_HEAD, false);
    exchange.down.sendHeaders(answer, body === null);
    if (body !== null) exchange.down.sendData(body.buffer, 0, body.length, true);
    this.finish(exchange);
  }

  /** What the primary answered, in case no fallback does better: trailers say it all in gRPC, head and body in REST. */
  private keepFailure(exchange: Exchange, attempt: Attempt, last: HeaderList | null): void {
    if (exchange.traits!.grpc) {
      exchange.failedAnswer = last;
      return;
    }
    exchange.failedAnswer = withoutHopByHop(attempt.responseHead!);
    exchange.failedBody = exchange.held;
    exchange.held = null;
  }

  private canFallBack(exchange: Exchange): boolean {
    const { model } = exchange;
    if (model === null || !exchange.governed || exchange.committed || !exchange.infers) {
      return false;
    }
    const isLeft = exchange.nextFallback < model.fallbacks.length || exchange.withheldFrom !== null;
    return (exchange.body !== null || exchange.bodyBytes === 0) && isLeft;
  }

  private fallBack(exchange: Exchange, reason: number): void {
    const model = exchange.model!;
    const step = exchange.nextFallback++;
    const primary = step < model.fallbacks.length ? null : exchange.withheldFrom;
    if (exchange.held !== null) clearBody(exchange.held);
    exchange.retries = 0;
    if (exchange.deadlineMs > 0) {
      const nowMs = this.clock.nowMs();
      const last = exchange.nextFallback >= model.fallbacks.length;
      const share = last ? 1 : model.config.fallbacks[step]!.budgetFraction;
      exchange.dueMs = nowMs + (exchange.deadlineMs - nowMs) * share;
      this.wheel.arm(exchange, exchange.dueMs);
    }
    if (primary !== null) {
      // Nobody answers for the primary: it is asked after all, and what it says goes to the caller.
      exchange.withheldFrom = null;
      exchange.failure = null;
      exchange.failedAnswer = null;
      this.attemptWith(exchange, primary, AnswerReason.PRIMARY);
      return;
    }
    // A second fallback still answers for what the primary did.
    const { attempt } = exchange;
    const again = attempt !== null && attempt.reason !== AnswerReason.PRIMARY;
    this.attemptWith(exchange, model.fallbacks[step]!, again ? attempt.reason : reason);
  }

  /** One try has had its time. When no other may follow it keeps what time the request has. */
  private tryTimedOut(exchange: Exchange, nowMs: number): void {
    const { attempt, dueMs } = exchange;
    const limited = attempt !== null && !attempt.settled && attempt.cluster.config.retry.perTryTimeoutMs > 0;
    if (limited && this.tryAgain(exchange, attempt, RetryOn.PER_TRY_TIMEOUT, RequestOutcome.DEADLINE, -1, nowMs))
      return;
    if (dueMs > 0) this.wheel.arm(exchange, dueMs);
  }

  onDeadline(exchange: Exchange, nowMs: number): void {
    const { attempt } = exchange;
    if (exchange.stage === Stage.DONE) return;
    if (exchange.dueMs === 0 || nowMs < exchange.dueMs) {
      this.tryTimedOut(exchange, nowMs);
      return;
    }
    const early = nowMs < exchange.deadlineMs;
    const caller = callerHolds(exchange);
    if (attempt !== null && !attempt.settled) {
      if (caller) this.settle(exchange, attempt, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
      else this.settle(exchange, attempt, RequestOutcome.DEADLINE, Outcome.FAILURE, -1);
      attempt.stream?.reset(ErrorCode.CANCEL);
    }
    if (early) this.refused(exchange, AnswerReason.DEADLINE_BUDGET, ProxyErrors.deadlineBudget);
    else this.fail(exchange, caller ? ProxyErrors.deadlineCaller : ProxyErrors.deadlineUpstream);
  }

  onCallerGone(exchange: Exchange): void {
    const { attempt } = exchange;
    if (exchange.stage === Stage.DONE) {
      // What it had not read of its answer still counts against the upstream connection's window.
      attempt?.stream?.reset(ErrorCode.CANCEL);
      return;
    }
    if (attempt !== null && !attempt.settled) {
      this.settle(exchange, attempt, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
      attempt.stream?.reset(ErrorCode.CANCEL);
    }
    exchange.flag = ACCESS_FLAG_CANCELLED;
    exchange.end = RequestEnd.CANCELLED;
    this.finish(exchange);
  }

  // ---- the answer goes out -------------------------------------------------------------------------------------

  /** Sends the head and what was held: from here on this attempt is the answer. */
  private commit(exchange: Exchange, attempt: Attempt): void {
    exchange.committed = true;
    this.sendHead(exchange, attempt, false);
    const { held } = exchange;
    if (held !== null && held.length > 0) exchange.down.sendData(held.buffer, 0, held.length, false);
    if (exchange.mirrored === null) this.bodies.drop(exchange);
  }

  private sendHead(exchange: Exchange, attempt: Attempt, endStream: boolean): void {
    let head = exchange.http1 ? withoutHopByHop(attempt.responseHead!) : attempt.responseHead!;
    if (exchange.model !== null) {
      const named = withServedBy(head, attempt.cluster, attempt.reason);
      if (exchange.down.takesSection(named)) head = named;
    }
    exchange.httpStatus = ResponseTraits.of(attempt.responseHead!).httpStatus;
    exchange.down.sendHeaders(head, endStream);
  }

  /** The attempt's answer, complete, to the caller. */
  private deliver(exchange: Exchange, attempt: Attempt, last: HeaderList | null): void {
    const { down } = exchange;
    if (last !== null && last === attempt.responseHead) {
      exchange.committed = true;
      this.sendHead(exchange, attempt, true);
    } else {
      if (!exchange.committed) this.commit(exchange, attempt);
      if (last !== null && !down.takesSection(last)) {
        this.fail(exchange, ProxyErrors.answerHeadTooLarge);
        return;
      }
      if (last !== null) down.sendHeaders(last, true);
      else if (!down.localEnded && !down.endQueued) down.sendEnd();
    }
    this.cells[attempt.cluster.config.statsBase + ClusterSlot.ANSWERS + attempt.reason]! += 1;
    if (attempt.reason !== AnswerReason.PRIMARY) exchange.flag = ACCESS_FLAG_FALLBACK;
    this.finish(exchange);
  }

  /** Answers with a failure of our own. */
  fail(exchange: Exchange, error: ProxyError): void {
    this.cells[ProcessSlot.LOCAL_REPLIES + localReplySlot(error)]! += 1;
    exchange.status = error.grpcStatus;
    exchange.httpStatus = error.httpStatus || httpStatusFor(error.grpcStatus);
    exchange.flag = error.flag;
    exchange.end = exchange.committed ? RequestEnd.CUT : RequestEnd.REFUSED;
    respondError(exchange.down, error, exchange.traits!.grpc);
    this.finish(exchange);
  }

  // ---- accounts ------------------------------------------------------------------------------------------------

  /** Closes the books of one attempt: in-flight, breaker, statistics, and the shadow's other half. */
  private settle(
    exchange: Exchange,
    attempt: Attempt,
    result: number,
    outcome: number,
    status: number,
    nowMs: number = this.clock.nowMs(),
  ): void {
    attempt.settled = true;
    const { cluster, stream } = attempt;
    const tookMs = nowMs - attempt.askedMs;
    leaveEndpoint(cluster, attempt, result, outcome, nowMs, 0);
    endRequest(this.cells, cluster, attempt.verdict, attempt.epoch, result, outcome, status, tookMs, nowMs);
    const { model } = exchange;
    const gate = model === null ? null : model.gate;
    if (gate !== null && attempt.reason === AnswerReason.PRIMARY && exchange.infers && model!.split.includes(cluster)) {
      gate.record(result, attempt.outOfMemory, false, tookMs, nowMs);
    }
    if (attempt.waitingIn !== null) attempt.waitingIn.forget(attempt);
    if (stream !== null && stream.outstanding > 0 && exchange.committed === false) stream.consume(stream.outstanding);
    if (exchange.mirrored !== null && attempt.reason === AnswerReason.PRIMARY && !attempt.retried) {
      const answer = exchange.committed ? null : exchange.held;
      const tookTillNow = nowMs - attempt.startedMs;
      this.mirroring.primaryDone(exchange.mirrored, cluster.name, attempt.responseHead, answer, status, tookTillNow);
    }
  }

  /**
   * The thread holds too much, and this exchange most of it. A copy kept for another attempt or a shadow is given up and
   * the request goes on; one that still needs what it keeps ends.
   */
  shed(exchange: Exchange): void {
    const { attempt } = exchange;
    if (exchange.stage === Stage.DONE) return;
    if (exchange.heldBytes === exchange.body?.length && attempt !== null && attempt.stream !== null) {
      this.cells[ProcessSlot.MEMORY_VERDICTS + MemoryVerdict.COPY_GIVEN_UP]! += 1;
      this.giveUpCopy(exchange, MirrorDrop.PRESSURE);
      return;
    }
    this.cells[ProcessSlot.MEMORY_VERDICTS + MemoryVerdict.REQUEST_REFUSED]! += 1;
    if (attempt !== null && !attempt.settled) {
      this.settle(exchange, attempt, RequestOutcome.OVERLOADED, Outcome.IGNORED, -1);
      attempt.stream?.reset(ErrorCode.CANCEL);
    }
    this.fail(exchange, ProxyErrors.memoryOverflow);
  }

  /** Ends the exchange: nothing of it is used again. */
  finish(exchange: Exchange): void {
    const { down } = exchange;
    if (this.accessLog !== null) this.accessLog.request(exchange, this.clock.nowMs());
    if (exchange.trace !== null) this.tracer!.end(exchange, this.clock.nowMs());
    exchange.stage = Stage.DONE;
    this.cells[ProcessSlot.REQUEST_ENDS + exchange.end]! += 1;
    countRouted(this.cells, exchange);
    this.wheel.disarm(exchange);
    stopBody(down);
    const stream = exchange.attempt?.stream ?? null;
    if (stream !== null && (!stream.closed || down.dead)) {
      stream.reset(stream.remoteEnded ? ErrorCode.NO_ERROR : ErrorCode.CANCEL);
    }
    if (down.outstanding > 0) down.consume(down.outstanding);
    if (exchange.mirrored !== null) this.mirroring.release(exchange.mirrored);
    exchange.mirrored = null;
    this.bodies.forget(exchange);
    this.bodies.drop(exchange);
    if (exchange.held !== null) releaseBody(exchange.held);
    exchange.held = null;
    if (exchange.failedBody !== null) releaseBody(exchange.failedBody);
    exchange.failedBody = null;
    if (exchange.reader !== null && this.idleReaders.length < MAX_IDLE_READERS) this.idleReaders.push(exchange.reader);
    exchange.reader = null;
    this.active--;
    this.cells[ProcessSlot.STREAMS] = this.active;
  }

  /** Adds to the kept body; gives the copy up where a bound is reached, unless the bytes are needed to be sent at all. */
  private keepBody(exchange: Exchange, buffer: Buffer, start: number, end: number, unsent: boolean): void {
    const body = exchange.body!;
    const { model } = exchange;
    const limit = model === null ? 0 : model.config.maxReplayBytes;
    const tooMuch = body.length + end - start > limit || this.bodies.bytes > this.mesh.snapshot.maxReplayBytesTotal;
    if (!unsent && tooMuch) {
      this.giveUpCopy(exchange, MirrorDrop.TOO_LARGE);
      return;
    }
    this.bodies.append(exchange, body, buffer, start, end);
  }

  /** The request goes on without the copy: it cannot be sent again, nor shown to a shadow that has not seen it yet. */
  private giveUpCopy(exchange: Exchange, reason: number): void {
    const { model, mirrored } = exchange;
    if (model !== null) this.cells[exchange.attempt!.cluster.config.statsBase + ClusterSlot.NOT_REPLAYABLE]! += 1;
    exchange.replayable = false;
    if (mirrored !== null && !exchange.bodyEnded) {
      this.mirroring.drop(mirrored, reason);
      this.mirroring.release(mirrored);
      exchange.mirrored = null;
    }
    this.bodies.drop(exchange);
  }
}

/** Head of an answer of which only the trailers were kept. */
const GRPC_HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);

/** The primary's failure is known; it is not where the fallback was asked first. */
function hasFailed(exchange: Exchange): boolean {
  return exchange.failure !== null || exchange.failedAnswer !== null;
}

/**
 * A 1xx head on its way to the caller. Where an answer may still be replaced it would promise too much; 100 was said here
 * as soon as the caller asked for it, and 101 is no answer to a request that was sent without an upgrade.
 */
function relayInformational(exchange: Exchange, head: HeaderList): void {
  const status = head.get(':status');
  if (exchange.holds || exchange.committed || status === '100' || status === '101') return;
  exchange.down.sendHeaders(withoutHopByHop(head), false);
}

/** The caller has not sent its whole request, and the upstream has taken all there is: time passes at the caller's cost. */
function callerHolds(exchange: Exchange): boolean {
  if (exchange.bodyEnded) return false;
  const { attempt } = exchange;
  return attempt === null || (attempt.stream !== null && attempt.stream.queuedBytes === 0);
}
