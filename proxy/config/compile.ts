/**
 * Settings, shorthands and document to one snapshot.
 *
 * The snapshot is built aside, checked whole, given its places and frozen; nothing half-valid ever leaves this file.
 * The document and the shorthand add up: a model, and the passthrough, may be written in either place but not in
 * both, because a silent winner would hide what the loser's writer meant.
 */

import { dtypeToOip } from '../../proto/tensor/dtype.ts';
import type { Allocate } from './allocation.ts';
import { type ClusterDraft, ClusterSet } from './cluster-set.ts';
import { readNode } from './document.ts';
import { type ConfigDocument, DOCUMENT_SCHEMA } from './document-fields.ts';
import type { Environment } from './env.ts';
import { checkGuards, placeGuards } from './guard-check.ts';
import { checkModel, type ModelDraft, type RoleAddresses } from './model-check.ts';
import { documentEntry, type ModelEntry, shorthandEntry } from './model-entry.ts';
import { checkPipelines, placePipelines } from './pipeline-check.ts';
import { checkPolicy, combinePolicy } from './policy-levels.ts';
import { ProblemList } from './problem.ts';
import { PROCESS_FIELDS, type ProcessSettings } from './process-fields.ts';
import { checkRoutes } from './route-check.ts';
import type { ClusterSnapshot, MeshSnapshot, ModelSnapshot } from './snapshot.ts';
import { checkUpstream, combineUpstream } from './upstream-levels.ts';

/** In metrics, the route of requests that no route takes. */
export const UNROUTED = '-';
/** The cluster of models that no entry names, and that of traffic that is no model call. */
export const OTHER_MODELS_CLUSTER = '@worker';
export const PASSTHROUGH_CLUSTER = '@passthrough';
/** Stands in the metrics for all destinations that connections were redirected from. */
export const ORIGINAL_DESTINATION_CLUSTER = '@original';

/** The document of a process that has none. */
export const EMPTY_DOCUMENT: ConfigDocument = readNode(DOCUMENT_SCHEMA, new Map(), '', new ProblemList());

/**
 * Compiles one snapshot. Mistakes go to `problems`, and then the result is null and no place has been asked for,
 * except when there was no room for all of them.
 */
