/**
 * One attempt of a request with one cluster, up to the last byte sent: admission, breaker, connection, head and body. What
 * does not get through goes to `fallback.ts`. Rule: an attempt is settled exactly once (`settleAttempt`).
 */
import { ProxyErrors } from '../../base/proxy-error.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import { Http2Connection } from '../../proto/http2/connection.ts';
import { RetryOn } from '../config/snapshot.ts';
import type { MeshCluster } from '../mesh.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { type SpecReader, SpecVerdict } from '../routing/spec-reader.ts';
import { AnswerReason, ClusterRefusal, ClusterSlot, RequestOutcome } from '../stats/slots.ts';
import type { Balanced } from '../upstream/balancer.ts';
import { Unavailable } from '../upstream/wait-queue.ts';
import { admit, refusalError, refusalReason } from './admission.ts';
import type { DataPlane } from './data-plane.ts';
import { limitTry, withTimeLeft } from './deadlines.ts';
import { Attempt, type Exchange, type WireStream } from './exchange.ts';
import { hedgeFailed, refused } from './fallback.ts';
import { changePlaces } from './hedge.ts';
import { boundCopy } from './replay-copy.ts';
import { beginRequest } from './request-accounts.ts';
import { editedRequest } from './request-edits.ts';
import { failRequest, settleAttempt } from './request-ends.ts';
import { attemptsAfterFirst, MAX_REFUSALS, tryAgain } from './retrying.ts';

/** Admission, breaker, connection. A refusal goes to the next fallback or to the caller. */
export function attemptWith(
  plane: DataPlane,
  exchange: Exchange,
  cluster: MeshCluster,
  reason: number,
  avoid: Balanced<unknown> | null = null,
): void {
  const nowMs = plane.clock.nowMs();
  const verdict = admit(plane, cluster, exchange.deadlineMs, nowMs);
  if (verdict < 0) {
    refused(plane, exchange, refusalReason(verdict), refusalError(verdict));
    return;
  }
  const attempt = new Attempt(exchange, cluster, reason, verdict, cluster.breaker.epoch, nowMs);
  exchange.attempt = attempt;
  attempt.left = avoid;
  beginRequest(plane.cells, cluster);
  const attempts = attemptsAfterFirst(cluster);
  if (attempts > 0) limitTry(plane, exchange, cluster, attempts, nowMs);
  cluster.request(attempt, exchange.http1);
}

/** A connection has room: the head and what has arrived of the body go out. */
export function forward(
  plane: DataPlane,
  exchange: Exchange,
  attempt: Attempt,
  connection: Http2Connection | Http1ClientConnection,
): void {
  const { body, traits } = exchange;
  const spec = exchange.reader ?? plane.readers.shared;
  const empty = body === null || body.length === 0;
  const ended = exchange.bodyEnded && empty;
  const { id, config } = attempt.cluster;
  const asks = exchange.governed && traits!.rest !== null;
  const plain = asks ? traits!.restHead(id, config.model, config.version) : traits!.forward;
  const edited = attempt.reason === AnswerReason.PRIMARY ? null : editedRequest(exchange, attempt, plain);
  const rewrites =
    edited === null &&
    exchange.governed &&
    body !== null &&
    traits!.call !== null &&
    needsRewrite(plane, exchange, attempt.cluster, spec);
  let stream: WireStream | null;
  if (connection instanceof Http2Connection) {
    let head = edited !== null ? edited.head : rewrites ? traits!.rewritten : plain;
    if (traits!.timeoutMs > 0) head = withTimeLeft(plane, exchange, head);
    if (exchange.extras !== null) head = exchange.extras.on(head);
    if (head.listSize > connection.peer.maxHeaderListSize) {
      if (attempt !== exchange.attempt) changePlaces(exchange, exchange.hedge!);
      settleAttempt(plane, exchange, attempt, RequestOutcome.CALLER_ERROR, Outcome.IGNORED, -1);
      if (!hedgeFailed(plane, exchange)) failRequest(plane, exchange, ProxyErrors.headTooLarge);
      return;
    }
    stream = connection.openStream(attempt, head, ended);
  } else {
    const head = edited !== null ? edited.head : (exchange.tunnel ?? plain);
    stream = connection.open(attempt, exchange.extras === null ? head : exchange.extras.on(head), ended);
  }
  if (stream === null) {
    // Full since the pool looked, or a head this protocol cannot say: the latter would go round for ever.
    if (attempt.refusals++ < MAX_REFUSALS) attempt.cluster.request(attempt, exchange.http1);
    else unavailable(plane, exchange, attempt, Unavailable.PENDING_FULL);
    return;
  }
  attempt.stream = stream;
  attempt.connection = connection;
  if (edited !== null) {
    stream.sendData(edited.body, 0, edited.body.length, true);
  } else if (rewrites) {
    spec.send(stream, exchange.bodyEnded);
  } else if (!empty) {
    stream.sendData(body.buffer, 0, body.length, exchange.bodyEnded);
  }
  const { down } = exchange;
  if (down.outstanding > stream.queuedBytes) down.consume(down.outstanding - stream.queuedBytes);
  if (!exchange.keepsBody) plane.bodies.drop(exchange);
  else if (!empty) boundCopy(plane, exchange);
}

