/**
 * Endpoints as the control thread keeps them: found by name, checked, given their places in shared memory, and shown.
 * Data threads get the snapshots this makes and read the shared cells; nothing here is on the request path.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { type TlsClientRole, tlsClientOptions } from '../../proto/io/tls.ts';
import { formatAddress } from '../config/address.ts';
import type { MeshSnapshot, TlsOrigination } from '../config/snapshot.ts';
import { EndpointDirectory } from '../discovery/endpoint-directory.ts';
import { EndpointPlaces } from '../discovery/endpoint-places.ts';
import { HealthChecker } from '../discovery/health-checker.ts';
import { type OpenConnection, probeHealth } from '../discovery/health-probe.ts';
import { NameResolver } from '../discovery/name-resolver.ts';
import { BreakerCells } from '../policy/breaker-cells.ts';
import { describeBreaker } from '../policy/breaker-view.ts';
import { HealthCells } from '../stats/health-cells.ts';
import { BreakerEvent } from '../stats/slots.ts';

/** Endpoints of clusters that have several, or health checks, in one process. */
const MAX_PLACES = 1024;
/** How often what is due is looked for, milliseconds. */
const TICK_MS = 50;

/** What an endpoint is at the moment. */
export type EndpointState = 'healthy' | 'unhealthy' | 'ejected';

export interface EndpointView {
  readonly address: string;
  readonly state: EndpointState;
}

export interface EndpointControlOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Data threads that record. */
  readonly threads: number;
  readonly tlsRole: (tls: TlsOrigination) => TlsClientRole;
  /** Names resolve to something else: this snapshot is to be published. */
  readonly onChange: (mesh: MeshSnapshot) => void;
}

export class EndpointControl {
  /** Shared with the data threads. */
  readonly buffers: { readonly ejections: SharedArrayBuffer; readonly health: SharedArrayBuffer };
  readonly checker: HealthChecker;
  readonly resolver: NameResolver;
  readonly places: EndpointPlaces;
  private readonly clock: Clock;
  private readonly ejections: BreakerCells;
  private readonly health: HealthCells;
  private readonly directory: EndpointDirectory;
  private readonly tlsRole: (tls: TlsOrigination) => TlsClientRole;
  private readonly onChange: (mesh: MeshSnapshot) => void;
  private written: MeshSnapshot | null = null;
  private located: MeshSnapshot | null = null;
  private timer: NodeJS.Timeout | null = null;

  constructor({ clock, log, threads, tlsRole, onChange }: EndpointControlOptions) {
    this.clock = clock;
    this.onChange = onChange;
    this.tlsRole = tlsRole;
    this.buffers = { ejections: BreakerCells.allocate(MAX_PLACES, threads), health: HealthCells.allocate(MAX_PLACES) };
    this.ejections = new BreakerCells(this.buffers.ejections);
    this.health = new HealthCells(this.buffers.health);
    this.places = new EndpointPlaces({ count: MAX_PLACES, onReuse: (place) => this.clear(place) });
    this.resolver = new NameResolver({
      clock,
      onChange: () => this.relocate(),
      onFailure: (name, error) => log.warn('name_lookup_failed', { name, error: error.message }),
    });
    this.directory = new EndpointDirectory(clock, this.places, this.resolver);
    this.checker = new HealthChecker({
      clock,
      cells: this.health,
      probe: (address, check, tls) => probeHealth(address, check, tls === null ? undefined : this.secure(tls)),
      random: Math.random,
      onChange: (cluster, endpoint, healthy, problem) =>
        log.warn('endpoint_health', { cluster, endpoint, healthy, problem }),
    });
  }

  /** The snapshot for the data threads, made of the one that is written. */
  locate(mesh: MeshSnapshot): MeshSnapshot {
    this.written = mesh;
    const located = this.directory.locate(mesh);
    this.located = located;
    this.checker.watch(located);
    return located;
  }

  start(): void {
    this.timer = setInterval(() => {
      this.resolver.tick();
      this.checker.tick();
    }, TICK_MS);
    this.timer.unref();
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** The endpoints of a cluster, for the admin address and metrics. */
  endpointsOf(cluster: string): EndpointView[] {
    const snapshot = this.located?.clusters.find((candidate) => candidate.name === cluster);
    if (snapshot === undefined) return [];
    const nowMs = this.clock.nowMs();
    return snapshot.endpoints.map((address, i) => {
      const place = snapshot.endpointPlaces[i] ?? -1;
      return { address: formatAddress(address), state: this.stateOf(place, snapshot, nowMs) };
    });
  }

  private stateOf(place: number, { outlier }: MeshSnapshot['clusters'][number], nowMs: number): EndpointState {
    if (place < 0) return 'healthy';
    if (!this.health.isHealthy(place)) return 'unhealthy';
    const { state } = describeBreaker(this.ejections, place, outlier.guard, nowMs);
    return outlier.guard.enabled && state !== 'closed' ? 'ejected' : 'healthy';
  }

  /** Opens connections for checks of a cluster that is spoken to with TLS, with the certificates in force. */
  secure(origination: TlsOrigination): OpenConnection {
    return (address, protocol) => {
      const options = tlsClientOptions(address, this.tlsRole(origination));
      return process
        .getBuiltinModule('node:tls')
        .connect(protocol === '' ? options : { ...options, ALPNProtocols: [protocol] });
    };
  }

  private relocate(): void {
    if (this.written !== null) this.onChange(this.locate(this.written));
  }

  private clear(place: number): void {
    this.health.set(place, true);
    this.ejections.reset(place, BreakerEvent.RELEASED, this.clock.nowMs());
  }
}
