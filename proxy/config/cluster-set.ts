/**
 * The clusters of one configuration: those declared by name, those that targets make by naming a model, and two of
 * our own. It resolves every reference and, once all are known, gives the clusters their names.
 *
 * A target that names no address and is called like a declared cluster means that cluster.
 * A made cluster is called `MODEL[@VERSION]`. Where the same version is asked of several addresses, the one at the
 * worker (else the first by address) keeps that name and the others are called `MODEL[@VERSION] via ADDRESS`; so a
 * name does not depend on the order of the configuration.
 */

import { formatAddress } from './address.ts';
import type { ClusterDocument, ConfigDocument, PolicyDocument } from './document-fields.ts';
import { type ModelTarget, targetName } from './model-target.ts';
import { nearestHint } from './nearest-name.ts';
import { type ClusterPolicy, checkPolicy, combinePolicy } from './policy-levels.ts';
import type { ProblemList } from './problem.ts';
import type { EndpointAddress, TlsOrigination } from './snapshot.ts';
import { tlsOrigination } from './tls-settings.ts';
import { checkUpstream, combineUpstream, type UpstreamPolicy } from './upstream-levels.ts';

/** A cluster before it has its places in shared memory. `name` is final once `finish` has run. */
export interface ClusterDraft {
  name: string;
  readonly model: string;
  readonly version: string;
  readonly endpoints: readonly EndpointAddress[];
  readonly tls: TlsOrigination | null;
  readonly policy: ClusterPolicy;
  readonly upstream: UpstreamPolicy;
  /** Where it is written first. */
  readonly path: string;
  readonly declared: boolean;
}

export interface TargetKeys {
  readonly cluster: string | null;
  readonly model: ModelTarget | null;
}

export class ClusterSet {
  /** In the order of the snapshot. */
  readonly drafts: ClusterDraft[] = [];
  private readonly declared = new Map<string, ClusterDraft>();
  private readonly made = new Map<string, ClusterDraft>();
  private readonly defaults: ConfigDocument['defaults'];
  private readonly workerAddress: EndpointAddress;
  private readonly problems: ProblemList;

  constructor(defaults: ConfigDocument['defaults'], workerAddress: EndpointAddress, problems: ProblemList) {
    this.defaults = defaults;
    this.workerAddress = workerAddress;
    this.problems = problems;
  }

  /** Adds a cluster of the document's `clusters`. */
  declare(cluster: ClusterDocument, path: string): void {
    if (cluster.name === '') return;
    if (this.declared.has(cluster.name)) {
      const hint = `${this.declared.get(cluster.name)!.path} has it`;
      this.problems.add(`${path}.name`, cluster.name, 'a name no other cluster has', hint);
      return;
    }
    const model = cluster.model ?? '';
    if (model === '' && cluster.version !== null && !this.problems.covers(`${path}.model`)) {
      this.problems.add(`${path}.version`, cluster.version, 'no version, since the cluster names no model');
    }
    const endpoints = cluster.endpoints ?? (model === '' ? [] : [this.workerAddress]);
    if (endpoints.length === 0 && !this.problems.covers(`${path}.endpoints`)) {
      this.problems.add(`${path}.endpoints`, undefined, 'at least one address');
    }
    const policy = combinePolicy(this.defaults, cluster, model !== '');
    this.checkLevel(cluster, path);
    const version = cluster.version ?? '';
    const tls = tlsOrigination(cluster, endpoints, path, this.problems);
    const upstream = combineUpstream(this.defaults, cluster, model !== '');
    checkUpstream(upstream, path, this.problems);
    const draft = { name: cluster.name, model, version, endpoints, tls, policy, upstream, path, declared: true };
    this.declared.set(cluster.name, draft);
    this.drafts.push(draft);
  }

  /** Adds one of our own clusters, such as `@passthrough`; names that begin with `@` are nobody else's. */
  addOwn(name: string, address: EndpointAddress): ClusterDraft {
    const policy = combinePolicy(this.defaults, null, false);
    const upstream = combineUpstream(this.defaults, null, false);
    const endpoints = [address];
    const draft = { name, model: '', version: '', endpoints, tls: null, policy, upstream, path: name, declared: true };
    this.drafts.push(draft);
    return draft;
  }

