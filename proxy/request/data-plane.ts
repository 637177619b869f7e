/**
 * The request path of one data thread: what all requests of it share, and which file each event of a request goes to.
 *
 *   accept stream ▸ head ▸ (model's name from the message)      request-intake.ts
 *   ▸ version, limits, deadline ▸ mirror                        request-routing.ts, cluster-choice.ts, mirroring.ts
 *   ▸ admission ▸ breaker ▸ forward                             attempts.ts, retrying.ts, deadlines.ts, hedging.ts
 *   ▸ answer ▸ fallback if it may and must                      answers.ts, fallback.ts
 *   ▸ respond ▸ record                                          answer-delivery.ts, request-ends.ts
 *
 * Nothing here waits: every step is an event of a stream, a pool or the timer wheel, and moves the exchange on. Rules:
 * an exchange ends exactly once, in `finishRequest`; an attempt is settled exactly once, in `settleAttempt`, which alone
 * tells the breaker and the statistics; nothing is sent elsewhere after a byte of the answer was committed. The files
 * call each other downwards in this list; what goes back up (a failure that starts another attempt) goes through here.
 */
import type { Clock } from '../../base/clock.ts';
import type { ProxyError } from '../../base/proxy-error.ts';
import type { TimerWheel } from '../../base/timer-wheel.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import type { Http1Exchange, Http1Handler } from '../../proto/http1/exchange.ts';
import type { Http2Connection } from '../../proto/http2/connection.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import type { AccessLog } from '../access-log.ts';
import type { EndpointAddress } from '../config/snapshot.ts';
import type { Mesh, MeshCluster } from '../mesh.ts';
import type { HeadPolicy } from '../routing/head-policy.ts';
import type { Mirroring } from '../shadowing/mirroring.ts';
import { ProcessSlot } from '../stats/slots.ts';
import type { Tracer } from '../tracing.ts';
import type { Balanced } from '../upstream/balancer.ts';
import { answerData, answerEnd, answerHead, answerReset } from './answers.ts';
import { attemptWith, forward, unavailable } from './attempts.ts';
import { deadlinePassed } from './deadlines.ts';
import { type Attempt, Exchange } from './exchange.ts';
import { refused } from './fallback.ts';
import type { Hedge } from './hedge.ts';
import { hedgeDue } from './hedging.ts';
import { KeptBodies } from './kept-bodies.ts';
import type { PrimaryProbing } from './primary-probe.ts';
import { callerGone, failRequest, finishRequest, shedRequest } from './request-ends.ts';
import type { RequestGuards } from './request-guards.ts';
import { requestData, requestHead, requestTrailers } from './request-intake.ts';
import { SpecReaders } from './spec-readers.ts';
import type { Tunnels } from './tunnels.ts';

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

export class DataPlane {
  readonly mesh: Mesh;
  /** Exchanges in flight. */
  active = 0;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly mirroring: Mirroring;
  readonly probing: PrimaryProbing;
  readonly tunnels: Tunnels;
  readonly cells: Float64Array;
  readonly maxScanBytes: number;
  readonly random: () => number;
  readonly accessLog: AccessLog | null;
  readonly tracer: Tracer | null;
  readonly guards: RequestGuards;
  readonly readers = new SpecReaders();
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

  // ---- events of the caller's stream ---------------------------------------------------------------------------

  onRequestHead(exchange: Exchange, head: HeaderList, endStream: boolean): void {
    requestHead(this, exchange, head, endStream);
  }

  onRequestData(exchange: Exchange, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    requestData(this, exchange, buffer, start, end, endStream);
  }

  onRequestTrailers(exchange: Exchange, trailers: HeaderList): void {
    requestTrailers(this, exchange, trailers);
  }

  onCallerGone(exchange: Exchange): void {
    callerGone(this, exchange);
  }

  onDeadline(exchange: Exchange, nowMs: number): void {
    deadlinePassed(this, exchange, nowMs);
  }

  onHedgeDue(hedge: Hedge, nowMs: number): void {
    hedgeDue(this, hedge, nowMs);
  }

  /** The thread's memory is short, and this exchange holds most of it. */
  shed(exchange: Exchange): void {
    shedRequest(this, exchange);
  }

  // ---- events of an attempt's connection and stream ------------------------------------------------------------

  forward(exchange: Exchange, attempt: Attempt, connection: Http2Connection | Http1ClientConnection): void {
    forward(this, exchange, attempt, connection);
  }

  onUnavailable(exchange: Exchange, attempt: Attempt, reason: number): void {
    unavailable(this, exchange, attempt, reason);
  }

  onAnswerHead(exchange: Exchange, attempt: Attempt, head: HeaderList, endStream: boolean): void {
    answerHead(this, exchange, attempt, head, endStream);
  }

  onAnswerData(exchange: Exchange, attempt: Attempt, buffer: Buffer, start: number, end: number, last: boolean): void {
    answerData(this, exchange, attempt, buffer, start, end, last);
  }

  onAnswerEnd(exchange: Exchange, attempt: Attempt, last: HeaderList | null): void {
    answerEnd(this, exchange, attempt, last);
  }

  onAnswerReset(exchange: Exchange, attempt: Attempt, unseen: boolean, errorCode: number): void {
    answerReset(this, exchange, attempt, unseen, errorCode);
  }

  // ---- what a later step asks of an earlier one, and what others ask of the path ---------------------------------

  /** Tries the request with a cluster, for an `AnswerReason`; away from the endpoint `avoid`. */
  attemptWith(exchange: Exchange, cluster: MeshCluster, reason: number, avoid: Balanced<unknown> | null = null): void {
    attemptWith(this, exchange, cluster, reason, avoid);
  }

  /** A cluster gave no answer: the next fallback, or the failure itself. */
  refused(exchange: Exchange, reason: number, error: ProxyError): void {
    refused(this, exchange, reason, error);
  }

  /** Answers with a failure of our own. */
  fail(exchange: Exchange, error: ProxyError): void {
    failRequest(this, exchange, error);
  }

  /** Ends the exchange: nothing of it is used again. */
  finish(exchange: Exchange): void {
    finishRequest(this, exchange);
  }
}
