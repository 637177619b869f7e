/** One measured run: load through one proxy, what it cost the proxy, and whether the measurement is to be trusted. */
import { join } from 'node:path';
import { CoreWatch } from '../measure/patience.ts';
import { cpuMicroseconds } from '../measure/process-tree.ts';
import type { BenchOptions } from '../options.ts';
import type { Backend } from './backend.ts';
import { runH2load } from './h2load.ts';
import { PREDICT_PATH } from './payload.ts';
import type { Workload } from './workloads.ts';

/** Above this, the load generator and not the proxy may have been the limit. */
export const LOAD_CORE_LIMIT = 0.95;
/** A run may take this many times its planned length before it is given up. */
const PATIENCE = 6;
const LEAST_PATIENCE_MS = 10_000;

export interface RelayRun {
  readonly requests: number;
  /** Requests not answered, or not answered with the right bytes. */
  readonly failed: number;
  /** NaN for a run without a proxy. */
  readonly cpuUsPerRequest: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly requestsPerSecond: number;
  readonly loadCoreBusy: number;
  /** Other programs used the proxy's core. */
  readonly disturbed: boolean;
}

/** What all runs of a bench share. */
export interface RelayRig {
  readonly h2load: string;
  readonly backend: Backend;
  readonly options: BenchOptions;
  readonly folder: string;
  readonly replyBytes: number;
}

/** Sends about `requests` requests of `workload` to `port`; `pid` is the proxy, null without one. */
export async function runRelay(
  rig: RelayRig,
  workload: Workload,
  port: number,
  pid: number | null,
  requests: number,
): Promise<RelayRun> {
  const { options, backend } = rig;
  const perConnection = Math.max(workload.streams, Math.round(requests / workload.connections));
  const total = perConnection * workload.connections;
  const countsBefore = await backend.ask({});
  const cpuBefore = pid === null ? 0 : cpuMicroseconds(pid);
  const testedCore = new CoreWatch(options.testedCore);
  const loadCore = new CoreWatch(options.loadCore);
  const load = await runH2load({
    program: rig.h2load,
    core: options.loadCore,
    port,
    path: PREDICT_PATH,
    connections: workload.connections,
    streams: workload.streams,
    requests: total,
    bodyFile: bodyFile(rig.folder, workload.requestBytes),
    logFile: join(rig.folder, 'h2load.log'),
    timeoutMs: Math.max(LEAST_PATIENCE_MS, options.seconds * 1000 * PATIENCE),
  });
  const loadCoreBusy = loadCore.busy();
  const cpuUs = pid === null ? Number.NaN : cpuMicroseconds(pid) - cpuBefore;
  const disturbed = testedCore.disturbed(pid === null ? 0 : cpuUs);
  const countsAfter = await backend.ask({});
  const wrongBytes = Math.abs(total - load.dataBytes / rig.replyBytes);
  const failed = Math.max(total - load.succeeded, countsAfter.bad - countsBefore.bad, Math.ceil(wrongBytes));
  return {
    requests: total,
    failed,
    cpuUsPerRequest: cpuUs / Math.max(1, countsAfter.good - countsBefore.good),
    p50Us: load.p50Us,
    p99Us: load.p99Us,
    requestsPerSecond: load.requestsPerSecond,
    loadCoreBusy,
    disturbed,
  };
}

/** Where the request body of that size lies, for h2load. */
export function bodyFile(folder: string, requestBytes: number): string {
  return join(folder, `request-${requestBytes}`);
}
