/**
 * One request on its way through the proxy: its state, and nothing that decides. The data plane moves it from stage to
 * stage; the exchange only hands stream events and its deadline to the plane. Every field is initialised here, in order,
 * so that all exchanges share one shape.
 */
import type { ProxyError } from '../../base/proxy-error.ts';
import { WheelTimer } from '../../base/timer-wheel.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import type { Http1Exchange, Http1Handler } from '../../proto/http1/exchange.ts';
import type { Http2Connection } from '../../proto/http2/connection.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import type { BufferHolder } from '../../proto/io/memory-budget.ts';
import type { LocalAnswer } from '../adapt/local-answer.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import type { StepStream } from '../pipeline-request/step-call.ts';
import type { HeadPolicy } from '../routing/head-policy.ts';
import type { RequestTraits } from '../routing/request-traits.ts';
import type { SpecReader } from '../routing/spec-reader.ts';
import type { MirroredPair } from '../shadowing/mirrored-pair.ts';
import type { StreamedCopy } from '../shadowing/streamed-copy.ts';
import { RequestEnd } from '../stats/slots.ts';
import type { TraceContext } from '../tracing.ts';
import { Waiter } from '../upstream/wait-queue.ts';
import type { BodyBuffer } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import type { Hedge } from './hedge.ts';
import type { RequestExtras } from './request-extras.ts';

/** A request or answer on the wire, whichever protocol carries it: the two are alike where the data plane looks. */
export type WireStream = Http2Stream | Http1Exchange;

/** Where a request comes from: a caller's stream, or the step of a pipeline. */
export type CallerStream = WireStream | StepStream;

/** Where a request is. Transitions only go downwards, except that a failed attempt may start the next. */
export const Stage = {
  /** Head read; nothing decided. */
  NEW: 0,
  /** Waiting for the bytes that name the model, or decide its version. */
  AWAITING_SPEC: 1,
  /** With a cluster: waiting for a connection, sent, or being answered. */
  FORWARDING: 2,
  /** Answered, cancelled or reset; late events are ignored. */
  DONE: 3,
} as const;

export class Exchange extends WheelTimer implements StreamHandler, Http1Handler, BufferHolder {
  readonly plane: DataPlane;
  readonly down: CallerStream;
  /** The caller speaks HTTP/1.1, and so will the upstream. */
  readonly http1: boolean;
  /** What its listener does to heads. */
  readonly heads: HeadPolicy;
  stage: number = Stage.NEW;
  head: HeaderList | null = null;
  traits: RequestTraits | null = null;
  model: MeshModel | null = null;
  /** Fields that are its own; null when there are none. */
  extras: RequestExtras | null = null;
  /** Null when it is not traced. */
  trace: TraceContext | null = null;
  attempt: Attempt | null = null;
  /** Null for a model that is not hedged. */
  hedge: Hedge | null = null;
  /** Position in the model's fallback list of the next step to try. */
  nextFallback = 0;
  /** Whether the model's policies (split, fallback, mirror) apply; not for calls that pin an unknown version. */
  governed = false;
  /** The call runs the model: it may be replaced and mirrored. Calls that ask about a model are only routed. */
  infers = false;
  /** Times it was sent to another endpoint of the cluster it is with. */
  retries = 0;
  startedMs: number;
  /** When the timer is to run for other reasons than a single try; 0 for never. */
  dueMs = 0;
  /** When the caller stops waiting; 0 for never. */
  deadlineMs = 0;
  /** The request from its first byte, as long as it is needed: see `keepsBody`. */
  body: BodyBuffer | null = null;
  /** The body is kept after it was forwarded, for another attempt or a shadow. */
  keepsBody = false;
  /** The step waits until the whole request has come: its answer is made here, or it gets the request edited. */
  waitsForBody = false;
  /** The step's answer, where it is made here. */
  local: LocalAnswer | null = null;
  /** The primary that a degraded model's request was withheld from; asked when nobody else answers. */
  withheldFrom: MeshCluster | null = null;
  /** Once complete, the request is shown to that primary as well. */
  probes = false;
  /** The head that asks for an upgrade the route allows; null when none is asked for. */
  tunnel: HeaderList | null = null;
  /** Bytes that count among those whose model is still to be found. */
  waitingBytes = 0;
  /** The thread's memory budget may tell it to let go. */
  registered = false;
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
  /** First of the statistics slots of the route that took it; -1 before that is known. */
  routeBase = -1;
  /** Its name; '' for none. */
  route = '';
  /** HTTP status of the answer its caller got; 0 before there is one. */
  httpStatus = 0;
  /** For the access log: gRPC status of the answer (-1: none), its bytes, why it is what it is. */
  status = -1;
  answerBytes = 0;
  flag = '';
  /** How it ended, once it has: counted in `finishRequest`. */
  end: number = RequestEnd.ANSWERED;
  wasMirrored = false;
  /** It, or a message of it, was sent to two at a time. */
  hedged = false;
  /** False once the kept copy of the request was given up. */
  replayable = true;
  /** What the primary did wrong, kept while fallbacks are tried: an error of ours, or the trailers it sent. */
  failure: ProxyError | null = null;
  failedAnswer: HeaderList | null = null;
  /** Body of a failed answer whose head is `failedAnswer`, for protocols that say failures in bodies. */
  failedBody: BodyBuffer | null = null;
  /** Request and answer bytes for the shadows; null when the request is not mirrored. */
  mirrored: MirroredPair | null = null;
  /** Shows it to them as it comes, once it has outgrown the kept copy. */
  copy: StreamedCopy | null = null;

