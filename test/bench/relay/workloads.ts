/** What is sent through the proxies, and what is expected of ours; see DESIGN.md sections 2 and 8. */

export interface Workload {
  /** Key in the report. */
  readonly name: string;
  readonly connections: number;
  /** Streams open at once on each connection. */
  readonly streams: number;
  /** Framed request body, bytes. */
  readonly requestBytes: number;
  /** Whether a run without any proxy is part of each round, so that added latency can be told. */
  readonly withDirect: boolean;
  /** Requests of the warm-up run, from which the length of the measured ones is derived. */
  readonly warmUpRequests: number;
  /** Most of haproxy's CPU per request that ours may take; null where none is set. */
  readonly cpuBar: number | null;
}

const SMALL_BYTES = 512;
const IMAGE_BYTES = 150_000;

export const WORKLOADS: readonly Workload[] = [
  {
    name: '8x32',
    connections: 8,
    streams: 32,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 60_000,
    cpuBar: 0.5,
  },
  {
    name: '32x1',
    connections: 32,
    streams: 1,
    requestBytes: SMALL_BYTES,
    withDirect: false,
    warmUpRequests: 30_000,
    cpuBar: 0.85,
  },
  {
    name: '1x1',
    connections: 1,
    streams: 1,
    requestBytes: SMALL_BYTES,
    withDirect: true,
    warmUpRequests: 3000,
    cpuBar: null,
  },
  {
    name: '150k',
    connections: 8,
    streams: 4,
    requestBytes: IMAGE_BYTES,
    withDirect: false,
    warmUpRequests: 3000,
    cpuBar: 0.8,
  },
];
