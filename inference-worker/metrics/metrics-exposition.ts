/**
 * The metrics of one group's process. Servables count into typed arrays as they work; families are built from them when
 * somebody scrapes. What a version counted stays in the sums by model after it is unloaded, so that counters only grow;
 * its own series end with it.
 */
import type { Servable } from '../batching/batcher.ts';
import type { DeviceReading } from './device-monitor.ts';
import { FamilySet, type MetricFamily, mergeFamilies, renderFamilies } from './metric-family.ts';
import type { MetricsDialect } from './metrics-paths.ts';
import { addServable, addTfsServable, addTfsWarmUp, type WarmUpRun } from './servable-families.ts';

/** What is told apart besides servables. */
export interface MetricsSource {
  /** Name of the isolation group. */
  readonly group: string;
  /** The execution provider in force. */
  provider(): string;
  /** Readings of devices, empty without any. */
  readDevices(): readonly DeviceReading[];
}

export class MetricsExposition {
  private readonly source: MetricsSource;
  private readonly servables = new Set<Servable>();
  private readonly warmUps = new Map<Servable, WarmUpRun>();
  /** TensorFlow Serving's families of versions that are gone. */
  private retired: MetricFamily[] = [];

  constructor(source: MetricsSource) {
    this.source = source;
  }

  /** From now on the servable's figures are told, and how it was warmed up if recorded requests were replayed. */
  add(servable: Servable, warmUp: WarmUpRun | null = null): void {
    this.servables.add(servable);
    if (warmUp !== null) this.warmUps.set(servable, warmUp);
  }

  /** The version ended: what it counted is kept in the sums of its model. */
  retire(model: string, version: bigint): void {
    for (const servable of this.servables) {
      if (servable.model !== model || servable.version !== version) continue;
      this.servables.delete(servable);
      this.warmUps.delete(servable);
      this.retired = mergeFamilies([this.retired, tfsFamilies([servable])]);
    }
  }

  /** The families of a dialect now; plain data. */
  collect(dialect: MetricsDialect): MetricFamily[] {
    if (dialect === 'tensorflow') return this.tensorflowFamilies();
    const families = new FamilySet();
    const labels = { group: this.source.group };
    for (const servable of this.servables) addServable(families, servable, labels);
    this.addProcess(families, labels);
    return families.list();
  }

  /** The families of a dialect as Prometheus reads them. */
  render(dialect: MetricsDialect): Promise<string> {
    return renderFamilies(this.collect(dialect));
  }

  private tensorflowFamilies(): MetricFamily[] {
    const warmUps = new FamilySet();
    for (const run of this.warmUps.values()) addTfsWarmUp(warmUps, run);
    return mergeFamilies([this.retired, tfsFamilies(this.servables), warmUps.list()]);
  }

  private addProcess(families: FamilySet, labels: { group: string }): void {
    const { rss, external, arrayBuffers } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    const provider = { ...labels, provider: this.source.provider() };
    families.gauge('understudy_provider_info', 'The execution provider in force.', provider, 1);
    families.gauge('understudy_process_resident_bytes', 'Memory of the process.', labels, rss);
    families.gauge('understudy_process_buffer_bytes', 'Slabs and buffers.', labels, arrayBuffers);
    families.gauge('understudy_process_external_bytes', 'Memory behind JavaScript objects.', labels, external);
    families.counter('understudy_process_cpu_seconds_total', 'CPU time.', labels, (user + system) / 1e6);
    for (const reading of this.source.readDevices()) addDevice(families, reading);
  }
}

/** Devices are of the machine, not of a group: groups that see the same one tell the same, and one of them counts. */
function addDevice(families: FamilySet, reading: DeviceReading): void {
  const labels = { device: reading.device, name: reading.name };
  const { memoryTotalBytes, memoryUsedBytes, busyFraction, memoryBusyFraction } = reading;
  families.gauge('understudy_device_memory_total_bytes', 'Memory of a device.', labels, memoryTotalBytes);
  families.gauge('understudy_device_memory_used_bytes', 'Memory in use, by everybody.', labels, memoryUsedBytes);
  families.gauge('understudy_device_busy_ratio', 'Share of time a kernel ran.', labels, busyFraction);
  families.gauge('understudy_device_memory_busy_ratio', 'Share of time memory was used.', labels, memoryBusyFraction);
}

function tfsFamilies(servables: Iterable<Servable>): MetricFamily[] {
  const families = new FamilySet();
  for (const servable of servables) addTfsServable(families, servable);
  return mergeFamilies([families.list()]);
}