  /** A name for figures of answers that come from no endpoint: `@rule/MODEL`. */
  addLocal(kind: 'static' | 'rule', owner: string, step: number, model: string): ClusterDraft {
    const policy = combinePolicy(this.defaults, null, false);
    const common = combineUpstream(this.defaults, null, false);
    const upstream = { ...common, healthCheck: null };
    const name = `@${kind}/${owner}${step === 0 ? '' : `/${step}`}`;
    const draft = {
      name,
      model,
      version: kind,
      endpoints: [],
      tls: null,
      policy,
      upstream,
      path: name,
      declared: true,
    };
    this.drafts.push(draft);
    return draft;
  }

  /** The declared cluster of this name; reports and returns null where there is none. */
  find(name: string, path: string): ClusterDraft | null {
    const draft = this.declared.get(name);
    if (draft !== undefined) return draft;
    const hint = nearestHint(name, this.declared.keys()) ?? 'to let the worker serve a model, use the model key';
    this.problems.add(path, name, 'the name of a declared cluster', hint);
    return null;
  }

  /**
   * The cluster a target of a model leads to: a declared one, or one made for `keys.model` at its own address or
   * `address`, with the policy of `level`. Reports and returns null where the target is wrong.
   */
  resolve(keys: TargetKeys, path: string, address: EndpointAddress, level: PolicyDocument): ClusterDraft | null {
    if (this.problems.covers(path)) return null;
    if ((keys.cluster === null) === (keys.model === null)) {
      this.problems.add(path, undefined, 'exactly one of the keys cluster and model');
      return null;
    }
    if (keys.model !== null) return this.make(keys.model, path, address, level);
    const draft = this.find(keys.cluster!, `${path}.cluster`);
    if (draft === null || draft.model !== '') return draft;
    if (!this.problems.covers(draft.path)) {
      this.problems.add(`${path}.cluster`, keys.cluster!, 'a cluster that names a model', `see ${draft.path}`);
    }
    return null;
  }

  /** Checks what a model says for the clusters its own targets make. */
  checkLevel(level: PolicyDocument, path: string): void {
    const writesPeriod = level.breaker.open !== null || level.breaker.maxOpen !== null;
    if (writesPeriod) checkPolicy(combinePolicy(this.defaults, level, true), path, this.problems);
  }

  /** Names the made clusters. Called once, after the last reference. */
  finish(): void {
    const groups = Map.groupBy(this.made.values(), (draft) => draft.name);
    for (const [name, group] of groups) {
      const ranked = group.sort((a, b) => this.rank(a).localeCompare(this.rank(b), 'en'));
      const taken = this.declared.has(name);
      for (const draft of taken ? ranked : ranked.slice(1)) {
        draft.name = `${name} via ${formatAddress(draft.endpoints[0]!)}`;
      }
    }
  }

  private make(
    target: ModelTarget,
    path: string,
    address: EndpointAddress,
    level: PolicyDocument,
  ): ClusterDraft | null {
    const endpoint = target.address ?? address;
    const name = targetName(target);
    const declared = target.address === null ? this.declared.get(name) : undefined;
    if (declared !== undefined) return this.refine(target, declared, path);
    const policy = combinePolicy(this.defaults, level, true);
    const key = `${name} ${formatAddress(endpoint)}`;
    const known = this.made.get(key);
    if (known !== undefined) {
      if (JSON.stringify(known.policy) !== JSON.stringify(policy)) {
        const expectation = `the same breaker, timeouts and limits for this target as at ${known.path}`;
        this.problems.add(path, name, expectation, 'or a cluster declared under clusters');
      }
      return known;
    }
    const { model, version } = target;
    const upstream = combineUpstream(this.defaults, null, true);
    const draft = { name, model, version, endpoints: [endpoint], tls: null, policy, upstream, path, declared: false };
    this.made.set(key, draft);
    this.drafts.push(draft);
    return draft;
  }

  /** A declared cluster of the target's own name says more about it than the worker's address does. */
  private refine(target: ModelTarget, declared: ClusterDraft, path: string): ClusterDraft | null {
    if (declared.model === target.model && declared.version === target.version) return declared;
    if (!this.problems.covers(declared.path)) {
      const expectation = `a target that the cluster of this name serves too; it serves ${targetName(declared) || 'no model'}`;
      this.problems.add(path, targetName(target), expectation, `see ${declared.path}`);
    }
    return null;
  }

  private rank(draft: ClusterDraft): string {
    const text = formatAddress(draft.endpoints[0]!);
    return text === formatAddress(this.workerAddress) ? '' : text;
  }
}