  /** The pipeline that was called; '' for none. */
  pipeline = '';
  /** It is the call of a pipeline's step: no caller's, and in no caller's books. */
  isStep = false;

  constructor(plane: DataPlane, down: CallerStream, http1: boolean, heads: HeadPolicy, nowMs: number) {
    super();
    this.heads = heads;
    this.plane = plane;
    this.down = down;
    this.http1 = http1;
    this.startedMs = nowMs;
  }

  onHeaders(_stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.stage === Stage.NEW) this.plane.onRequestHead(this, headers, endStream);
    else this.plane.onRequestTrailers(this, headers);
  }

  onHead(_exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    this.plane.onRequestHead(this, head, end);
  }

  onTrailers(_exchange: Http1Exchange, trailers: HeaderList): void {
    this.plane.onRequestTrailers(this, trailers);
  }

  onData(_stream: WireStream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    this.plane.onRequestData(this, buffer, start, end, endStream);
  }

  onSent(_stream: WireStream, bytes: number): void {
    // Answer bytes left the queue towards the caller: the upstream may send as many again.
    const stream = this.attempt?.stream;
    if (stream != null) stream.consume(Math.min(bytes, stream.outstanding));
  }

  onReset(_stream: WireStream, _errorCode: number): void {
    this.plane.onCallerGone(this);
  }

  onExpire(nowMs: number): void {
    this.plane.onDeadline(this, nowMs);
  }

  /** Bytes kept of request and answer (`MemoryBudget`). */
  get heldBytes(): number {
    const { body, held, failedBody, hedge } = this;
    const rival = hedge === null ? 0 : (hedge.held?.length ?? 0);
    return (body?.length ?? 0) + (held?.length ?? 0) + (failedBody?.length ?? 0) + rival;
  }

  shed(): void {
    this.registered = false;
    this.plane.shed(this);
  }
}

/** One try of a request with one cluster. A request has one at a time, or two with a hedge; late events of an earlier one are ignored. */
export class Attempt extends Waiter implements StreamHandler, Http1Handler {
  readonly exchange: Exchange;
  readonly cluster: MeshCluster;
  /** `AnswerReason`: PRIMARY, or why a fallback is tried. */
  readonly reason: number;
  /** The breaker's verdict and epoch, to be handed back with the outcome. */
  readonly verdict: number;
  readonly epoch: number;
  readonly startedMs: number;
  /** Where it was sent; null before. */
  connection: Http2Connection | Http1ClientConnection | null = null;
  stream: WireStream | null = null;
  responseHead: HeaderList | null = null;
  /** When the upstream could have had the whole request: what it takes from then on is its own doing. */
  askedMs: number;
  /** How long its failure asks not to be followed by another request, milliseconds. */
  askedWaitMs = 0;
  /** It failed for want of device memory. */
  outOfMemory = false;
  settled = false;
  /** It was cancelled because the other attempt of a hedged request was first, or the request ended. */
  outrun = false;
  /** It failed and another try follows: its cluster's answer is still to come. */
  retried = false;
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
    this.askedMs = startedMs;
  }

  onConnection(connection: Http2Connection | Http1ClientConnection): void {
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

  onHead(_exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    if (!this.settled) this.exchange.plane.onAnswerHead(this.exchange, this, head, end);
  }

  onTrailers(_exchange: Http1Exchange, trailers: HeaderList): void {
    if (!this.settled) this.exchange.plane.onAnswerEnd(this.exchange, this, trailers);
  }

  onData(stream: WireStream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.settled) stream.consume(end - start);
    else this.exchange.plane.onAnswerData(this.exchange, this, buffer, start, end, endStream);
  }

  onSent(_stream: WireStream, bytes: number): void {
    // Request bytes left the queue towards the upstream: the caller may send as many again.
    const { down } = this.exchange;
    if (this.exchange.attempt === this) down.consume(Math.min(bytes, down.outstanding));
  }

  onReset(stream: WireStream, errorCode: number): void {
    if (this.settled) return;
    // An idle HTTP/1.1 connection that closed as we used it never saw the request, as far as anybody can tell.
    const unseen = stream.refused || ('canRetry' in stream && stream.canRetry);
    this.exchange.plane.onAnswerReset(this.exchange, this, unseen, errorCode);
  }
}
