/** One measured run: load through one proxy, what it cost the proxy, and whether the measurement is to be trusted. */
import { join } from 'node:path';
import { CoreWatch } from '../measure/patience.ts';
import { cpuMicroseconds, residentMiB } from '../measure/process-tree.ts';
import { type BenchOptions, testedCores } from '../options.ts';
import type { Backend } from './backend.ts';
import { type EchoLoad, runLoad } from './traffic.ts';
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
  /** Highest resident set seen during the run, MiB; 0 without a proxy. */
  readonly residentMiB: number;
  /** Copies the shadow answered, as a fraction of the requests; 0 without a mirror. What is missing was dropped. */
  readonly copiedFraction: number;
  /** Other programs used the proxy's core. */
  readonly disturbed: boolean;
  /** There were fewer cores for the proxy than it has threads. */
  readonly shareCores: boolean;
}

/** What all runs of a bench share. */
export interface RelayRig {
  readonly h2load: string;
  readonly backend: Backend;
  /** The backend that gets the mirror's copies; null where nothing is mirrored. */
  readonly shadow: Backend | null;
  readonly options: BenchOptions;
  readonly folder: string;
  readonly echo: EchoLoad | null;
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
  const shadowBefore = await rig.shadow?.ask({});
  const countsBefore = await backend.ask({});
  const cpuBefore = pid === null ? 0 : cpuMicroseconds(pid);
  const tested = new CoreWatch(...testedCores(options, workload.threads));
  const loadCore = new CoreWatch(options.loadCore);
  const resident = new ResidentWatch(pid);
  const load = await runLoad(
    workload.traffic,
    {
      port,
      connections: workload.connections,
      streams: workload.streams,
      requests: total,
      requestBytes: workload.requestBytes,
      requestsPerSecond: workload.requestsPerSecond,
      timeoutMs: Math.max(LEAST_PATIENCE_MS, options.seconds * 1000 * PATIENCE),
    },
    {
      h2load: rig.h2load,
      echo: rig.echo,
      core: options.loadCore,
      bodyFile: bodyFile(rig.folder, workload.requestBytes),
      logFile: join(rig.folder, 'h2load.log'),
    },
  );
  const mostResident = resident.stop();
  const loadCoreBusy = loadCore.busy();
  const cpuUs = pid === null ? Number.NaN : cpuMicroseconds(pid) - cpuBefore;
  const disturbed = tested.disturbed(pid === null ? 0 : cpuUs);
  const countsAfter = await backend.ask({});
  const copied = ((await rig.shadow?.ask({}))?.good ?? 0) - (shadowBefore?.good ?? 0);
  const failed = Math.max(load.failed, countsAfter.bad - countsBefore.bad);
  return {
    requests: total,
    failed,
    cpuUsPerRequest: cpuUs / Math.max(1, countsAfter.good - countsBefore.good),
    p50Us: load.p50Us,
    p99Us: load.p99Us,
    requestsPerSecond: load.requestsPerSecond,
    loadCoreBusy,
    residentMiB: mostResident,
    copiedFraction: copied / total,
    disturbed,
    shareCores: testedCores(options, workload.threads).length < workload.threads,
  };
}

/** Where the request body of that size lies, for h2load. */
export function bodyFile(folder: string, requestBytes: number): string {
  return join(folder, `request-${requestBytes}`);
}

const LOOK_EVERY_MS = 200;

/** Looks at a proxy's resident set now and then: seldom, since the bench runs on the machine it measures. */
class ResidentWatch {
  private most = 0;
  private readonly pid: number | null;
  private readonly timer: NodeJS.Timeout;

  constructor(pid: number | null) {
    this.pid = pid;
    this.timer = setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  /** Highest seen, MiB. */
  stop(): number {
    clearInterval(this.timer);
    this.look();
    return this.most;
  }

  private look(): void {
    if (this.pid !== null) this.most = Math.max(this.most, residentMiB(this.pid));
  }
}
