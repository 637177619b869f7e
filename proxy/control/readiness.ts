/**
 * Whether the proxy should get traffic: its data threads listen, and every model has somebody warm to answer for it.
 *
 * At first that is a primary. A worker of ours is asked for the model's status, so that "ready" means loaded and warmed up;
 * of any other upstream it is enough that it accepts connections. A model that was ready once stays so while a fallback
 * can answer: taking the pod out of its Service because its primary died would lose exactly the calls that the fallback
 * is there for. Answers are remembered for a moment, so that probes cost little however many ask.
 */
import { formatAddress } from '../config/address.ts';
import type { ClusterSnapshot, EndpointAddress, MeshSnapshot, ModelSnapshot } from '../config/snapshot.ts';
import { accepts, askModelStatus } from './model-status-probe.ts';

const REMEMBER_MS = 500;
const PROBE_TIMEOUT_MS = 1000;

export interface Readiness {
  readonly ready: boolean;
  /** What is missing; empty when ready. */
  readonly missing: readonly string[];
}

export class ReadinessProbe {
  /** Addresses of inference workers, as text. */
  private readonly workers: ReadonlySet<string>;
  /** Models whose primary was ready once. */
  private readonly warmed = new Set<string>();
  private last: Promise<Readiness> | null = null;
  private lastAtMs = Number.NEGATIVE_INFINITY;

  constructor(workers: readonly EndpointAddress[]) {
    this.workers = new Set(workers.map(formatAddress));
  }

  /** `missing` is what the caller already knows to be missing. */
  check(snapshot: MeshSnapshot, missing: readonly string[], nowMs: number): Promise<Readiness> {
    if (missing.length > 0) return Promise.resolve({ ready: false, missing });
    if (this.last === null || nowMs - this.lastAtMs > REMEMBER_MS) {
      this.lastAtMs = nowMs;
      this.last = this.probe(snapshot);
    }
    return this.last;
  }

  private async probe(snapshot: MeshSnapshot): Promise<Readiness> {
    const checks = snapshot.models.map((model) => this.probeModel(snapshot, model));
    const missing = (await Promise.all(checks)).filter((text) => text !== null);
    return { ready: missing.length === 0, missing };
  }

  /** What keeps a model from being answered; null when nothing does. */
  private async probeModel(snapshot: MeshSnapshot, model: ModelSnapshot): Promise<string | null> {
    const primaries = model.split.map((share) => snapshot.clusters[share.cluster]!);
    const faults = await Promise.all(primaries.map((cluster) => this.faultOf(cluster)));
    if (faults.includes(null)) {
      this.warmed.add(model.name);
      return null;
    }
    if (this.warmed.has(model.name)) {
      const fallbacks = model.fallbacks.map((step) =>
        step.local === null ? this.faultOf(snapshot.clusters[step.cluster]!) : null,
      );
      if ((await Promise.all(fallbacks)).includes(null)) return null;
    }
    return `model ${model.name}: ${faults.join('; ')}`;
  }

  /** What keeps a cluster from answering; null when one of its endpoints can. */
  private async faultOf(cluster: ClusterSnapshot): Promise<string | null> {
    const faults = await Promise.all(cluster.endpoints.map((address) => this.endpointFault(cluster, address)));
    return faults.includes(null) ? null : (faults[0] ?? `${cluster.name} has no endpoint`);
  }

  private async endpointFault(cluster: ClusterSnapshot, address: EndpointAddress): Promise<string | null> {
    const text = formatAddress(address);
    const unreachable = `no endpoint of ${cluster.name} accepts connections`;
    if (cluster.model === '' || !this.workers.has(text)) {
      return (await accepts(address, PROBE_TIMEOUT_MS)) ? null : unreachable;
    }
    switch (await askModelStatus(address, cluster.model, cluster.version, PROBE_TIMEOUT_MS)) {
      case 'unreachable':
        return unreachable;
      case 'loading':
        return `${cluster.name} is not loaded yet in the worker at ${text}`;
      case 'missing':
        return `${cluster.name} is not in the worker at ${text}`;
      default:
        return null;
    }
  }
}
