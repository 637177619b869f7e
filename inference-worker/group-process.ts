/**
 * The process of one isolation group: loads its models, then binds its addresses, so that nobody is answered "not found"
 * for a model that is still being loaded. Started by the supervisor, told what to serve over IPC, and gone when the
 * supervisor is gone.
 *
 * Ending: `process.exit` while a thread is inside onnxruntime aborts the process, so the servables are closed first,
 * which waits for their threads; what does not end in time ends by SIGKILL.
 */

import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { Logger } from '../base/logger.ts';
import { clearSocketPath } from '../proto/io/socket-file.ts';
import { HealthCheckMethod, HealthWatchMethod } from './api/health.ts';
import { ServingService } from './api/serving-service.ts';
import { ServingState } from './api/serving-state.ts';
import { tfsMethods } from './api/tfs-methods.ts';
import type { Servable } from './batching/batcher.ts';
import type { FrontProtocol, ServingFront } from './front/serving-front.ts';
import { openWorkerFront } from './front/worker-front.ts';
import { DeviceMonitor } from './metrics/device-monitor.ts';
import { MetricsApi } from './metrics/metrics-api.ts';
import { MetricsExposition } from './metrics/metrics-exposition.ts';
import type { MetricsDialect } from './metrics/metrics-paths.ts';
import type { WarmUpRun } from './metrics/servable-families.ts';
import { packageVersion } from './package-version.ts';
import { ConfigFileWatch } from './repository/config-file-watch.ts';
import type { ModelCard } from './repository/model-card.ts';
import type { FoundVersion } from './repository/model-directory.ts';
import { ModelRepository } from './repository/model-repository.ts';
import type { RepositoryDirectory } from './repository/model-set.ts';
import type { ExecutionSettings } from './session/provider-options.ts';
import { settleProviders } from './session/provider-probe.ts';
import type { ServingSettings } from './settings.ts';
import type { GroupCommand, GroupReport } from './supervision/group-messages.ts';
import {
  type DirectorySettings,
  type GroupSettings,
  type ListenAddress,
  modelsOfFile,
} from './supervision/isolation-groups.ts';
import { openVersion } from './version-opening.ts';

/** What serves in this process, from the start message to the end. */
class GroupProcess {
  private readonly group: GroupSettings;
  private readonly serving: ServingSettings;
  private readonly log: Logger;
  private readonly state = new ServingState();
  private readonly repository: ModelRepository;
  private readonly service: ServingService;
  private readonly watch = new HealthWatchMethod(this.state);
  private readonly front: ServingFront;
  private readonly metrics: MetricsExposition;
  private readonly configWatch: ConfigFileWatch | null;
  private execution: ExecutionSettings;
  private ending = false;

  constructor(group: GroupSettings, serving: ServingSettings) {
    this.group = group;
    this.serving = serving;
    this.execution = serving.execution;
    this.log = new Logger(serving.logLevel, { group: group.name, pid: process.pid });
    this.metrics = this.openMetrics();
    this.repository = new ModelRepository({
      models: group.models,
      directory: group.directory === null ? null : repositoryDirectory(group.directory),
      pollMs: serving.pollMs,
      maxLoadRetries: serving.maxLoadRetries,
      loadRetryMs: serving.loadRetryMs,
      allowLabelsForUnavailable: serving.allowLabelsForUnavailable,
      load: (model, found, describe) => this.load(model, found, describe),
      log: this.log,
      onVersionChange: ({ model, version, to }) => {
        if (to === 'END') this.metrics.retire(model, version);
      },
    });
    this.configWatch = this.watchConfigFile();
    this.service = new ServingService(this.repository, this.repository);
    this.front = openWorkerFront({
      service: this.service,
      state: this.state,
      methods: [
        ...tfsMethods(this.service, { serializeAsTensorContent: serving.serializeAsTensorContent }),
        ...(serving.healthService ? [new HealthCheckMethod(this.state), this.watch] : []),
      ],
      apis: [new MetricsApi(this.metrics, serving.monitoring.enabled ? serving.monitoring.path : null)],
      clock: systemClock,
      log: this.log,
      maxMessageBytes: serving.maxMessageBytes,
      restTimeoutMs: serving.rest.timeoutMs,
      cors: serving.rest.enableCors,
      maxBatchSize: serving.batching.maxBatchSize,
      batchTimeoutMicros: serving.batching.batchTimeoutMicros,
      serverVersion: packageVersion(),
      managesModels: true,
      maxConcurrentStreams: serving.maxConcurrentStreams,
    });
  }

  async start(): Promise<void> {
    if (!(await this.settleExecution())) return;
    await this.repository.start();
    if (this.ending) return;
    const addresses: ListenAddress[] = [];
    try {
      for (const address of this.group.addresses) addresses.push(await this.listen(address, 'shared'));
      for (const address of this.group.restAddresses) addresses.push(await this.listen(address, 'rest'));
    } catch (error) {
      const { message } = error as Error;
      this.log.error('cannot_listen', { message });
      report({ kind: 'unbindable', message });
      await this.end(0, 1);
      return;
    }
    this.state.set(true);
    this.configWatch?.start();
    report({ kind: 'ready', addresses, provider: this.execution.providers[0]!.name });
  }

