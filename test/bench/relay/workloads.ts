/** What is sent through the proxies, and what is expected of ours; see DESIGN.md sections 2 and 8. */
import type { TrafficKind } from './traffic.ts';

export interface Workload {
  /** Key in the report. */
  readonly name: string;
  readonly traffic: TrafficKind;
  readonly connections: number;
  /** Streams open at once on each connection. */
  readonly streams: number;
  /** Data threads of each proxy. More than one: ours and haproxy only, on as many cores as the machine can spare. */
  readonly threads: number;
  /** Request body with its framing, bytes. */
  readonly requestBytes: number;
  /** Whether a run without any proxy is part of each round, so that added latency can be told. */
  readonly withDirect: boolean;
  /** Requests of the warm-up run, from which the length of the measured ones is derived. */
  readonly warmUpRequests: number;
  /** Most of the reference's CPU per request that ours may take; null where none is set. */
  readonly cpuBar: number | null;
  /** Requests sent each second whether answered or not, over all connections; null to send as answers come. */
  readonly requestsPerSecond: number | null;
  /** Most MiB ours may hold resident; null where none is set. Such a workload gets proxies just started. */
  readonly residentBarMiB: number | null;
}

const SMALL_BYTES = 512;
const IMAGE_BYTES = 150_000;

export const WORKLOADS: readonly Workload[] = [
  {
    name: '8x32',
    traffic: 'grpc',
    connections: 8,
    streams: 32,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 60_000,
    cpuBar: 0.5,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: '32x1',
    traffic: 'grpc',
    connections: 32,
    streams: 1,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 30_000,
    cpuBar: 0.85,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: 'tls-32x1',
    traffic: 'tls',
    connections: 32,
    streams: 1,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 30_000,
    cpuBar: 1,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: 'threads-2',
    traffic: 'grpc',
    connections: 32,
    streams: 1,
    threads: 2,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 30_000,
    cpuBar: null,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: '1x1',
    traffic: 'grpc',
    connections: 1,
    streams: 1,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: true,
    warmUpRequests: 3000,
    cpuBar: null,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: '150k',
    traffic: 'grpc',
    connections: 8,
    streams: 4,
    threads: 1,
    requestBytes: IMAGE_BYTES,
    withDirect: false,
    warmUpRequests: 3000,
    cpuBar: 0.8,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: 'h1-32x1',
    traffic: 'http1',
    connections: 32,
    streams: 1,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 30_000,
    cpuBar: 1.15,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: 'mirror-8x32',
    traffic: 'mirror',
    connections: 8,
    streams: 32,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 60_000,
    cpuBar: 1.5,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: 'tcp-32x1',
    traffic: 'tcp',
    connections: 32,
    streams: 1,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 30_000,
    cpuBar: null,
    requestsPerSecond: null,
    residentBarMiB: null,
  },
  {
    name: 'fixed-10k',
    traffic: 'grpc',
    connections: 64,
    streams: 8,
    threads: 1,
    requestBytes: SMALL_BYTES,
    withDirect: true,
    warmUpRequests: 10_000,
    cpuBar: null,
    requestsPerSecond: 10_000,
    residentBarMiB: 90,
  },
];

/** Connections that were used once and then are silent. */
export const IDLE_WORKLOAD = {
  name: 'idle-1000',
  connections: 1000,
  /** Most MiB all of them together may add to our resident set. */
  addedBarMiB: 20,
} as const;

export const WORKLOAD_NAMES: readonly string[] = [...WORKLOADS.map((workload) => workload.name), IDLE_WORKLOAD.name];
