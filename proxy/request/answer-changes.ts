/**
 * What is done to the answers of each cluster that may answer for a model: a fallback's are adapted by its mapping, those of
 * a model with another name get the name that was asked for, and all may have to say which cluster gave them. Worked out
 * once for each cluster; where nothing is changed at all, a request pays one comparison.
 */
import type { AnswerChange } from '../adapt/output-mapping.ts';
import type { JsonRule } from '../config/answer-policy.ts';
import type { FallbackSnapshot, ModelSnapshot } from '../config/snapshot.ts';
import type { MeshCluster } from '../mesh.ts';
import { AnswerReason } from '../stats/slots.ts';

export interface ClusterChange extends AnswerChange {
  /** Of a route's JSON. */
  readonly rules: readonly JsonRule[];
  /** The answer is a bad one if it cannot be changed; otherwise it then goes on as it came. */
  readonly isRequired: boolean;
}

export class AnswerChanges {
  /** Some answer of a primary is changed. */
  readonly ofPrimaries: boolean;
  /** Some answer is changed. */
  readonly any: boolean;
  private readonly config: ModelSnapshot;
  private readonly primaries = new Map<MeshCluster, ClusterChange | null>();
  private readonly fallbacks = new Map<MeshCluster, ClusterChange | null>();

  constructor(config: ModelSnapshot, primaries: readonly MeshCluster[], fallbacks: readonly MeshCluster[]) {
    this.config = config;
    for (const [i, cluster] of fallbacks.entries()) {
      this.fallbacks.set(cluster, changeOf(config, cluster, config.fallbacks[i]!));
    }
    this.ofPrimaries = primaries.some((cluster) => this.of(cluster, AnswerReason.PRIMARY) !== null);
    this.any = this.ofPrimaries || [...this.fallbacks.values()].some((change) => change !== null);
  }

  /** What is done to an answer of this cluster, given for this `AnswerReason`; null for nothing. */
  of(cluster: MeshCluster, reason: number): ClusterChange | null {
    const ofFallback = this.fallbacks.get(cluster);
    // A hedge may be another endpoint's of the primary.
    const isPrimary = reason === AnswerReason.PRIMARY || (reason === AnswerReason.HEDGE && ofFallback === undefined);
    if (!isPrimary) return ofFallback ?? null;
    let change = this.primaries.get(cluster);
    if (change === undefined) {
      change = changeOf(this.config, cluster, null);
      this.primaries.set(cluster, change);
    }
    return change;
  }
}

function changeOf(config: ModelSnapshot, cluster: MeshCluster, step: FallbackSnapshot | null): ClusterChange | null {
  const { model } = cluster.config;
  const mapping = step === null ? null : step.adapt;
  const rules = step === null ? [] : step.rules;
  const specName = config.isRoute || model === '' || model === config.name ? '' : config.name;
  const { versionOutput } = config;
  const isRequired = mapping !== null || rules.length > 0;
  if (!isRequired && specName === '' && versionOutput === '') return null;
  // What is not mapped has the model's own schema.
  const soleOutput = mapping?.soleOutput ?? (config.outputs.length === 1 ? config.outputs[0]!.name : '');
  return { mapping, rules, soleOutput, specName, versionOutput, versionText: cluster.name, isRequired };
}
