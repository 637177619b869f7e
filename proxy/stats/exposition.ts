/**
 * Metrics as Prometheus reads them, through a prom-client registry.
 *
 * Nothing is handed to prom-client on the request path. Each row of the catalogue is registered as a metric whose `get`
 * reads the summed slots, so a scrape costs one pass over the regions and the labels, and only on the control thread.
 * Prom-client's own process metrics are in the same registry. Accepted imprecision: see region.ts.
 */

import { createRequire } from 'node:module';
import type { collectDefaultMetrics as collectDefaults, Metric, Registry as PromRegistry } from 'prom-client';
import { CONTROL_METRICS, type ControlMetricKey, SLOT_METRICS, type SlotMetric } from './catalogue.ts';
import { EXPOSED_BUCKETS, HISTOGRAM_SUM } from './histogram.ts';
import { BLOCK_LABELS, type Block, type BlockKind, type StatsLayout } from './layout.ts';
import type { StatsRegions } from './region.ts';

// Of prom-client only what is used: its index loads a push gateway and a cluster registry with node:http, 8 MiB.
const load = createRequire(import.meta.url);
const Registry = load('prom-client/lib/registry') as typeof PromRegistry;
const collectDefaultMetrics = load('prom-client/lib/defaultMetrics') as typeof collectDefaults;

/** One exposed value; `metricName` where it differs from the metric's (`_bucket`, `_sum`, `_count`). */
interface ExposedValue {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  readonly metricName?: string;
}

/** What prom-client asks of a metric it exposes. */
interface ExposedMetric {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly aggregator: 'sum';
  readonly values: readonly ExposedValue[];
}

/** A value of a control metric: label values in the order of the catalogue's row. */
export interface ControlValue {
  readonly labels: readonly string[];
  readonly value: number;
}

/** Rows one control metric may expose; further ones are dropped and counted. */
export const MAX_CONTROL_ROWS = 2_000;

export interface ExpositionOptions {
  readonly layout: StatsLayout;
  readonly regions: StatsRegions;
  /** Adds prom-client's process and Node metrics. Default true. */
  readonly processMetrics?: boolean;
}

export class MetricsExposition {
  readonly registry = new Registry();
  private readonly layout: StatsLayout;
  private readonly regions: StatsRegions;
  private readonly sums: Float64Array;
  private droppedRows = 0;

