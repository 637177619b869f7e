/**
 * Probes of a degraded model's primary: a copy of a request that the fallback answers, shown to the primary as well. Its
 * answer goes to nobody; how long it took and how it ended is what the return is judged by.
 *
 * A probe is marked as a shadow, respects the primary's breaker and tells it the outcome, never retries and never falls
 * back. At most `MAX_IN_FLIGHT` are open on a thread; at the bound a probe is not sent, as if its turn had not come.
 */
import type { Clock } from '../../base/clock.ts';
import { GrpcStatus } from '../../base/grpc-status.ts';
import { type TimerWheel, WheelTimer } from '../../base/timer-wheel.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import type { Http1Exchange, Http1Handler } from '../../proto/http1/exchange.ts';
import { Http2Connection } from '../../proto/http2/connection.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import type { DegradationGate } from '../degradation/gate.ts';
import type { MeshCluster } from '../mesh.ts';
import { breakerOutcome, judgeStatus } from '../policy/answer-judgement.ts';
import { Outcome, Verdict } from '../policy/circuit-breaker.ts';
import { RequestTraits, withFields, withValue } from '../routing/request-traits.ts';
import { answerStatus, askedWaitMs, ResponseTraits } from '../routing/response-traits.ts';
import { SpecReader, SpecVerdict } from '../routing/spec-reader.ts';
import { RequestOutcome } from '../stats/slots.ts';
import { Unavailable, Waiter } from '../upstream/wait-queue.ts';
import { acquireBody, type BodyBuffer, releaseBody } from './body-buffer.ts';
import type { Exchange, WireStream } from './exchange.ts';
import { leaveEndpoint } from './request-accounts.ts';

const MODEL_INFER = '/inference.GRPCInferenceService/ModelInfer';
const MAX_IN_FLIGHT = 4;
/** A probe's time where the cluster has no request timeout, milliseconds. */
const PROBE_TIMEOUT_MS = 10_000;

export class PrimaryProbing {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  inFlight = 0;
  private readonly spec = new SpecReader();

  constructor(clock: Clock, wheel: TimerWheel) {
    this.clock = clock;
    this.wheel = wheel;
  }

  /** The request is complete: shows it to the primary it was withheld from. Does nothing where no copy was kept. */
  send(exchange: Exchange, cluster: MeshCluster, gate: DegradationGate): void {
    const { body, traits, http1 } = exchange;
    if (body !== null || exchange.bodyBytes === 0) this.show(traits!, http1, body, cluster, gate);
  }

  /** One framed message of a ModelStreamInfer stream: it is shown as a ModelInfer call, whose request is the same. */
  sendMessage(streamHead: HeaderList, bytes: Buffer, cluster: MeshCluster, gate: DegradationGate): void {
    const body = acquireBody();
    body.append(bytes, 0, bytes.length);
    this.show(RequestTraits.of(withValue(streamHead, ':path', MODEL_INFER)), false, body, cluster, gate);
    releaseBody(body);
  }

  private show(
    traits: RequestTraits,
    http1: boolean,
    body: BodyBuffer | null,
    cluster: MeshCluster,
    gate: DegradationGate,
  ): void {
    if (this.inFlight >= MAX_IN_FLIGHT || cluster.endpoints.length === 0) return;
    const nowMs = this.clock.nowMs();
    const verdict = cluster.breaker.tryAcquire(nowMs, nowMs + PROBE_TIMEOUT_MS);
    if (verdict === Verdict.REJECT) return;
    this.inFlight++;
    new ProbeCall(this, traits, http1, cluster, gate, verdict, nowMs).start(body);
  }

  /** Plans the request for the primary's model and version; null when it names them as it is. */
  plan(traits: RequestTraits, cluster: MeshCluster, body: BodyBuffer): SpecReader | null {
    const { requestKind } = traits.call!;
    const verdict = this.spec.read(body.buffer, body.length, true, requestKind, traits.encoding);
    const { model, version } = cluster.config;
    return verdict === SpecVerdict.FOUND && this.spec.rewrite(model, version, cluster.target) ? this.spec : null;
  }
}

/** A call is a waiter already and cannot be a timer too. */
class ProbeTimer extends WheelTimer {
  private readonly call: ProbeCall;

  constructor(call: ProbeCall) {
    super();
    this.call = call;
  }

  onExpire(): void {
    this.call.expire();
  }
}

/** One probe: it ends exactly once, in `end`. */
class ProbeCall extends Waiter implements StreamHandler, Http1Handler {
  private readonly probing: PrimaryProbing;
  private readonly cluster: MeshCluster;
  private readonly gate: DegradationGate;
  private readonly traits: RequestTraits;
  private readonly http1: boolean;
  private readonly verdict: number;
  private readonly epoch: number;
  private readonly startedMs: number;
  private readonly timer: ProbeTimer;
  /** The request; borrowed while `start` runs, then a copy if no connection was free at once. */
  private body: BodyBuffer | null = null;
  private ownsBody = false;
  private connection: Http2Connection | Http1ClientConnection | null = null;
  private stream: WireStream | null = null;
  private head: HeaderList | null = null;
  private done = false;

