/**
 * Runs every group of the worker and ends them together. Prints one JSON line per change of a group on standard output,
 * pid included; the groups' own logs go to standard error.
 */
import { systemClock } from '../../base/clock.ts';
import { renderFamilies } from '../metrics/metric-family.ts';
import { MetricsServer } from '../metrics/metrics-server.ts';
import type { WorkerSettings } from '../settings.ts';
import { forkGroup } from './group-fork.ts';
import { GroupMetrics } from './group-metrics.ts';
import { type GroupChange, GroupSupervisor } from './group-supervisor.ts';
import { addressText } from './isolation-groups.ts';
import { RestartBackoff } from './restart-backoff.ts';

/** What a draining process may take beyond its own deadline to unload its models and end. */
const UNLOAD_MARGIN_MS = 3_000;
const METRICS_HOST = '0.0.0.0';
/**
 * A terminal or a container sends a signal to every process of a group, and a launcher passes its own on: what comes twice
 * within this time was asked once.
 */
const SAME_REQUEST_MS = 1_000;

/** Serves until told to stop. Resolves with the exit code. */
export class Supervisor {
  private readonly groups: readonly GroupSupervisor[];
  private readonly metrics: GroupMetrics;
  private readonly metricsPort: number;
  private readonly metricsServer: MetricsServer;
  private readonly print: (line: object) => void;
  private readonly notReady: Set<string>;
  private finish: (exitCode: number) => void = () => {};
  /** When it was first asked to stop; Infinity while it was not. */
  private stoppingSinceMs = Number.POSITIVE_INFINITY;

  constructor(settings: WorkerSettings, print: (line: object) => void = printLine) {
    this.print = print;
    this.notReady = new Set(settings.groups.map((group) => group.name));
    this.groups = settings.groups.map(
      (group) =>
        new GroupSupervisor({
          name: group.name,
          spawn: (events) =>
            forkGroup(group, settings.serving, {
              onExit: events.onExit,
              onReport: (report) => {
                if (report.kind === 'metrics') this.metrics.receive(report.id, report.families);
                else events.onReport(report);
              },
            }),
          backoff: new RestartBackoff(),
          clock: systemClock,
          after,
          drainMs: settings.serving.drainMs + UNLOAD_MARGIN_MS,
          silenceMs: settings.serving.batching.executionTimeoutMs,
          onChange: (change) => this.changed(change),
        }),
    );
    this.metrics = new GroupMetrics(this.groups, after);
    this.metricsPort = settings.metricsPort;
    const { path } = settings.serving.monitoring;
    this.metricsServer = new MetricsServer(
      async (dialect) => renderFamilies(await this.metrics.collect(dialect)),
      path,
    );
  }

  /** Starts every group and stays until `stop` has ended them, or until a group cannot be served at all. */
  run(): Promise<number> {
    return new Promise((resolve) => {
      this.finish = resolve;
      void this.openMetrics();
      for (const group of this.groups) group.start();
    });
  }

  /** Drains every group; asked again later than `SAME_REQUEST_MS`, kills them. */
  async stop(exitCode = 0): Promise<void> {
    const nowMs = systemClock.nowMs();
    if (this.stopping) {
      if (nowMs > this.stoppingSinceMs + SAME_REQUEST_MS) for (const group of this.groups) group.kill();
      return;
    }
    this.stoppingSinceMs = nowMs;
    await Promise.all(this.groups.map((group) => group.stop()));
    await this.metricsServer.close();
    this.print({ event: 'worker_stopped' });
    this.finish(exitCode);
  }

  private get stopping(): boolean {
    return this.stoppingSinceMs !== Number.POSITIVE_INFINITY;
  }

  /** A metrics port that is taken is a mistake in the configuration, as an API port is. */
  private async openMetrics(): Promise<void> {
    if (this.metricsPort < 0) return;
    try {
      const port = await this.metricsServer.listen(this.metricsPort, METRICS_HOST);
      this.print({ event: 'metrics_ready', port });
    } catch (error) {
      this.print({ event: 'metrics_unbindable', message: (error as Error).message });
      void this.stop(1);
    }
  }

  private changed(change: GroupChange): void {
    const { group, to, from, pid, addresses, ...more } = change;
    const texts = addresses?.map(addressText);
    this.print({ event: 'group_state', group, pid, from, to, ...(texts && { addresses: texts }), ...more });
    if (to === 'READY' && this.notReady.delete(group) && this.notReady.size === 0)
      this.print({ event: 'worker_ready' });
    if (to !== 'WAITING' || this.stopping) return;
    const fatal = this.groups.find((candidate) => candidate.name === group)?.fatal ?? null;
    if (fatal === null) return;
    this.print({ event: 'group_unservable', group, message: fatal });
    void this.stop(1);
  }
}

function after(ms: number, then: () => void): () => void {
  const timer = setTimeout(then, ms);
  return () => clearTimeout(timer);
}

function printLine(line: object): void {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`);
}