  constructor(options: ExpositionOptions) {
    this.layout = options.layout;
    this.regions = options.regions;
    this.sums = new Float64Array(options.layout.slots);
    for (const metric of SLOT_METRICS) this.register(metric, () => this.slotValues(metric));
    this.register(
      {
        name: 'understudy_stats_series_refused_total',
        help: 'Series that found no slots of their own and count under `other`, by kind.',
        type: 'counter',
      },
      () =>
        (['cluster', 'shadow', 'route', 'pipeline', 'step'] as const).map((kind) => ({
          labels: { kind },
          value: this.layout.refused(kind),
        })),
    );
    this.register(
      {
        name: 'understudy_stats_rows_dropped_total',
        help: 'Values not exposed because a metric had too many label sets.',
        type: 'counter',
      },
      () => [{ labels: {}, value: this.droppedRows }],
    );
    // The default of 10 ms would wake the control thread a hundred times a second for nothing.
    if (options.processMetrics ?? true) {
      collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 100 });
    }
  }

  /** For the response's content-type header. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /** Registers the reader of a control metric, called once at each scrape. */
  observe(key: ControlMetricKey, read: () => Iterable<ControlValue>): void {
    const metric = CONTROL_METRICS[key];
    this.register(metric, () => this.controlValues(metric.labels, read()));
  }

  /** All metrics in Prometheus' text format, as of now. */
  async render(): Promise<string> {
    this.regions.sumInto(this.sums);
    return this.registry.metrics();
  }

  private register(metric: Pick<ExposedMetric, 'name' | 'help' | 'type'>, values: () => ExposedValue[]): void {
    const { name, help, type } = metric;
    const exposed = {
      name,
      help,
      type,
      get: (): ExposedMetric => ({ name, help, type, aggregator: 'sum', values: values() }),
      reset: () => {},
    };
    // Registries call `get` and no more; prom-client's type names its own classes only.
    this.registry.registerMetric(exposed as unknown as Metric<string>);
  }

  private slotValues(metric: SlotMetric): ExposedValue[] {
    if (metric.block === 'process')
      return metric.perThread ? this.threadValues(metric) : scalars(metric, {}, this.sums, 0);
    const byLabels = new Map<string, { labels: Record<string, string>; bases: number[] }>();
    for (const block of this.layout.blocks(metric.block)) {
      const labels = blockLabels(metric, metric.block, block);
      if (labels === null) continue;
      const key = JSON.stringify(labels);
      const known = byLabels.get(key);
      if (known === undefined) byLabels.set(key, { labels, bases: [block.base] });
      else known.bases.push(block.base);
    }
    const values: ExposedValue[] = [];
    for (const { labels, bases } of byLabels.values()) {
      const [sums, base] = bases.length === 1 ? [this.sums, bases[0]!] : [this.merged(metric, bases), -metric.slot];
      values.push(
        ...(metric.type === 'histogram' ? buckets(metric, labels, sums, base) : scalars(metric, labels, sums, base)),
      );
    }
    return values;
  }

  /** Slots of several blocks that expose the same labels, summed; index 0 is the metric's first slot. */
  private merged(metric: SlotMetric, bases: readonly number[]): Float64Array {
    const length = metric.type === 'histogram' ? HISTOGRAM_SUM + 1 : (metric.by?.values.length ?? 1);
    const merged = new Float64Array(length);
    for (const base of bases) {
      for (let i = 0; i < length; i++) merged[i]! += this.sums[base + metric.slot + i]!;
    }
    return merged;
  }

  private threadValues(metric: SlotMetric): ExposedValue[] {
    return Array.from({ length: this.regions.threads }, (_, thread) => ({
      labels: { thread: String(thread) },
      value: this.regions.read(thread, metric.slot),
    }));
  }

  private controlValues(names: readonly string[], rows: Iterable<ControlValue>): ExposedValue[] {
    const values: ExposedValue[] = [];
    for (const row of rows) {
      if (values.length >= MAX_CONTROL_ROWS) this.droppedRows++;
      else
        values.push({
          labels: Object.fromEntries(names.map((name, i) => [name, row.labels[i] ?? ''])),
          value: row.value,
        });
    }
    return values;
  }
}

/** The labels a block exposes for a metric; null when the metric is not for this block. */
function blockLabels(metric: SlotMetric, kind: BlockKind, block: Block): Record<string, string> | null {
  const names = BLOCK_LABELS[kind];
  const servesModel = block.labels[names.indexOf('model')] !== '';
  if (metric.only === 'models' && !servesModel) return null;
  if (metric.only === 'other_traffic' && servesModel) return null;
  const labels: Record<string, string> = {};
  for (const name of metric.labels ?? names) labels[name] = block.labels[names.indexOf(name)]!;
  return labels;
}

function scalars(metric: SlotMetric, labels: Record<string, string>, sums: Float64Array, base: number): ExposedValue[] {
  const first = base + metric.slot;
  if (metric.by === undefined) return [{ labels, value: sums[first]! }];
  const values: ExposedValue[] = [];
  for (const [i, labelValue] of metric.by.values.entries()) {
    const value = sums[first + i]!;
    if (value !== 0 || !metric.sparse) values.push({ labels: { ...labels, [metric.by.name]: labelValue }, value });
  }
  return values;
}

function buckets(metric: SlotMetric, labels: Record<string, string>, sums: Float64Array, base: number): ExposedValue[] {
  const first = base + metric.slot;
  const values: ExposedValue[] = [];
  let count = 0;
  let fine = 0;
  for (const bucket of EXPOSED_BUCKETS) {
    for (; fine < bucket.fineBuckets; fine++) count += sums[first + fine]!;
    const le = bucket.leSeconds === Number.POSITIVE_INFINITY ? '+Inf' : String(bucket.leSeconds);
    values.push({ metricName: `${metric.name}_bucket`, labels: { ...labels, le }, value: count });
  }
  values.push({ metricName: `${metric.name}_sum`, labels, value: sums[first + HISTOGRAM_SUM]! / 1_000 });
  values.push({ metricName: `${metric.name}_count`, labels, value: count });
  return values;
}