/** Plans the rewrite of the spec when the cluster asks for another model or version than the caller wrote. */
function needsRewrite(plane: DataPlane, exchange: Exchange, cluster: MeshCluster, spec: SpecReader): boolean {
  const body = exchange.body!;
  const { encoding, call } = exchange.traits!;
  const kind = call!.requestKind;
  if (spec === exchange.reader) {
    spec.extend(body.buffer, body.length);
  } else if (plane.readers.sharedBy !== exchange) {
    // The shared reader has read another request since: read again, it costs less than keeping the result.
    plane.readers.sharedBy = exchange;
    const verdict = spec.read(body.buffer, body.length, exchange.bodyEnded, kind, encoding);
    if (verdict !== SpecVerdict.FOUND) return false;
  }
  return spec.rewrite(cluster.config.model, cluster.config.version, cluster.target);
}

/** No connection could be had, for an `Unavailable` reason. */
export function unavailable(plane: DataPlane, exchange: Exchange, attempt: Attempt, reason: number): void {
  if (attempt.settled) return;
  if (attempt !== exchange.attempt) changePlaces(exchange, exchange.hedge!);
  const { statsBase } = attempt.cluster.config;
  if (reason === Unavailable.PENDING_FULL) {
    plane.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.PENDING]! += 1;
    settleAttempt(plane, exchange, attempt, RequestOutcome.OVERLOADED, Outcome.IGNORED, -1);
    refused(plane, exchange, AnswerReason.OVERFLOW, ProxyErrors.pendingOverflow);
  } else if (reason === Unavailable.NO_ENDPOINT) {
    plane.cells[statsBase + ClusterSlot.REFUSALS + ClusterRefusal.NO_ENDPOINT]! += 1;
    settleAttempt(plane, exchange, attempt, RequestOutcome.CONNECT_FAILED, Outcome.IGNORED, -1);
    refused(plane, exchange, AnswerReason.CONNECT_FAILED, ProxyErrors.noHealthyEndpoint);
  } else {
    connectFailed(plane, exchange, attempt);
  }
}

/** The endpoint could not be reached: another one, or the next cluster. */
export function connectFailed(plane: DataPlane, exchange: Exchange, attempt: Attempt): void {
  if (attempt !== exchange.attempt) changePlaces(exchange, exchange.hedge!);
  const nowMs = plane.clock.nowMs();
  const result = RequestOutcome.CONNECT_FAILED;
  if (tryAgain(plane, exchange, attempt, RetryOn.CONNECT_FAILED, result, -1, nowMs)) return;
  settleAttempt(plane, exchange, attempt, result, Outcome.FAILURE, -1, nowMs);
  refused(plane, exchange, AnswerReason.CONNECT_FAILED, ProxyErrors.connectFailed);
}
