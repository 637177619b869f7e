/**
 * From a plan to a JSONPatch (RFC 6902) of a pod. Only additions, so that what others have put into the pod stays.
 * Rule: a pod that has our proxy is left alone, so a patch applied to a patched pod is no patch.
 */
import { DOMAIN, INJECTED_LABEL, STATUS_ANNOTATION } from './annotations.ts';
import type { InjectionPlan } from './injection.ts';
import type { Container, Pod } from './kubernetes.ts';

export interface PatchOperation {
  readonly op: 'add';
  readonly path: string;
  readonly value: unknown;
}

const PROXY = 'understudy-proxy';
const OWN_PREFIX = 'understudy-';

/** Why this pod is left as it is; null when it is to be injected. */
export function reasonToLeave(pod: Pod): string | null {
  const key = `${DOMAIN}/inject`;
  const { labels = {}, annotations = {} } = pod.metadata ?? {};
  if (labels[key] === 'false') return 'opted_out';
  if (annotations[key] === 'false') return 'opted_out';
  if (allContainers(pod).some(({ name }) => name === PROXY)) return 'already_injected';
  // Its network is the node's: rules would redirect everybody's connections.
  if (pod.spec.hostNetwork === true) return 'host_network';
  if (pod.spec.os?.name !== undefined && pod.spec.os.name !== 'linux') return 'other_os';
  return null;
}

/** The additions of a plan. Names that are already taken go to `problems`. */
export function patchFor(pod: Pod, plan: InjectionPlan, problems: string[]): PatchOperation[] {
  checkNames(pod, plan, problems);
  const operations: PatchOperation[] = [];
  if (pod.metadata === undefined) operations.push({ op: 'add', path: '/metadata', value: {} });
  const volumes = pod.spec.volumes ?? [];
  addItems(operations, '/spec/volumes', pod.spec.volumes, plan.volumes, volumes.length);
  const existing = pod.spec.initContainers ?? [];
  const at = existing.findIndex(({ name }) => name === plan.after) + 1;
  addItems(operations, '/spec/initContainers', pod.spec.initContainers, plan.initContainers, at);
  if (plan.drainDelaySeconds > 0) operations.push(...drainDelays(pod, plan.drainDelaySeconds));
  const containers = plan.initContainers.map(({ name }) => name);
  addEntry(
    operations,
    '/metadata/annotations',
    pod.metadata?.annotations,
    STATUS_ANNOTATION,
    JSON.stringify({ containers }),
  );
  addEntry(operations, '/metadata/labels', pod.metadata?.labels, INJECTED_LABEL, 'true');
  return operations;
}

/** A model server keeps serving for a while after the pod's end has begun, because callers learn of it late. */
function drainDelays(pod: Pod, seconds: number): PatchOperation[] {
  const operations: PatchOperation[] = [];
  for (const [i, { lifecycle }] of pod.spec.containers.entries()) {
    const preStop = { sleep: { seconds } };
    const path = `/spec/containers/${i}/lifecycle`;
    if (lifecycle === undefined || lifecycle === null) operations.push({ op: 'add', path, value: { preStop } });
    else if (lifecycle.preStop === undefined) operations.push({ op: 'add', path: `${path}/preStop`, value: preStop });
  }
  return operations;
}

/** Puts items into a list at an index, or makes the list. */
function addItems(
  operations: PatchOperation[],
  path: string,
  existing: readonly unknown[] | null | undefined,
  items: readonly unknown[],
  index: number,
): void {
  if (existing === undefined || existing === null) {
    operations.push({ op: 'add', path, value: items });
    return;
  }
  for (const [i, value] of items.entries()) operations.push({ op: 'add', path: `${path}/${index + i}`, value });
}

function addEntry(
  operations: PatchOperation[],
  path: string,
  existing: Readonly<Record<string, string>> | null | undefined,
  key: string,
  value: string,
): void {
  if (existing === undefined || existing === null) operations.push({ op: 'add', path, value: { [key]: value } });
  else operations.push({ op: 'add', path: `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, value });
}

function checkNames(pod: Pod, plan: InjectionPlan, problems: string[]): void {
  for (const { name } of allContainers(pod)) {
    if (plan.initContainers.some((container) => container.name === name)) {
      problems.push(`container ${name}: names that begin with ${OWN_PREFIX} are the injector's`);
    }
  }
  for (const { name } of pod.spec.volumes ?? []) {
    if (plan.volumes.some((volume) => volume.name === name)) {
      problems.push(`volume ${name}: names that begin with ${OWN_PREFIX} are the injector's`);
    }
  }
}

function allContainers(pod: Pod): Container[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
}
