/**
 * A snapshot as one data thread runs it: models resolved to clusters, clusters with their breakers and pools.
 *
 * `apply` builds the new view aside and swaps it in one assignment; a request keeps the `MeshModel` it began with.
 * Clusters, breakers and pools live on across snapshots under their names, since their state is theirs and not the
 * configuration's.
 */
import type { Clock } from '../base/clock.ts';
import type { Http2Limits } from '../proto/http2/limits.ts';
import { formatAddress } from '../proto/io/adopt.ts';
import type { TlsClientRole } from '../proto/io/tls.ts';
import { SpecTarget } from '../proto/tensor/spec-rewrite.ts';
import type {
  ClusterSnapshot,
  EndpointAddress,
  MeshSnapshot,
  ShadowSnapshot,
  TlsOrigination,
} from './config/snapshot.ts';
import type { DegradationCells } from './degradation/cells.ts';
import { MeshModel, MeshPipeline, MeshShadow } from './mesh-model.ts';
import { OutlierGuard } from './outlier-guard.ts';
import type { BreakerCells } from './policy/breaker-cells.ts';
import type { BreakerCommand, BreakerTransition } from './policy/breaker-verdict.ts';
import { CircuitBreaker } from './policy/circuit-breaker.ts';
import { ClusterLoad, type LoadCells } from './policy/load-cells.ts';
import { RETRY_CELLS, RetryBudget } from './policy/retry-budget.ts';
import { RouteTable } from './routing/route-table.ts';
import type { HealthCells } from './stats/health-cells.ts';
import { ClusterSlot, ShadowSlot } from './stats/slots.ts';
import { Balanced, Balancer } from './upstream/balancer.ts';
import { Cluster, type Endpoint, PoolTable } from './upstream/cluster.ts';

export { MeshModel, MeshPipeline, MeshShadow };

/** A cluster with its breaker, as the data plane uses it. */
export class MeshCluster extends Cluster {
  readonly breaker: CircuitBreaker;
  /** The model and version to write into requests, with its bytes ready. A cluster's name stands for both. */
  target: SpecTarget;
  readonly retryBudget: RetryBudget;
  /** The same for hedges of requests it has as the primary. */
  readonly hedgeBudget: RetryBudget;
  /** What is with it, over all data threads. */
  readonly load: ClusterLoad;

  constructor(
    id: number,
    config: ClusterSnapshot,
    breaker: CircuitBreaker,
    clock: Clock,
    load: ClusterLoad,
    retryBudget: RetryBudget,
    hedgeBudget: RetryBudget,
  ) {
    super(id, config, clock);
    this.breaker = breaker;
    this.load = load;
    this.retryBudget = retryBudget;
    this.hedgeBudget = hedgeBudget;
    this.target = specTarget(config);
  }

  tryWait(): boolean {
    return this.load.tryWait(this.config.maxPendingRequests);
  }

  stopWaiting(): void {
    this.load.stopWaiting();
  }
}

export interface MeshOptions {
  readonly clock: Clock;
  readonly breakerCells: BreakerCells;
  readonly loadCells: LoadCells;
  /** Which data thread this is. */
  readonly thread: number;
  readonly degradationCells: DegradationCells;
  /** One breaker for each endpoint's place, and its health. */
  readonly endpointCells: BreakerCells;
  readonly healthCells: HealthCells;
  readonly statsCells: Float64Array;
  readonly upstreamLimits: Http2Limits;
  readonly upstreamCounters: Float64Array;
  readonly onBreaker: (cluster: string, transition: BreakerTransition) => void;
  readonly tlsRole: (tls: TlsOrigination) => TlsClientRole;
  readonly onEjection: (cluster: string, endpoint: string, transition: BreakerTransition) => void;
}

/** Addresses that are not configured (original destinations) kept with a cluster of their own; the oldest goes first. */
const MAX_DYNAMIC_CLUSTERS = 256;

export class Mesh {
  snapshot: MeshSnapshot;
  models: ReadonlyMap<string, MeshModel> = new Map();
  /** By the name clients ask for; null when there is none. */
  pipelines: ReadonlyMap<string, MeshPipeline> | null = null;
  /** Null when no request goes by a route. */
  routes: RouteTable | null = null;
  routeClusters: readonly MeshCluster[] = [];
  /** By route; null for one that has no fallbacks. */
  routePolicies: readonly (MeshModel | null)[] = [];
  defaultModelCluster: MeshCluster | null = null;
  passthrough: MeshCluster | null = null;
  /** Clusters that a version pinned by the caller may name: `model@version`. */
  byVersion: ReadonlyMap<string, MeshCluster> = new Map();
  readonly pools: PoolTable;
  private readonly options: MeshOptions;
  private readonly clusters = new Map<string, MeshCluster>();
  private readonly dynamic = new Map<string, MeshCluster>();
  private shadows = new Map<string, MeshShadow>();
  private nextId = 0;

