/**
 * Where a request's bytes come in: its head, its data, its trailers. What says where it goes is found here (a route, the
 * path of a REST call, the ModelSpec of the first message); `request-routing.ts` then sends it there. Bytes that come
 * later go straight on to the upstream, and into the kept copy where there is one.
 */
import { ProxyErrors } from '../../base/proxy-error.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import { withoutInternal } from '../routing/head-policy.ts';
import { RequestTraits } from '../routing/request-traits.ts';
import { SpecVerdict } from '../routing/spec-reader.ts';
import { RequestOutcome } from '../stats/slots.ts';
import { acquireBody } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import { type Exchange, Stage } from './exchange.ts';
import { keepBody, showComplete } from './replay-copy.ts';
import { failRequest, settleAttempt } from './request-ends.ts';
import { nameRequest, trustHead } from './request-extras.ts';
import { isLimited, passThrough, probe, relay, restBodyCame, routeModelCall, routeRest } from './request-routing.ts';
import { progress } from './whole-requests.ts';

/** The head of a request: a route takes it, a REST path names its model, or its message is waited for. */
export function requestHead(plane: DataPlane, exchange: Exchange, read: HeaderList, endStream: boolean): void {
  const head = exchange.heads.prepare(read, exchange.down.connection.io);
  const traits = RequestTraits.of(head);
  exchange.head = head;
  exchange.traits = traits;
  exchange.bodyEnded = endStream;
  if (exchange.heads.makesRequestIds) nameRequest(exchange);
  if (plane.tracer !== null) plane.tracer.begin(exchange);
  if (traits.timeoutMs > 0) {
    exchange.deadlineMs = exchange.startedMs + traits.timeoutMs;
    exchange.dueMs = exchange.deadlineMs;
    plane.wheel.arm(exchange, exchange.deadlineMs);
  }
  const { routes, snapshot } = plane.mesh;
  plane.guards.use(snapshot);
  if (isLimited(plane, 'listener', exchange.heads.rules.side, exchange)) return;
  const route = routes === null ? -1 : routes.match(head, traits);
  const taken = route < 0 ? null : snapshot.routes[route]!;
  exchange.routeBase = taken === null ? snapshot.unroutedStatsBase : taken.statsBase;
  if (taken !== null) exchange.route = taken.name;
  if (traits.isConnect && (route < 0 || !snapshot.routes[route]!.connect)) {
    failRequest(plane, exchange, ProxyErrors.methodNotAllowed);
    return;
  }
  if (route >= 0) {
    if (snapshot.routes[route]!.trustsInternal) trustHead(exchange, read);
    const { name, upgrade } = snapshot.routes[route]!;
    if (!isLimited(plane, 'route', name, exchange))
      relay(plane, exchange, plane.mesh.routeClusters[route]!, upgrade, name, plane.mesh.routePolicies[route]!);
    return;
  }
  if (traits.call === null) {
    if (traits.rest !== null) routeRest(plane, exchange, traits.rest);
    else passThrough(plane, exchange);
    return;
  }
  exchange.stage = Stage.AWAITING_SPEC;
  exchange.body = acquireBody();
  if (endStream) failRequest(plane, exchange, ProxyErrors.missingModel);
}

