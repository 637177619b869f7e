/**
 * The proxy put together, on the control thread: configuration in, snapshots out to the data threads, figures back, the
 * admin address, and the order in which everything starts and drains.
 *
 * Start: configuration (all mistakes at once) ▸ statistics and breaker memory ▸ analysis ▸ data threads ▸ admin.
 * Drain: `shutdownDelay` in which everything still works ▸ data threads finish what is open ▸ analysis and admin end.
 * One deadline holds for all of it, counted from the signal.
 */
import { MessageChannel } from 'node:worker_threads';
import { systemClock } from '../../base/clock.ts';
import { type Logger, setLogFormat } from '../../base/logger.ts';
import { collectStartGarbage } from '../../base/start-garbage.ts';
import { AdminServer } from '../admin/admin-server.ts';
import { TransitionLog } from '../admin/transition-log.ts';
import { formatAddress } from '../config/address.ts';
import type { AllocationKind } from '../config/allocation.ts';
import { roleAddresses, secondaryName, UNROUTED } from '../config/compile.ts';
import type { EnvironmentVariables } from '../config/env.ts';
import type { ProcessSettings } from '../config/process-fields.ts';
import type { ClusterSnapshot, EndpointAddress, MeshSnapshot } from '../config/snapshot.ts';
import { ConfigSource, type Configuration } from '../config/source.ts';
import { tlsContext, tlsFilesOf } from '../config/tls-material.ts';
import { DegradationCells } from '../degradation/cells.ts';
import { AnalysisClient } from '../mirror/analysis-client.ts';
import type { ComparisonPolicy } from '../mirror/messages.ts';
import { BreakerCells } from '../policy/breaker-cells.ts';
import { describeBreaker } from '../policy/breaker-view.ts';
import { LoadCells } from '../policy/load-cells.ts';
import { gaugeSlots } from '../stats/catalogue.ts';
import { MetricsExposition } from '../stats/exposition.ts';
import { StatsLayout } from '../stats/layout.ts';
import { StatsRegions } from '../stats/region.ts';
import { adminRoutes, readingRoutes } from './admin-routes.ts';
import { observeAnalysis } from './analysis-metrics.ts';
import { observeControl } from './control-metrics.ts';
import { DataThreads } from './data-threads.ts';
import { DegradationDriver } from './degradation-driver.ts';
import { EndpointControl } from './endpoint-control.ts';
import { GuardStore } from './guard-store.ts';
import { HedgeNotices } from './hedge-notices.ts';
import { ReadinessProbe } from './readiness.ts';
import { TlsStore } from './tls-store.ts';
import { TraceExporter } from './trace-exporter.ts';

/** Breakers one run can hand out; names are never forgotten within a run. */
const MAX_BREAKERS = 1024;
/** Models with degradation, likewise. */
const MAX_DEGRADATIONS = 256;

/** How long a collector may take for what is left at the end. */
const LAST_SPANS_MS = 1000;

export class App {
  private readonly log: Logger;
  private readonly source: ConfigSource;
  private readonly layout: StatsLayout;
  private readonly regions: StatsRegions;
  private readonly breakerCells: BreakerCells;
  private readonly exposition: MetricsExposition;
  private readonly analysis: AnalysisClient;
  private readonly endpoints: EndpointControl;
  private readonly threads: DataThreads;
  private readonly guards = new GuardStore();
  private readonly tls: TlsStore;
  private readonly spans: TraceExporter | null;
  private readonly admin: AdminServer;
  /** Metrics and probes only, for those outside the pod. */
  private readonly metrics: AdminServer;
  private readonly transitions = new TransitionLog();
  private readonly breakerPlaces = new Map<string, number>();
  private readonly degradationPlaces = new Map<string, number>();
  private readonly degradation: DegradationDriver;
  private readonly hedges: HedgeNotices;
  private draining = false;
  private stopping: Promise<void> | null = null;