  constructor(snapshot: MeshSnapshot, options: MeshOptions) {
    this.options = options;
    this.snapshot = snapshot;
    const { clock, upstreamLimits, statsCells, upstreamCounters } = options;
    this.pools = new PoolTable(clock, upstreamLimits, statsCells, upstreamCounters, options.tlsRole);
    this.apply(snapshot);
  }

  apply(snapshot: MeshSnapshot): void {
    const clusters = snapshot.clusters.map((config) => this.cluster(config));
    const models = new Map<string, MeshModel>();
    const shadowsInUse = new Map<string, MeshShadow>();
    for (const config of snapshot.models) {
      const callers = new Set([...config.split, ...config.fallbacks, ...config.pins].map((step) => step.cluster));
      const made = (shadow: ShadowSnapshot, isSecondary: boolean) => {
        const cluster = clusters[shadow.cluster]!;
        const key = `${config.name}\n${cluster.name}\n${isSecondary}`;
        // A shadow's bounds hold over reloads: what it has in flight is its own and goes on counting.
        const before = this.shadows.get(key);
        const kept = before !== undefined && before.cluster === cluster ? before : null;
        const one = kept ?? new MeshShadow(shadow, cluster, isSecondary);
        this.moveGauge(one.config.statsBase, shadow.statsBase, ShadowSlot.IN_FLIGHT, one.inFlight);
        this.moveGauge(one.config.statsBase, shadow.statsBase, ShadowSlot.HELD_BYTES, one.heldBytes);
        one.config = shadow;
        one.judged = !isSecondary && !callers.has(shadow.cluster);
        shadowsInUse.set(key, one);
        return one;
      };
      const shadows = config.shadows.map((shadow) => made(shadow, false));
      const secondaries = config.secondaries.map((shadow) => made(shadow, true));
      const { degradationCells } = this.options;
      const before = this.models.get(config.name);
      models.set(config.name, new MeshModel(config, clusters, shadows, secondaries, degradationCells, before));
    }
    this.forgetOthers(new Set(clusters));
    const byVersion = new Map<string, MeshCluster>();
    for (const cluster of clusters) {
      const { model, version } = cluster.config;
      if (model !== '' && version !== '') byVersion.set(`${model}@${version}`, cluster);
    }
    this.byVersion = byVersion;
    this.models = models;
    this.pipelines = this.pipelinesOf(snapshot);
    this.shadows = shadowsInUse;
    this.routes = snapshot.routes.length === 0 ? null : new RouteTable(snapshot.routes);
    this.routeClusters = snapshot.routes.map((route) => clusters[route.cluster]!);
    this.routePolicies = snapshot.routes.map(({ policy }) =>
      policy === null ? null : new MeshModel(policy, clusters, [], [], this.options.degradationCells, undefined),
    );
    this.defaultModelCluster = clusters[snapshot.defaultModelCluster] ?? null;
    this.passthrough = clusters[snapshot.passthroughCluster] ?? null;
    this.snapshot = snapshot;
  }

  /** Pipelines with a plan for this snapshot; the bound on what is under way holds over reloads. */
  private pipelinesOf(snapshot: MeshSnapshot): ReadonlyMap<string, MeshPipeline> | null {
    if (snapshot.pipelines.length === 0) return null;
    const pipelines = new Map<string, MeshPipeline>();
    for (const config of snapshot.pipelines) {
      const known = this.pipelines?.get(config.name);
      known?.update(config);
      pipelines.set(config.name, known ?? new MeshPipeline(config));
    }
    return pipelines;
  }

  /** An operator's word to a breaker. Unknown names are ignored: the cluster may have left with a reload. */
  command(name: string, command: BreakerCommand): void {
    this.clusters.get(name)?.breaker.obey(command);
  }

  /**
   * A cluster for an original destination that no configuration names. It has no breaker, and one statistics block
   * stands for all of them. Its bounds are this thread's: other threads do not know of it.
   */
  dynamicCluster(address: EndpointAddress, key: string): MeshCluster {
    let cluster = this.dynamic.get(key);
    if (cluster === undefined) {
      if (this.dynamic.size >= MAX_DYNAMIC_CLUSTERS) this.forgetOldestDynamic();
      cluster = this.make({ ...this.snapshot.originalDestination, name: key, endpoints: [address] }, false);
      this.dynamic.set(key, cluster);
    }
    return cluster;
  }

  private cluster(config: ClusterSnapshot): MeshCluster {
    let cluster = this.clusters.get(config.name);
    if (cluster === undefined) {
      cluster = this.make(config, true);
      this.clusters.set(config.name, cluster);
    } else {
      this.moveGauge(cluster.config.statsBase, config.statsBase, ClusterSlot.IN_FLIGHT, cluster.inFlight);
      cluster.config = config;
      cluster.target = specTarget(config);
      cluster.breaker.updatePolicy(config.breaker);
      this.connectEndpoints(cluster, config);
    }
    return cluster;
  }