/** Bytes of its body: on to the upstream, or to where the model's name is looked for. */
export function requestData(
  plane: DataPlane,
  exchange: Exchange,
  buffer: Buffer,
  start: number,
  end: number,
  endStream: boolean,
): void {
  const { down, attempt } = exchange;
  if (exchange.stage === Stage.DONE) {
    down.consume(end - start);
    return;
  }
  exchange.bodyBytes += end - start;
  if (endStream) exchange.bodyEnded = true;
  if (exchange.stage === Stage.AWAITING_SPEC) {
    plane.bodies.append(exchange, exchange.body!, buffer, start, end);
    readOn(plane, exchange);
    return;
  }
  // No attempt yet: it waits for an injected delay.
  const stream = attempt?.stream ?? null;
  const { reader } = exchange;
  if (reader !== null && (!reader.watch(buffer, start, end) || (endStream && reader.isCut))) {
    contradicted(plane, exchange);
    return;
  }
  const { copy } = exchange;
  if (exchange.body !== null) keepBody(plane, exchange, buffer, start, end, stream === null && !exchange.waitsForBody);
  if (stream !== null) down.consume(stream.sendData(buffer, start, end, endStream));
  if (copy !== null) copy.add(buffer, start, end, false);
  if (endStream && attempt !== null) attempt.askedMs = plane.clock.nowMs();
  if (endStream && exchange.mirrored !== null) showComplete(plane, exchange);
  if (endStream && exchange.probes) probe(plane, exchange);
  if (exchange.waitsForBody) progress(plane, exchange, end - start);
}

/** Its trailers, and with them its end. */
export function requestTrailers(plane: DataPlane, exchange: Exchange, trailers: HeaderList): void {
  exchange.bodyEnded = true;
  const stream = exchange.attempt?.stream ?? null;
  if (exchange.stage === Stage.AWAITING_SPEC) readOn(plane, exchange);
  else if (exchange.reader?.isCut) contradicted(plane, exchange);
  else {
    if (stream !== null) stream.sendHeaders(withoutInternal(trailers), true);
    if (exchange.probes) probe(plane, exchange);
    if (exchange.mirrored !== null) showComplete(plane, exchange);
    if (exchange.waitsForBody) progress(plane, exchange, 0);
  }
}

/** More has come of what decides where the request goes. */
function readOn(plane: DataPlane, exchange: Exchange): void {
  if (exchange.traits!.call === null) restBodyCame(plane, exchange);
  else readSpec(plane, exchange);
}

/** Looks for the model's name in what has arrived of the message. */
function readSpec(plane: DataPlane, exchange: Exchange): void {
  const body = exchange.body!;
  const { encoding, call } = exchange.traits!;
  const kind = call!.requestKind;
  const own = exchange.reader;
  const spec = own ?? plane.readers.shared;
  if (own === null) plane.readers.sharedBy = exchange;
  const verdict =
    own === null
      ? spec.read(body.buffer, body.length, exchange.bodyEnded, kind, encoding)
      : own.readOn(body.buffer, body.length, exchange.bodyEnded, kind, encoding);
  switch (verdict) {
    case SpecVerdict.FOUND:
      if (spec.early && own === null) plane.readers.give(exchange);
      routeModelCall(plane, exchange, spec);
      return;
    case SpecVerdict.NEED_MORE:
      if (own === null) plane.readers.give(exchange);
      if (body.length > plane.maxScanBytes) failRequest(plane, exchange, ProxyErrors.requestTooLarge);
      else if (!plane.bodies.wait(exchange)) failRequest(plane, exchange, ProxyErrors.memoryOverflow);
      else exchange.down.consume(exchange.down.outstanding);
      return;
    case SpecVerdict.ABSENT:
      failRequest(plane, exchange, ProxyErrors.missingModel);
      return;
    case SpecVerdict.UNKNOWN_ENCODING:
      failRequest(plane, exchange, ProxyErrors.unknownEncoding);
      return;
    case SpecVerdict.TOO_LARGE:
      failRequest(plane, exchange, ProxyErrors.requestTooLarge);
      return;
    default:
      failRequest(plane, exchange, ProxyErrors.badRequest);
  }
}

/** A long message on its way named its model again, or ended before its end: whatever the upstream made of it, not this. */
function contradicted(plane: DataPlane, exchange: Exchange): void {
  const { attempt } = exchange;
  if (attempt !== null && !attempt.settled) {
    settleAttempt(plane, exchange, attempt, RequestOutcome.CANCELLED, Outcome.IGNORED, -1);
    attempt.stream?.reset(ErrorCode.CANCEL);
  }
  failRequest(plane, exchange, ProxyErrors.badRequest);
}
