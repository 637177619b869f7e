/**
 * Active health checks: asks every endpoint of the clusters that want it, and keeps in shared memory which ones are
 * well. Runs on the control thread; what it decides is a rule of consecutive results, under any clock.
 *
 * A passing check never brings back an endpoint that was ejected for its answers: only a real request does.
 */
import type { Clock } from '../../base/clock.ts';
import { formatAddress } from '../config/address.ts';
import type {
  ClusterSnapshot,
  EndpointAddress,
  HealthCheckPolicy,
  MeshSnapshot,
  TlsOrigination,
} from '../config/snapshot.ts';
import type { HealthCells } from '../stats/health-cells.ts';

/** Asks one endpoint; resolves with '' when it is well, and with what was wrong otherwise. Ends within the timeout. */
export type Probe = (address: EndpointAddress, check: HealthCheckPolicy, tls: TlsOrigination | null) => Promise<string>;

export interface HealthCheckerOptions {
  readonly clock: Clock;
  readonly cells: HealthCells;
  readonly probe: Probe;
  /** Uniform in 0..1. */
  readonly random: () => number;
  /** An endpoint became well or unwell; `problem` says why. */
  readonly onChange: (cluster: string, endpoint: string, healthy: boolean, problem: string) => void;
}

/** How the checks of one cluster ended. */
export interface CheckCounts {
  passed: number;
  failed: number;
}

interface Checked {
  readonly cluster: string;
  readonly name: string;
  readonly place: number;
  address: EndpointAddress;
  policy: HealthCheckPolicy;
  tls: TlsOrigination | null;
  healthy: boolean;
  /** Results in a row that speak against `healthy`. */
  against: number;
  dueAtMs: number;
  busy: boolean;
}

const MAX_PROBES = 32;
const JITTER = 0.1;

export class HealthChecker {
  /** By cluster. */
  readonly counts = new Map<string, CheckCounts>();
  private readonly options: HealthCheckerOptions;
  private endpoints = new Map<string, Checked>();
  private running = 0;

  constructor(options: HealthCheckerOptions) {
    this.options = options;
  }

  /** The endpoints to check from now on, as the directory located them. What is known of those that stay is kept. */
  watch(mesh: MeshSnapshot): void {
    const before = this.endpoints;
    this.endpoints = new Map();
    for (const cluster of mesh.clusters) if (cluster.healthCheck !== null) this.watchCluster(cluster, before);
    for (const [key, checked] of before) {
      if (!this.endpoints.has(key)) this.options.cells.set(checked.place, true);
    }
  }

  /** Starts the checks that are due. Called every now and then. */
  tick(): void {
    const nowMs = this.options.clock.nowMs();
    for (const [key, checked] of this.endpoints) {
      if (this.running >= MAX_PROBES) return;
      if (!checked.busy && checked.dueAtMs <= nowMs) void this.check(key, checked);
    }
  }

  /** Whether anything is checked at all. */
  get idle(): boolean {
    return this.endpoints.size === 0;
  }

  private watchCluster(cluster: ClusterSnapshot, before: ReadonlyMap<string, Checked>): void {
    const policy = cluster.healthCheck!;
    for (const [i, address] of cluster.endpoints.entries()) {
      const place = cluster.endpointPlaces[i] ?? -1;
      if (place < 0) continue;
      const name = formatAddress(address);
      const known = before.get(`${cluster.name}\n${name}`);
      const dueAtMs = this.options.clock.nowMs() + this.options.random() * policy.intervalMs * JITTER;
      const { tls } = cluster;
      const fresh = { cluster: cluster.name, name, place, address, policy, tls, healthy: true, against: 0, dueAtMs };
      const checked = known !== undefined && known.place === place ? known : { ...fresh, busy: false };
      checked.policy = policy;
      checked.address = address;
      checked.tls = tls;
      this.endpoints.set(`${cluster.name}\n${name}`, checked);
    }
  }

  private async check(key: string, checked: Checked): Promise<void> {
    const { probe, clock, random } = this.options;
    checked.busy = true;
    this.running++;
    let problem = '';
    try {
      problem = await probe(checked.address, checked.policy, checked.tls);
    } catch (error) {
      problem = (error as Error).message;
    }
    this.running--;
    checked.busy = false;
    const spread = 1 + JITTER * (random() * 2 - 1);
    checked.dueAtMs = clock.nowMs() + checked.policy.intervalMs * spread;
    if (this.endpoints.get(key) === checked) this.record(checked, problem);
  }

  private record(checked: Checked, problem: string): void {
    const passed = problem === '';
    const counts = this.counts.get(checked.cluster) ?? { passed: 0, failed: 0 };
    this.counts.set(checked.cluster, counts);
    if (passed) counts.passed++;
    else counts.failed++;
    if (passed === checked.healthy) {
      checked.against = 0;
      return;
    }
    checked.against++;
    const { healthyAfter, unhealthyAfter } = checked.policy;
    if (checked.against < (passed ? healthyAfter : unhealthyAfter)) return;
    checked.healthy = passed;
    checked.against = 0;
    this.options.cells.set(checked.place, passed);
    this.options.onChange(checked.cluster, checked.name, passed, problem);
  }
}
