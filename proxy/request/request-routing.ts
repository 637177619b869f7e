/**
 * From what a request names to its first attempt: the model's policy, the version, rate limits and drills, deadline, who is
 * shown it, whether its answer is held, and whether it begins with the fallback because its model is degraded. Which
 * cluster it is to be is chosen in `cluster-choice.ts`.
 */
import { ProxyErrors } from '../../base/proxy-error.ts';
import type { GuardSubject } from '../config/guard-snapshot.ts';
import type { UpgradePolicy } from '../config/snapshot.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import { ModelStream } from '../model-stream/model-stream.ts';
import { carryPipeline } from '../pipeline-request/pipeline-call.ts';
import { MAX_KEYED_BYTES } from '../routing/input-value.ts';
import type { RestCall } from '../routing/rest-path.ts';
import type { SpecReader } from '../routing/spec-reader.ts';
import { AnswerReason } from '../stats/slots.ts';
import { attemptWith } from './attempts.ts';
import { acquireBody, releaseBody } from './body-buffer.ts';
import { chooseVersion, clusterOfCaller, clusterOfUnknownModel } from './cluster-choice.ts';
import type { DataPlane } from './data-plane.ts';
import { limitTime } from './deadlines.ts';
import { type Exchange, Stage } from './exchange.ts';
import { fallBack } from './fallback.ts';
import { armHedge } from './hedging.ts';
import { failRequest } from './request-ends.ts';
import { allowRetries } from './retrying.ts';
import { DEFAULT_UPGRADES, upgradeHead } from './tunnels.ts';

/** Requests up to this size are kept until they are answered even if no policy may need them, to be sent again if refused. */
const RESENT_BYTES = 16_384;

/** The model is known: its policy, its version, and whether the request is mirrored. */
export function routeModelCall(plane: DataPlane, exchange: Exchange, spec: SpecReader): void {
  const model = plane.mesh.models.get(spec.name);
  exchange.stage = Stage.FORWARDING;
  if (exchange.waitingBytes > 0) plane.bodies.stopWaiting(exchange);
  if (model === undefined) {
    routeUnknownModel(plane, exchange, spec.name);
    return;
  }
  exchange.model = model;
  if (isLimited(plane, 'model', model.config.name, exchange)) return;
  exchange.keepsBody = model.fallbacks.length > 0 || model.shadows.length > 0 || exchange.body!.length <= RESENT_BYTES;
  const cluster = chooseVersion(plane.mesh, plane.random, exchange, model, spec.pinned, spec.version, spec.mixed);
  const { isInference: infers, isStream } = exchange.traits!.call!;
  if (isStream && !exchange.http1) {
    carryStream(plane, exchange, model, cluster, spec.label);
    return;
  }
  exchange.infers = infers;
  prepareCall(plane, exchange, model, cluster);
  beginWithModel(plane, exchange, cluster);
  if (exchange.bodyEnded && exchange.probes) probe(plane, exchange);
  if (!exchange.bodyEnded || exchange.mirrored === null) return;
  const isShared = exchange.reader === null && plane.readers.sharedBy === exchange;
  plane.mirroring.send(exchange, isShared ? spec : null);
}

/** Once the cluster is known: its deadline, who is shown the request, and whether the answer is held. */
function prepareCall(plane: DataPlane, exchange: Exchange, model: MeshModel, cluster: MeshCluster): void {
  const { infers } = exchange;
  limitTime(plane, exchange, cluster, infers);
  withholdIfDegraded(plane, exchange, cluster);
  if (exchange.governed && infers && model.shadows.length > 0 && exchange.withheldFrom === null) {
    exchange.mirrored = plane.mirroring.select(exchange, model, cluster, exchange.startedMs);
    exchange.wasMirrored = exchange.mirrored !== null;
  }
  exchange.holds =
    exchange.governed &&
    infers &&
    (model.fallbacks.length > 0 ||
      exchange.mirrored?.captured === true ||
      model.config.checkOutputs ||
      model.changes.ofPrimaries);
  allowRetries(exchange, cluster, exchange.infers);
}