  /** What is in flight is counted where it will be taken off again: gauges of a name outlive the objects behind it. */
  private moveGauge(from: number, to: number, slot: number, value: number): void {
    if (from === to) return;
    const { statsCells } = this.options;
    statsCells[from + slot]! -= value;
    statsCells[to + slot]! += value;
  }

  private make(config: ClusterSnapshot, shared: boolean): MeshCluster {
    const { clock, breakerCells, loadCells, thread, statsCells, onBreaker } = this.options;
    const breaker = new CircuitBreaker(config.breaker, breakerCells, config.breakerIndex, clock, Math.random, {
      onTransition: (transition) => {
        statsCells[config.statsBase + ClusterSlot.BREAKER_EVENTS + transition.event]! += 1;
        onBreaker(config.name, transition);
      },
    });
    const place = config.breakerIndex;
    const load = shared ? loadCells.load(place, thread) : ClusterLoad.alone();
    const retries = new RetryBudget(shared ? loadCells.retries(place) : new Int32Array(RETRY_CELLS));
    const hedges = new RetryBudget(shared ? loadCells.hedges(place) : new Int32Array(RETRY_CELLS));
    const cluster = new MeshCluster(this.nextId++, config, breaker, clock, load, retries, hedges);
    this.connectEndpoints(cluster, config);
    return cluster;
  }

  /** The pools of its endpoints and, where they are judged one by one, the balancer over them. */
  private connectEndpoints(cluster: MeshCluster, config: ClusterSnapshot): void {
    cluster.endpoints = config.endpoints.map((address) => this.pools.get(address, config));
    const known = new Map(cluster.balancer?.endpoints.map((endpoint) => [endpoint.name, endpoint]));
    if (config.endpointPlaces.length === 0) {
      cluster.balancer = null;
    } else {
      cluster.balancer ??= new Balancer(
        Math.random,
        (place) => this.options.healthCells.isHealthy(place),
        () => cluster.config.outlier.maxEjectedFraction,
      );
      cluster.balancer.endpoints = config.endpoints.map((address, i) => {
        const name = formatAddress(address);
        const place = config.endpointPlaces[i]!;
        const before = known.get(name);
        const same = before !== undefined && before.place === place && before.pools === cluster.endpoints[i];
        const endpoint = same ? before : new Balanced(cluster.endpoints[i]!, name, place, null);
        if (same) known.delete(name);
        this.guard(endpoint, config);
        return endpoint;
      });
    }
    for (const endpoint of known.values()) (endpoint.guard as OutlierGuard | null)?.close();
  }

  /** Gives the endpoint of a cluster of several a guard under the policy in force, or takes it away. */
  private guard(endpoint: Balanced<Endpoint>, config: ClusterSnapshot): void {
    const { guard: policy } = config.outlier;
    const guard = endpoint.guard as OutlierGuard | null;
    if (!policy.enabled || config.endpoints.length < 2 || endpoint.place < 0) {
      guard?.close();
      endpoint.guard = null;
    } else if (guard !== null) {
      guard.update(policy);
    } else {
      const { clock, endpointCells, statsCells, onEjection } = this.options;
      const onTransition = (transition: BreakerTransition) => {
        if (transition.openForMs > 0) statsCells[config.statsBase + ClusterSlot.EJECTIONS]! += 1;
        onEjection(config.name, endpoint.name, transition);
      };
      const breaker = new CircuitBreaker(policy, endpointCells, endpoint.place, clock, Math.random, { onTransition });
      endpoint.guard = new OutlierGuard(breaker);
    }
  }

  private forgetOthers(used: ReadonlySet<MeshCluster>): void {
    for (const [name, cluster] of this.clusters) {
      if (used.has(cluster)) continue;
      this.clusters.delete(name);
      cluster.breaker.close();
    }
    this.retainPools();
  }

  private forgetOldestDynamic(): void {
    const [oldest] = this.dynamic.keys();
    if (oldest === undefined) return;
    this.dynamic.get(oldest)!.breaker.close();
    this.dynamic.delete(oldest);
    this.retainPools();
  }

  private retainPools(): void {
    const used = new Set<Endpoint>();
    for (const cluster of this.clusters.values()) for (const endpoint of cluster.endpoints) used.add(endpoint);
    for (const cluster of this.dynamic.values()) for (const endpoint of cluster.endpoints) used.add(endpoint);
    this.pools.retain(used);
  }
}

/** What a cluster writes into requests; answers made here have a version that is only a word, and no requests. */
function specTarget({ model, version }: ClusterSnapshot): SpecTarget {
  return new SpecTarget(model, /^\d+$/.test(version) ? version : '');
}
