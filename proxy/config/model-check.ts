/** Models as the snapshot wants them, short of places: references resolved, shares filled in, every rule checked. */

import { GrpcStatus } from '../../base/grpc-status.ts';
import { formatPercent } from '../../base/units.ts';
import type { ClusterDraft, ClusterSet } from './cluster-set.ts';
import { checkComparison, checkPins, checkSticky, type PinDraft } from './comparison-check.ts';
import { checkDegradation } from './degradation-fields.ts';
import { checkAdapt, checkLocal, declaredSignature } from './fallback-check.ts';
import { checkHedge } from './hedge-fields.ts';
import type { ModelEntry } from './model-entry.ts';
import { isAscending } from './model-target.ts';
import { checkDeclaredOutputs } from './output-fields.ts';
import { isWritten } from './policy-levels.ts';
import type { ProblemList } from './problem.ts';
import type {
  CohortPolicy,
  DegradationPolicy,
  EndpointAddress,
  FallbackSnapshot,
  ModelSnapshot,
  ShadowSnapshot,
} from './snapshot.ts';

const ALL_HUNDREDTHS = 10_000;

/** Statuses that blame the server: an answer from somewhere else may be better. */
const SERVER_FAULTS: readonly number[] = [
  GrpcStatus.UNKNOWN,
  GrpcStatus.DEADLINE_EXCEEDED,
  GrpcStatus.NOT_FOUND,
  GrpcStatus.RESOURCE_EXHAUSTED,
  GrpcStatus.INTERNAL,
  GrpcStatus.UNAVAILABLE,
  GrpcStatus.DATA_LOSS,
];

/** Share of the deadline the primary has before its fallback is tried. */
const PRIMARY_BUDGET_FRACTION = 0.8;

export interface ShareDraft {
  readonly cluster: ClusterDraft;
  readonly weightHundredths: number;
}

export interface ModelDraft {
  readonly split: readonly ShareDraft[];
  readonly shadows: readonly (Omit<ShadowSnapshot, 'cluster' | 'statsBase'> & { readonly cluster: ClusterDraft })[];
  readonly fallbacks: readonly (Omit<FallbackSnapshot, 'cluster'> & { readonly cluster: ClusterDraft })[];
  readonly degradation: Omit<DegradationPolicy, 'place'> | null;
  /** Everything that does not depend on places. */
  readonly rest: Omit<ModelSnapshot, 'split' | 'shadows' | 'secondaries' | 'fallbacks' | 'pins' | 'degradation'>;
  readonly pins: readonly PinDraft[];
}

/** Addresses of targets that name none. */
export interface RoleAddresses {
  readonly worker: EndpointAddress;
  readonly fallbackWorker: EndpointAddress;
}

/** Checks one model. What is wrong goes to `problems`; the draft is then incomplete and must not be used. */
export function checkModel(
  entry: ModelEntry,
  clusters: ClusterSet,
  addresses: RoleAddresses,
  problems: ProblemList,
): ModelDraft {
  const { model } = entry;
  const draft: ModelDraft = {
    split: checkSplit(entry, clusters, addresses, problems),
    shadows: checkShadows(entry, clusters, addresses, problems),
    fallbacks: checkFallbacks(entry, clusters, addresses, problems),
    pins: checkPins(entry, clusters, addresses.worker),
    degradation: checkDegradation(model.degradation, model.fallback.length > 0, entry.at, problems),
    rest: policyOf(entry, problems),
  };
  checkRoles(entry, draft, problems);
  clusters.checkLevel(model, entry.path);
  const targets = [...model.split, ...model.shadows, ...model.fallback, ...model.pins];
  if (isWritten(model) && targets.every((target) => target.model === null) && !problems.covers(entry.path)) {
    const hint = 'write it there';
    problems.add(entry.path, model.name, 'breaker, timeouts and limits on the clusters, which are all declared', hint);
  }
  return draft;
}

/** Everything of a model's policy that names no cluster. */
export function policyOf(entry: ModelEntry, problems: ProblemList): ModelDraft['rest'] {
  const { model } = entry;
  const sticky = checkSticky(entry, problems);
  return {
    name: model.name,
    stickyHeader: sticky.header,
    stickyInput: sticky.input,
    salt: model.sticky?.salt ?? model.name,
    fallbackStatuses: model.fallbackStatuses ?? SERVER_FAULTS,
    hedge: checkHedge(model.hedge, model.fallback.length > 0, entry.at, problems),
    primaryBudgetFraction: primaryBudget(entry),
    maxReplayBytes: model.maxReplaySize,
    cohort: checkCohort(entry, problems),
    comparison: checkComparison(entry, problems),
    versionOutput: model.modelVersionOutput ?? '',
    isRoute: false,
    checkOutputs: model.checkOutputs ?? model.outputs.length > 0,
    outputs: checkDeclaredOutputs(entry, problems),
  };
}

function primaryBudget({ model }: ModelEntry): number {
  if (model.primaryBudget !== null) return model.primaryBudget / ALL_HUNDREDTHS;
  return model.fallback.length === 0 ? 1 : PRIMARY_BUDGET_FRACTION;
}