/** A stream of messages goes its own way from here: `down` no longer speaks to the exchange. */
function carryStream(
  plane: DataPlane,
  exchange: Exchange,
  model: MeshModel,
  cluster: MeshCluster,
  version: string,
): void {
  plane.wheel.disarm(exchange);
  plane.bodies.forget(exchange);
  const body = exchange.body!;
  exchange.body = null;
  plane.bodies.hold(-body.length);
  const stream = new ModelStream(plane, exchange, model, cluster, version);
  exchange.down.handler = stream;
  stream.start(body.buffer, body.length);
  releaseBody(body);
}

/** A REST call: the path says it all, so it goes on before its body has come. */
export function routeRest(plane: DataPlane, exchange: Exchange, rest: RestCall): void {
  const model = plane.mesh.models.get(rest.model);
  exchange.stage = Stage.FORWARDING;
  if (!exchange.bodyEnded) exchange.body = acquireBody();
  if (model === undefined) {
    routeUnknownModel(plane, exchange, rest.model);
    return;
  }
  exchange.model = model;
  if (isLimited(plane, 'model', model.config.name, exchange)) return;
  if (waitsForInput(exchange, model, rest)) exchange.stage = Stage.AWAITING_SPEC;
  else sendRest(plane, exchange, model, rest);
}

/** Which version a REST call gets is to be decided by an input that is still to come; the length says it is not too long. */
function waitsForInput(exchange: Exchange, { config, split }: MeshModel, rest: RestCall): boolean {
  if (config.stickyInput === '' || split.length === 1 || rest.pinned || !rest.isInference || exchange.bodyEnded)
    return false;
  const length = exchange.head!.get('content-length');
  return length === undefined || Number(length) <= MAX_KEYED_BYTES;
}

/** More has come of a REST call whose version an input decides. */
export function restBodyCame(plane: DataPlane, exchange: Exchange): void {
  if (exchange.bodyEnded || exchange.body!.length > MAX_KEYED_BYTES) {
    if (exchange.waitingBytes > 0) plane.bodies.stopWaiting(exchange);
    exchange.stage = Stage.FORWARDING;
    sendRest(plane, exchange, exchange.model!, exchange.traits!.rest!);
  } else if (plane.bodies.wait(exchange)) {
    exchange.down.consume(exchange.down.outstanding);
  } else {
    failRequest(plane, exchange, ProxyErrors.memoryOverflow);
  }
}

function sendRest(plane: DataPlane, exchange: Exchange, model: MeshModel, rest: RestCall): void {
  const cluster = chooseVersion(plane.mesh, plane.random, exchange, model, rest.pinned, rest.version, false);
  exchange.infers = rest.isInference;
  exchange.keepsBody = model.fallbacks.length > 0 || model.shadows.length > 0;
  prepareCall(plane, exchange, model, cluster);
  beginWithModel(plane, exchange, cluster);
  if (exchange.bodyEnded && exchange.probes) probe(plane, exchange);
  if (exchange.bodyEnded && exchange.mirrored !== null) plane.mirroring.send(exchange, null);
}

/** While a model is degraded a share of its requests is kept from the primary, and some of those are shown to it. */
function withholdIfDegraded(plane: DataPlane, exchange: Exchange, cluster: MeshCluster): void {
  const { gate, split } = exchange.model!;
  if (gate === null || !exchange.governed || !exchange.infers || !split.includes(cluster)) return;
  if (gate.admits(plane.random)) return;
  exchange.withheldFrom = cluster;
  exchange.probes = gate.takesProbe(plane.clock.nowMs());
}