  /** Reads the configuration; throws a `ConfigError` with every mistake. Starts nothing. */
  constructor(env: EnvironmentVariables, log: Logger) {
    this.log = log;
    const slots = StatsLayout.slotsFor();
    // The number of threads is a setting, and settings are read with the allocator: memory is made for the most.
    let regions: StatsRegions | null = null;
    this.layout = new StatsLayout({ clearBlock: (first, count) => regions?.clear(first, count) });
    this.source = ConfigSource.open({
      env,
      allocate: (kind, name, labels) => this.allocate(kind, name, labels),
      log,
      onChange: (configuration) => this.publish(configuration),
    });
    const { settings, mesh } = this.source.current;
    log.level = settings.logLevel;
    setLogFormat(settings.logFormat);
    regions = new StatsRegions(settings.concurrency, slots);
    this.regions = regions;
    const breakerBuffer = BreakerCells.allocate(MAX_BREAKERS, settings.concurrency);
    this.breakerCells = new BreakerCells(breakerBuffer);
    const loadBuffer = LoadCells.allocate(MAX_BREAKERS, settings.concurrency);
    const degradationBuffer = DegradationCells.allocate(MAX_DEGRADATIONS, settings.concurrency);
    this.degradation = new DegradationDriver({
      cells: new DegradationCells(degradationBuffer),
      clock: systemClock,
      log,
      secure: (tls) => this.endpoints.secure(tls),
    });
    this.degradation.apply(mesh);
    this.hedges = new HedgeNotices(log);
    this.hedges.apply(mesh);
    this.exposition = new MetricsExposition({ layout: this.layout, regions });
    this.endpoints = new EndpointControl({
      clock: systemClock,
      log,
      threads: settings.concurrency,
      tlsRole: (tls) => ({
        context: tlsContext(this.tls.materialOf(tls.files)!, settings.tlsMinVersion),
        serverName: tls.serverName,
        peerNames: tls.peerNames,
        onHandshake: () => {},
      }),
      onChange: (located) => this.threads.publish(located),
    });
    this.analysis = new AnalysisClient({
      policies: comparisonPolicies(mesh),
      log,
      store: pairStore(settings),
      onRestart: () => this.connectAnalysis(),
    });
    observeAnalysis(this.exposition, this.analysis, () => this.source.current.mesh);
    this.tls = new TlsStore({ log, onChange: (material) => this.threads?.sendTls(material) });
    this.tls.follow(tlsFilesOf(settings, mesh));
    const { tracingEndpoint: endpoint, tracingServiceName: serviceName } = settings;
    this.spans = endpoint === null ? null : new TraceExporter({ endpoint, serviceName, log });
    this.threads = new DataThreads({
      onSpans: (batch) => this.spans?.add(batch),
      tlsMaterials: () => this.tls.materials,
      settings,
      snapshot: this.endpoints.locate(mesh),
      statsBuffers: regions.buffers,
      breakerBuffer,
      loadBuffer,
      guardBuffer: this.guards.buffer,
      degradationBuffer,
      endpointBuffers: this.endpoints.buffers,
      log,
      onStarted: (thread) => this.threads.sendAnalysisPort(thread, this.analysisPort()),
      onBreaker: (cluster, { from, to, reason }) => this.transitions.add(cluster, from, to, reason),
      onDied: (thread) => {
        this.regions.clearSlots(thread, gaugeSlots(this.layout));
        new LoadCells(loadBuffer).forget(thread);
      },
    });
    const { source, tls, guards, spans, degradation, endpoints } = this;
    const describe = (cluster: ClusterSnapshot) => this.describe(cluster);
    observeControl(this.exposition, { source, tls, guards, spans, degradation, endpoints, describe });
    const { worker, fallbackWorker } = roleAddresses(settings);
    const readiness = new ReadinessProbe([worker, fallbackWorker]);
    const { threads, layout, analysis, exposition, transitions } = this;
    const isDraining = () => this.draining;
    const reading = readingRoutes({ exposition, readiness, source, threads, isDraining });
    const views = {
      source,
      layout,
      regions,
      analysis,
      endpoints,
      threads,
      tls,
      transitions,
      degradation,
      describe,
      log,
    };
    this.admin = new AdminServer([...reading, ...adminRoutes(views)]);
    this.metrics = new AdminServer(reading);
  }

  /** Starts everything; resolves when the proxy listens. */
  async start(): Promise<void> {
    const started = this.threads.start();
    collectStartGarbage();
    await started;
    this.degradation.start();
    this.endpoints.start();
    this.source.start();
    this.tls.start();
    const { adminListen, metricsListen } = this.source.current.settings;
    for (const address of adminListen) this.announce('admin', await this.admin.listen(address));
    for (const address of metricsListen) this.announce('metrics', await this.metrics.listen(address));
  }

  /** Drains and ends everything within the configured deadline. Asked again, it is the same drain. */
  stop(): Promise<void> {
    this.stopping ??= this.drainAll();
    return this.stopping;
  }

