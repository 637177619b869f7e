/**
 * Whether the proxy should get traffic: its data threads listen, and every model has a primary that can be reached.
 * A reachable primary is one whose endpoint accepts a connection; the answer is remembered for a moment, so that probes
 * cost little however many ask.
 */
import { connect } from 'node:net';
import type { EndpointAddress, MeshSnapshot } from './config/snapshot.ts';

const REMEMBER_MS = 500;
const CONNECT_TIMEOUT_MS = 500;

export interface Readiness {
  readonly ready: boolean;
  /** What is missing; empty when ready. */
  readonly missing: readonly string[];
}

export class ReadinessProbe {
  private last: Promise<Readiness> | null = null;
  private lastAtMs = Number.NEGATIVE_INFINITY;

  /** `missing` is what the caller already knows to be missing. */
  check(snapshot: MeshSnapshot, missing: readonly string[], nowMs: number): Promise<Readiness> {
    if (missing.length > 0) return Promise.resolve({ ready: false, missing });
    if (this.last === null || nowMs - this.lastAtMs > REMEMBER_MS) {
      this.lastAtMs = nowMs;
      this.last = probe(snapshot);
    }
    return this.last;
  }
}

async function probe(snapshot: MeshSnapshot): Promise<Readiness> {
  const checks = snapshot.models.map(async (model) => {
    const endpoints = model.split.flatMap((share) => snapshot.clusters[share.cluster]!.endpoints);
    const reached = await Promise.all(endpoints.map(accepts));
    return reached.includes(true) ? null : `model ${model.name}: no endpoint of its primary accepts connections`;
  });
  const missing = (await Promise.all(checks)).filter((text) => text !== null);
  return { ready: missing.length === 0, missing };
}

function accepts(address: EndpointAddress): Promise<boolean> {
  return new Promise((resolve) => {
    const target = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
    const socket = connect({ ...target, timeout: CONNECT_TIMEOUT_MS });
    const settle = (reached: boolean) => {
      socket.destroy();
      resolve(reached);
    };
    socket.once('connect', () => settle(true));
    socket.once('timeout', () => settle(false));
    socket.once('error', () => settle(false));
  });
}