/** The first attempt: with the primary, or with the fallback the primary's requests are to go to. */
function beginWithModel(plane: DataPlane, exchange: Exchange, cluster: MeshCluster): void {
  const model = exchange.model!;
  if (exchange.withheldFrom !== null) {
    fallBack(plane, exchange, AnswerReason.DEGRADED);
    return;
  }
  if (model.hedgeTiming !== null && exchange.governed && exchange.infers) armHedge(plane, exchange, cluster);
  attemptPrimary(plane, exchange, cluster, 'model', model.config.name);
}

/** A request that was kept from its degraded primary is shown to it; the caller waits for neither. */
export function probe(plane: DataPlane, exchange: Exchange): void {
  exchange.probes = false;
  if (exchange.withheldFrom !== null) plane.probing.send(exchange, exchange.withheldFrom, exchange.model!.gate!);
}

/** A model no entry names: a pipeline, or on to where the caller meant, untouched, or to the default cluster. */
function routeUnknownModel(plane: DataPlane, exchange: Exchange, name: string): void {
  const pipeline = plane.mesh.pipelines?.get(name);
  if (pipeline !== undefined) {
    if (!isLimited(plane, 'model', name, exchange)) carryPipeline(plane, exchange, pipeline);
    return;
  }
  const cluster = clusterOfUnknownModel(plane.mesh, exchange);
  if (cluster === null) failRequest(plane, exchange, ProxyErrors.routeNotFound);
  else attemptWith(plane, exchange, cluster, AnswerReason.PRIMARY);
}

/** Not a model call: on to where the caller meant, or to the configured upstream. */
export function passThrough(plane: DataPlane, exchange: Exchange): void {
  const cluster = clusterOfCaller(plane.mesh, exchange);
  if (cluster === null) failRequest(plane, exchange, ProxyErrors.routeNotFound);
  else relay(plane, exchange, cluster, DEFAULT_UPGRADES);
}

/** Untouched to a cluster; `policy` is that of a route with fallbacks. */
export function relay(
  plane: DataPlane,
  exchange: Exchange,
  cluster: MeshCluster,
  upgrades: UpgradePolicy,
  route = '',
  policy: MeshModel | null = null,
): void {
  exchange.stage = Stage.FORWARDING;
  const { down, bodyEnded } = exchange;
  // With a body in front of it, what the upgrade's bytes are could be read in two ways.
  if (bodyEnded && 'upgradeAsked' in down && down.head!.upgrade)
    exchange.tunnel = upgradeHead(exchange.head!, exchange.traits!.forward, upgrades);
  // What arrives before there is a connection has to be kept; after that it streams.
  if (!exchange.bodyEnded) exchange.body = acquireBody();
  if (policy !== null) followPolicy(exchange, policy);
  allowRetries(exchange, cluster, exchange.infers);
  limitTime(plane, exchange, cluster, exchange.infers);
  attemptPrimary(plane, exchange, cluster, 'route', route);
}

/** A route with fallbacks: its HTTP requests are kept and their answers held, as a model's are. */
function followPolicy(exchange: Exchange, policy: MeshModel): void {
  const { grpc, isConnect } = exchange.traits!;
  if (grpc || isConnect || exchange.tunnel !== null) return;
  exchange.model = policy;
  exchange.governed = true;
  exchange.infers = true;
  exchange.keepsBody = policy.fallbacks.length > 0;
  exchange.holds = true;
}

/** Answers the request if it is above a rate limit. */
export function isLimited(plane: DataPlane, kind: GuardSubject['kind'], name: string, exchange: Exchange): boolean {
  if (!plane.guards.active || plane.guards.admits(kind, name, plane.clock.nowMs())) return false;
  failRequest(plane, exchange, ProxyErrors.rateLimited);
  return true;
}

/** The primary, or the fault that a drill puts in front of it. */
function attemptPrimary(
  plane: DataPlane,
  exchange: Exchange,
  cluster: MeshCluster,
  kind: 'route' | 'model',
  name: string,
): void {
  if (plane.guards.active && plane.guards.injects(exchange, cluster, kind, name)) return;
  attemptWith(plane, exchange, cluster, AnswerReason.PRIMARY);
}