  private async drainAll(): Promise<void> {
    this.draining = true;
    const { shutdownDelayMs, shutdownGracePeriodMs } = this.source.current.settings;
    const deadlineMs = systemClock.nowMs() + shutdownGracePeriodMs;
    this.log.info('draining', { delayMs: shutdownDelayMs, graceMs: shutdownGracePeriodMs });
    await new Promise((resolve) => setTimeout(resolve, Math.min(shutdownDelayMs, shutdownGracePeriodMs)));
    const cut = await this.threads.drain(Math.max(0, deadlineMs - systemClock.nowMs()));
    this.endpoints.stop();
    this.source.close();
    this.tls.close();
    this.degradation.stop();
    await this.spans?.close(LAST_SPANS_MS);
    await this.analysis.stop();
    this.admin.close();
    this.metrics.close();
    this.log.info('stopped', { requestsCut: cut });
  }

  private announce(role: 'admin' | 'metrics', address: EndpointAddress): void {
    this.log.info('listening', { role, address: formatAddress(address) });
  }

  private publish(configuration: Configuration): void {
    const { mesh, settings } = configuration;
    try {
      this.tls.follow(tlsFilesOf(settings, mesh));
    } catch (error) {
      // Good when the edit was read and broken since: the data threads keep the snapshot they have.
      this.log.error('certificates_unreadable', { error, revision: mesh.revision });
      return;
    }
    this.retainSeries(mesh);
    this.analysis.setPolicies(comparisonPolicies(mesh));
    this.degradation.apply(mesh);
    this.hedges.apply(mesh);
    this.threads.publish(this.endpoints.locate(mesh));
  }

  private allocate(kind: AllocationKind, name: string, labels: readonly string[]): number {
    if (kind === 'degradation') return placeOf(this.degradationPlaces, name, MAX_DEGRADATIONS, 'degraded models');
    if (kind === 'guard') return this.guards.place(name);
    if (kind !== 'breaker') return this.layout.allocate(kind, labels, systemClock.nowMs()).base;
    return placeOf(this.breakerPlaces, name, MAX_BREAKERS, 'clusters');
  }

  private retainSeries(mesh: MeshSnapshot): void {
    const nowMs = systemClock.nowMs();
    const clusters = [...mesh.clusters, mesh.originalDestination].map(({ name, model, version }) => [
      name,
      model,
      version,
    ]);
    const shadows = mesh.models.flatMap((model) =>
      [...model.shadows, ...model.secondaries].map((shadow, i) => {
        const { name, version } = mesh.clusters[shadow.cluster]!;
        return [model.name, i < model.shadows.length ? name : secondaryName(name), version];
      }),
    );
    this.layout.retain('cluster', clusters, nowMs);
    this.layout.retain('shadow', shadows, nowMs);
    this.layout.retain('route', [...mesh.routes.map(({ name }) => [name]), [UNROUTED]], nowMs);
    const steps = mesh.pipelines.flatMap(({ name, steps }) => steps.map((step) => [name, step.name]));
    this.layout.retain(
      'pipeline',
      mesh.pipelines.map(({ name }) => [name]),
      nowMs,
    );
    this.layout.retain('step', steps, nowMs);
  }

  private describe(cluster: ClusterSnapshot) {
    return describeBreaker(this.breakerCells, cluster.breakerIndex, cluster.breaker, systemClock.nowMs());
  }

  // ---- threads -------------------------------------------------------------------------------------------------

  private analysisPort() {
    const { port1, port2 } = new MessageChannel();
    this.analysis.addPort(port1);
    return port2;
  }

  private connectAnalysis(): void {
    for (const thread of this.threads.running()) this.threads.sendAnalysisPort(thread, this.analysisPort());
  }
}

/** The place of a name, given now if it has none. */
function placeOf(places: Map<string, number>, name: string, most: number, what: string): number {
  const place = places.get(name) ?? places.size;
  if (place >= most) throw new RangeError(`at most ${most} ${what} in one run`);
  places.set(name, place);
  return place;
}

function pairStore({ pairStore: path, pairStoreMaxPairs: maxPairs, pairStoreMaxSize: maxBytes }: ProcessSettings) {
  return path === null ? null : { path, maxPairs, maxBytes };
}

function comparisonPolicies(mesh: MeshSnapshot): ComparisonPolicy[] {
  return mesh.models
    .filter((model) => model.shadows.length > 0)
    .map(({ name, cohort, comparison, outputs }) => ({ model: name, cohort, outputs, ...comparison }));
}