function checkSplit(
  { model, at }: ModelEntry,
  clusters: ClusterSet,
  addresses: RoleAddresses,
  problems: ProblemList,
): ShareDraft[] {
  if (model.split.length === 0) {
    if (!problems.covers(at('split'))) problems.add(at('split'), undefined, 'at least one share');
    return [];
  }
  const written = model.split.reduce((sum, share) => sum + (share.weight ?? 0), 0);
  const open = model.split.filter((share) => share.weight === null).length;
  if (!problems.covers(at('split'))) {
    const sum = formatPercent(written);
    if (open > 1) problems.add(at('split'), undefined, 'a weight for each share but one');
    else if (open === 0 && written !== ALL_HUNDREDTHS) problems.add(at('split'), sum, 'weights that sum to 100%');
    else if (written > ALL_HUNDREDTHS) problems.add(at('split[1]'), sum, 'weights that sum to 100% at most');
  }
  const shares: ShareDraft[] = [];
  for (const [i, share] of model.split.entries()) {
    const cluster = clusters.resolve(share, at(`split[${i}]`), addresses.worker, model);
    const weightHundredths = share.weight ?? Math.max(0, ALL_HUNDREDTHS - written);
    if (cluster !== null) shares.push({ cluster, weightHundredths });
  }
  checkRepeated(shares, (i) => at(`split[${i}]`), problems);
  return shares;
}

function checkShadows(
  { model, at }: ModelEntry,
  clusters: ClusterSet,
  addresses: RoleAddresses,
  problems: ProblemList,
): ModelDraft['shadows'] {
  const shadows: ModelDraft['shadows'][number][] = [];
  for (const [i, shadow] of model.shadows.entries()) {
    const cluster = clusters.resolve(shadow, at(`shadows[${i}]`), addresses.worker, model);
    if (cluster === null) continue;
    const { percent, maxConcurrent, maxComparisonsPerSecond, maxSize } = shadow;
    const bounds = { maxConcurrent, maxComparisonsPerSecond, maxBytes: maxSize };
    shadows.push({ cluster, percentHundredths: percent, ...bounds });
  }
  checkRepeated(shadows, (i) => at(`shadows[${i}]`), problems);
  return shadows;
}

function checkFallbacks(
  { model, at }: ModelEntry,
  clusters: ClusterSet,
  addresses: RoleAddresses,
  problems: ProblemList,
): ModelDraft['fallbacks'] {
  const fallbacks: ModelDraft['fallbacks'][number][] = [];
  const declared = declaredSignature(model);
  for (const [i, step] of model.fallback.entries()) {
    const path = at(`fallback[${i}]`);
    const local = checkLocal(step, path, problems);
    const cluster =
      local === null
        ? clusters.resolve(step, path, addresses.fallbackWorker, model)
        : clusters.addLocal(local.kind, model.name, i, model.name);
    const equalPart = 1 / (model.fallback.length - i);
    const budgetFraction = step.budget === null ? equalPart : step.budget / ALL_HUNDREDTHS;
    const adapt = checkAdapt(step, declared, path, problems);
    if (cluster !== null) fallbacks.push({ cluster, budgetFraction, adapt, rules: [], local });
  }
  checkRepeated(fallbacks, (i) => at(`fallback[${i}]`), problems);
  return fallbacks;
}

/** Shadows and fallbacks must lead away from the primary: each needs some other cluster that carries traffic. */
function checkRoles({ model, at }: ModelEntry, draft: ModelDraft, problems: ProblemList): void {
  const isOnlyPrimary = (cluster: ClusterDraft) =>
    draft.split.length > 0 &&
    draft.split.every((share) => share.cluster === cluster || share.weightHundredths === 0) &&
    draft.split.some((share) => share.cluster === cluster);
  for (const [i, { cluster }] of draft.shadows.entries()) {
    if (!isOnlyPrimary(cluster)) continue;
    problems.add(at(`shadows[${i}]`), cluster.name, `another cluster than the primary of ${model.name}`);
  }
  for (const [i, { cluster }] of draft.fallbacks.entries()) {
    if (!isOnlyPrimary(cluster)) continue;
    problems.add(at(`fallback[${i}]`), cluster.name, `another cluster than the primary of ${model.name}`);
  }
}

function checkRepeated(
  steps: readonly { readonly cluster: ClusterDraft }[],
  at: (i: number) => string,
  problems: ProblemList,
): void {
  for (const [i, { cluster }] of steps.entries()) {
    const first = steps.findIndex((step) => step.cluster === cluster);
    if (first < i) problems.add(at(i), cluster.name, 'each cluster once in this list');
  }
}

function checkCohort({ model, at }: ModelEntry, problems: ProblemList): CohortPolicy {
  const { cohort } = model;
  if (cohort === null) return { source: { kind: 'none' }, maxCohorts: 1, names: {} };
  const { header, input, buckets, names, maxCohorts } = cohort;
  if ((header === null) === (input === null) && !problems.covers(at('cohort'))) {
    problems.add(at('cohort'), undefined, 'exactly one of the keys header and input');
  }
  if (buckets.length > 0 && header !== null) {
    problems.add(at('cohort.buckets'), undefined, 'no buckets, since the cohort comes from a header');
  }
  if (!isAscending(buckets)) problems.add(at('cohort.buckets'), buckets.join(','), 'numbers that ascend');
  if (header !== null) return { source: { kind: 'header', name: header }, maxCohorts, names };
  return { source: { kind: 'input', tensor: input ?? '', buckets }, maxCohorts, names };
}