  constructor(
    probing: PrimaryProbing,
    traits: RequestTraits,
    http1: boolean,
    cluster: MeshCluster,
    gate: DegradationGate,
    verdict: number,
    nowMs: number,
  ) {
    super();
    this.probing = probing;
    this.cluster = cluster;
    this.gate = gate;
    this.traits = traits;
    this.http1 = http1;
    this.verdict = verdict;
    this.epoch = cluster.breaker.epoch;
    this.startedMs = nowMs;
    this.timer = new ProbeTimer(this);
  }

  start(body: BodyBuffer | null): void {
    const { requestTimeoutMs } = this.cluster.config;
    const timeoutMs = requestTimeoutMs > 0 ? Math.min(requestTimeoutMs, PROBE_TIMEOUT_MS) : PROBE_TIMEOUT_MS;
    this.probing.wheel.arm(this.timer, this.startedMs + timeoutMs);
    this.body = body;
    this.cluster.request(this, this.http1);
    const isWaiting = !this.done && this.stream === null;
    if (isWaiting && body !== null) {
      this.body = acquireBody();
      this.body.append(body.buffer, 0, body.length);
      this.ownsBody = true;
    } else {
      this.body = null;
    }
  }

  onConnection(connection: Http2Connection | Http1ClientConnection): void {
    if (this.done) return;
    const { body, traits } = this;
    const isEmpty = body === null || body.length === 0;
    const spec = !isEmpty && traits.call !== null ? this.probing.plan(traits, this.cluster, body) : null;
    const { model, version } = this.cluster.config;
    const stream =
      connection instanceof Http2Connection
        ? connection.openStream(this, spec === null ? traits.shadow : traits.shadowRewritten, isEmpty)
        : connection.open(this, marked(traits.restHead(this.cluster.id, model, version)), isEmpty);
    if (stream === null) {
      this.end(-1, Outcome.IGNORED, false);
      return;
    }
    this.stream = stream;
    this.connection = connection;
    if (spec !== null) {
      spec.send(stream, true);
    } else if (!isEmpty) {
      stream.sendData(body.buffer, 0, body.length, true);
    }
    if (this.ownsBody) this.dropBody();
  }

  onUnavailable(reason: number): void {
    if (reason === Unavailable.PENDING_FULL) this.end(-1, Outcome.IGNORED, false);
    else this.end(RequestOutcome.CONNECT_FAILED, Outcome.FAILURE, false);
  }

  onHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.done || !stream.headReceived) return;
    this.head ??= headers;
    if (endStream) this.answered(headers);
  }

  onHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    if (this.done || !exchange.headReceived) return;
    this.head = head;
    if (end) this.answered(null);
  }

  onTrailers(): void {
    if (!this.done) this.answered(null);
  }

  onData(stream: WireStream, _buffer: Buffer, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (endStream && !this.done) this.answered(null);
  }

  onSent(): void {}

  onReset(stream: WireStream): void {
    if (this.done) return;
    // What the upstream did not look at says nothing about it, unless it could not even be reached.
    if (!stream.refused) this.end(RequestOutcome.UPSTREAM_RESET, Outcome.FAILURE, false);
    else if (this.connection!.established) this.end(-1, Outcome.IGNORED, false);
    else this.end(RequestOutcome.CONNECT_FAILED, Outcome.FAILURE, false);
  }

  expire(): void {
    if (!this.done) this.end(RequestOutcome.DEADLINE, Outcome.FAILURE, false);
  }

  /** The whole answer is in; `last` are its trailers, null for a REST answer. */
  private answered(last: HeaderList | null): void {
    const { head, traits } = this;
    const status = answerStatus(head!, last, traits.grpc, traits.rest !== null);
    const { reason } = ResponseTraits.of(last ?? head!);
    const result = status === GrpcStatus.OK ? RequestOutcome.OK : judgeStatus(status, reason);
    const outcome = breakerOutcome(result);
    if (outcome === Outcome.FAILURE) {
      this.cluster.breaker.pushBack(askedWaitMs(head!, last), this.probing.clock.nowMs());
    }
    this.end(result, outcome, reason === 'device_out_of_memory');
  }

  /** `result` is a `RequestOutcome`, -1 when the primary was not asked. */
  private end(result: number, outcome: number, isOutOfMemory: boolean): void {
    this.done = true;
    const { probing, stream } = this;
    const nowMs = probing.clock.nowMs();
    probing.inFlight--;
    probing.wheel.disarm(this.timer);
    this.cluster.breaker.record(this.verdict, this.epoch, outcome, nowMs);
    leaveEndpoint(this.cluster, this, result, outcome, nowMs, 0);
    if (result >= 0) this.gate.record(result, isOutOfMemory, true, nowMs - this.startedMs, nowMs);
    if (this.waitingIn !== null) this.waitingIn.forget(this);
    if (this.ownsBody) this.dropBody();
    if (stream !== null && !stream.closed) stream.reset(stream.remoteEnded ? ErrorCode.NO_ERROR : ErrorCode.CANCEL);
  }

  private dropBody(): void {
    if (this.body !== null) releaseBody(this.body);
    this.body = null;
    this.ownsBody = false;
  }
}

/** The mark that tells an upstream it answers as a shadow. */
function marked(head: HeaderList): HeaderList {
  return withFields(head, ['x-understudy-shadow'], ['1']);
}