  private async listen(address: ListenAddress, protocol: FrontProtocol): Promise<ListenAddress> {
    if (address.kind === 'unix') await clearSocketPath(address.path);
    const tls = address.kind === 'tcp' && protocol === 'shared' ? this.serving.tls : null;
    const bound = await this.front.listen(address, protocol, tls);
    if (address.kind === 'unix') await chmod(address.path, this.serving.socketMode);
    return bound;
  }

  /** Finishes accepted calls within `drainMs`, unloads everything and exits. Asked again, it goes on as before. */
  async end(drainMs: number, exitCode: number): Promise<void> {
    if (this.ending) return;
    this.ending = true;
    this.state.set(false);
    this.configWatch?.close();
    this.watch.close();
    await this.front.drain(drainMs);
    await this.repository.close();
    process.exit(exitCode);
  }

  /** Sends the supervisor what it asked for. */
  tellMetrics(id: number, dialect: MetricsDialect): void {
    report({ kind: 'metrics', id, families: this.metrics.collect(dialect) });
  }

  drain(): void {
    void this.end(this.serving.drainMs, 0);
  }

  /** As `drain`, by SIGKILL if it takes too long: for when nobody is left to see to it. */
  abandon(): void {
    const { drainMs } = this.serving;
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), drainMs + ABANDON_MARGIN_MS).unref();
    this.drain();
  }

  /** Devices are told of only where one may be used. */
  private openMetrics(): MetricsExposition {
    const { providers } = this.serving.execution;
    const devices = providers.some(({ name }) => name !== 'cpu') ? new DeviceMonitor(this.log) : null;
    return new MetricsExposition({
      group: this.group.name,
      provider: () => this.execution.providers[0]!.name,
      readDevices: () => devices?.read() ?? [],
    });
  }

  /** Whether there is a provider to execute on; without one this process cannot serve, now or later. */
  private async settleExecution(): Promise<boolean> {
    try {
      this.execution = await settleProviders(this.serving.execution, this.log);
      return true;
    } catch (error) {
      const { message } = error as Error;
      this.log.error('no_execution_provider', { message });
      report({ kind: 'unservable', message });
      await this.end(0, 1);
      return false;
    }
  }

  private watchConfigFile(): ConfigFileWatch | null {
    const { configFile } = this.group;
    if (configFile === null) return null;
    return new ConfigFileWatch({
      path: configFile.path,
      pollMs: this.serving.configPollMs,
      apply: (models) => this.repository.reload(modelsOfFile(configFile, models)),
      log: this.log,
    });
  }

  private async load(
    model: string,
    found: FoundVersion,
    describe: (card: ModelCard | null) => void,
  ): Promise<Servable> {
    const { batching, perModelBatching, requireManifest, warmUp, warmUpIterations, maxMessageBytes } = this.serving;
    let warmedUp: WarmUpRun | null = null;
    const servable = await openVersion(model, found, describe, {
      batching,
      requireManifest,
      perModelBatching,
      warmUp,
      warmUpIterations,
      maxRecordBytes: maxMessageBytes,
      clock: systemClock,
      log: this.log,
      load: { execution: this.execution, isServing: () => this.state.serving },
      onBroken: (servable, error) => this.broken(servable, error.message),
      onWarmedUp: (ms) => {
        warmedUp = { path: dirname(found.path), ms };
      },
    });
    this.metrics.add(servable, warmedUp);
    return servable;
  }

  /** A thread is stuck in native code: no call is taken any more, and the supervisor replaces the process. */
  private broken(servable: Servable, message: string): void {
    this.state.set(false);
    this.log.error('servable_broken', { model: servable.model, version: servable.version, message });
    report({ kind: 'broken', message });
  }
}

/** What unloading may take beyond the drain deadline once the supervisor is gone. */
const ABANDON_MARGIN_MS = 3_000;

function repositoryDirectory(settings: DirectorySettings): RepositoryDirectory {
  const { path, policy, policies, only, except } = settings;
  return {
    path,
    policyOf: (model) => policies.get(model) ?? policy,
    accepts: (model) => (only === null ? !except.includes(model) : only.includes(model)),
  };
}

function report(message: GroupReport): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

// A log that nobody reads any more is no reason to stop serving.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

let running: GroupProcess | null = null;

process.on('message', (command: GroupCommand) => {
  if (command.kind === 'drain') running?.drain();
  else if (command.kind === 'ping') report({ kind: 'pong' });
  else if (command.kind === 'metrics') running?.tellMetrics(command.id, command.dialect);
  else {
    running = new GroupProcess(command.group, command.serving);
    void running.start();
  }
});
process.on('disconnect', () => {
  if (running === null) process.exit(0);
  running.abandon();
});
process.on('SIGTERM', () => {
  if (running === null) process.exit(0);
  running.drain();
});
// Ctrl-C reaches the whole foreground process group; the supervisor decides when this process ends.
process.on('SIGINT', () => {});