export function compileMesh(
  environment: Environment,
  document: ConfigDocument,
  allocate: Allocate,
  revision: number,
  problems: ProblemList,
): MeshSnapshot | null {
  const { settings } = environment;
  const addresses = roleAddresses(settings);
  checkPolicy(combinePolicy(document.defaults, null, true), 'defaults', problems);
  checkUpstream(combineUpstream(document.defaults, null, true), 'defaults', problems);
  const clusters = new ClusterSet(document.defaults, addresses.worker, problems);
  for (const [i, cluster] of document.clusters.entries()) clusters.declare(cluster, `clusters[${i}]`);
  const models: ModelDraft[] = [];
  for (const entry of modelEntries(environment, document, problems)) {
    models.push(checkModel(entry, clusters, addresses, problems));
  }
  const otherModels = settings.outboundOtherModels === 'worker';
  const own = otherModels ? clusters.addOwn(OTHER_MODELS_CLUSTER, addresses.worker) : null;
  const routes = checkRoutes(document.routes, clusters, problems);
  const passthrough = resolvePassthrough(settings, document, clusters, problems);
  const known = models.map(({ rest, fallbacks }) => ({
    name: rest.name,
    hasFallback: fallbacks.length > 0,
    outputs: rest.outputs.map(({ name, dtype }) => ({ name, dtype: dtype === 0 ? null : dtypeToOip(dtype) })),
  }));
  const pipelines = checkPipelines(document, known, problems);
  const guards = checkGuards(document, new Set([...known, ...pipelines].map(({ name }) => name)), problems);
  if (problems.length > 0) return null;
  clusters.finish();
  const indexes = new Map(clusters.drafts.map((draft, i) => [draft, i]));
  const indexOf = (draft: ClusterDraft | null): number => (draft === null ? -1 : indexes.get(draft)!);
  const passthroughCluster = indexOf(passthrough);
  try {
    return deepFreeze({
      revision,
      clusters: clusters.drafts.map((draft) => placeCluster(draft, allocate)),
      models: models.map((draft) => placeModel(draft, indexOf, allocate)),
      pipelines: placePipelines(pipelines, allocate),
      routes: routes.map(({ rest, cluster, steps }) => ({
        ...rest,
        policy: steps === null ? null : placeModel(steps, indexOf, allocate),
        cluster: indexOf(cluster),
        statsBase: allocate('route', rest.name, [rest.name]),
      })),
      unroutedStatsBase: allocate('route', UNROUTED, [UNROUTED]),
      ...placeGuards(guards, allocate),
      defaultModelCluster: otherModels ? indexOf(own) : passthroughCluster,
      passthroughCluster,
      originalDestination: placeCluster(originalDestination(document), allocate),
      maxReplayBytesTotal: settings.outboundMaxReplayBytes,
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    problems.add('clusters', undefined, error.message, 'a restart forgets the names that are no longer used');
    return null;
  }
}

/** Where targets go that name no address. */
export function roleAddresses(settings: ProcessSettings): RoleAddresses {
  const worker = settings.outboundWorkerAddress;
  return { worker, fallbackWorker: settings.outboundFallbackWorkerAddress ?? worker };
}

/** The models of both places. A repeated name is reported; the entry stays, so that its other mistakes are found too. */
function modelEntries(environment: Environment, document: ConfigDocument, problems: ProblemList): ModelEntry[] {
  const entries = [...environment.shorthands.map(shorthandEntry), ...document.models.map(documentEntry)];
  const first = new Map<string, ModelEntry>();
  for (const entry of entries) {
    const { name } = entry.model;
    if (name === '') continue;
    const known = first.get(name);
    if (known === undefined) {
      first.set(name, entry);
    } else {
      const hint = `${known.path} configures it; write a model in one place`;
      problems.add(entry.path.startsWith('models[') ? entry.at('name') : entry.path, name, 'a model of its own', hint);
    }
  }
  return entries;
}

function resolvePassthrough(
  settings: ProcessSettings,
  { passthrough }: ConfigDocument,
  clusters: ClusterSet,
  problems: ProblemList,
): ClusterDraft | null {
  const upstream = settings.outboundUpstreamAddress;
  if (passthrough === null) return upstream === null ? null : clusters.addOwn(PASSTHROUGH_CLUSTER, upstream);
  if (problems.covers('passthrough')) return null;
  if (upstream !== null) {
    const name = PROCESS_FIELDS.outboundUpstreamAddress.environment;
    problems.add('passthrough', undefined, `nothing here, since ${name} is set`, 'write it in one place');
    return null;
  }
  const { cluster, address } = passthrough;
  if ((cluster === null) === (address === null)) {
    problems.add('passthrough', undefined, 'exactly one of the keys cluster and address');
    return null;
  }
  if (address !== null) return clusters.addOwn(PASSTHROUGH_CLUSTER, address);
  const draft = clusters.find(cluster!, 'passthrough.cluster');
  if (draft === null || draft.model === '') return draft;
  problems.add('passthrough.cluster', cluster!, 'a cluster that names no model', `see ${draft.path}`);
  return null;
}

function originalDestination(document: ConfigDocument): Omit<ClusterDraft, 'path' | 'declared'> {
  const policy = combinePolicy(document.defaults, null, false);
  const common = combineUpstream(document.defaults, null, false);
  // One address each: there is no other to send to in its stead.
  const outlier = { guard: { ...common.outlier.guard, enabled: false }, maxEjectedFraction: 0 };
  const upstream = { ...common, outlier };
  return { name: ORIGINAL_DESTINATION_CLUSTER, model: '', version: '', endpoints: [], tls: null, policy, upstream };
}

function placeCluster(draft: Omit<ClusterDraft, 'path' | 'declared'>, allocate: Allocate): ClusterSnapshot {
  const { name, model, version, endpoints, tls, policy, upstream } = draft;
  return {
    name,
    model,
    version,
    endpoints,
    tls,
    endpointPlaces: [],
    ...upstream,
    ...policy,
    statsBase: allocate('cluster', name, [name, draft.model, draft.version]),
    breakerIndex: allocate('breaker', name, [name]),
  };
}

function placeModel(draft: ModelDraft, indexOf: (draft: ClusterDraft) => number, allocate: Allocate): ModelSnapshot {
  const { rest, split, shadows, fallbacks, pins, degradation } = draft;
  return {
    ...rest,
    pins: pins.map(({ header, value, cluster }) => ({ header, value, cluster: indexOf(cluster) })),
    degradation:
      degradation === null ? null : { ...degradation, place: allocate('degradation', rest.name, [rest.name]) },
    split: split.map(({ cluster, weightHundredths }) => ({ cluster: indexOf(cluster), weightHundredths })),
    fallbacks: fallbacks.map((step) => ({ ...step, cluster: indexOf(step.cluster) })),
    secondaries: (shadows.length > 0 && rest.comparison.noiseFloorHundredths > 0 ? split : []).map(({ cluster }) => ({
      cluster: indexOf(cluster),
      percentHundredths: rest.comparison.noiseFloorHundredths,
      maxConcurrent: SECONDARY_CONCURRENT,
      maxBytes: SECONDARY_BYTES,
      maxComparisonsPerSecond: 0,
      statsBase: placeSecondary(rest.name, cluster, allocate),
    })),
    shadows: shadows.map(({ cluster, ...bounds }) => ({
      ...bounds,
      cluster: indexOf(cluster),
      statsBase: allocate('shadow', `${rest.name}/${cluster.name}`, [rest.name, cluster.name, cluster.version]),
    })),
  };
}

function placeSecondary(model: string, { name, version }: ClusterDraft, allocate: Allocate): number {
  const label = secondaryName(name);
  return allocate('shadow', `${model}/${label}`, [model, label, version]);
}

/** Bounds of what the noise floor has under way: a share of a share needs little. */
const SECONDARY_CONCURRENT = 64;
const SECONDARY_BYTES = 16 * 1024 * 1024;

/** How a cluster is called in metrics while it is asked again. */
export function secondaryName(cluster: string): string {
  return `${cluster}/again`;
}

/** Freezes a tree of plain values. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const child of Object.values(value)) deepFreeze(child);
  return Object.freeze(value);
}
