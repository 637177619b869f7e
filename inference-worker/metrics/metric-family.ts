/**
 * Metric families as plain data: what a group's process collects at scrape time, sends to the supervisor, and what
 * prom-client renders. Building them costs only when somebody asks.
 */
import { Registry } from 'prom-client';
import type { Distribution } from './distribution.ts';

export type Labels = Readonly<Record<string, string | number>>;

/** One exposed value; `metricName` where it differs from the family's (`_bucket`, `_sum`, `_count`). */
export interface MetricValue {
  readonly labels: Labels;
  readonly value: number;
  readonly metricName?: string;
}

export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: MetricValue[];
}

/** Families under construction; each is declared with its first value and kept in the order of declaration. */
export class FamilySet {
  private readonly families = new Map<string, MetricFamily>();

  counter(name: string, help: string, labels: Labels, value: number): void {
    this.family(name, help, 'counter').values.push({ labels, value });
  }

  /** A gauge that is not known (NaN) is left out. */
  gauge(name: string, help: string, labels: Labels, value: number): void {
    const { values } = this.family(name, help, 'gauge');
    if (!Number.isNaN(value)) values.push({ labels, value });
  }

  /** Cumulative buckets of a distribution, its bounds and sum multiplied by `unit`. */
  histogram(name: string, help: string, labels: Labels, distribution: Distribution, unit = 1): void {
    const { values } = this.family(name, help, 'histogram');
    const { bounds, counts, sum } = distribution;
    let count = 0;
    for (let i = 0; i < counts.length; i++) {
      count += counts[i];
      const le = i < bounds.length ? rounded(bounds[i] * unit) : '+Inf';
      values.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: count });
    }
    values.push({ metricName: `${name}_sum`, labels, value: sum * unit });
    values.push({ metricName: `${name}_count`, labels, value: count });
  }

  list(): MetricFamily[] {
    return [...this.families.values()];
  }

  private family(name: string, help: string, type: MetricFamily['type']): MetricFamily {
    let family = this.families.get(name);
    if (family === undefined) {
      family = { name, help, type, values: [] };
      this.families.set(name, family);
    }
    return family;
  }
}

/** Families of several processes as one list: values with the same name and labels are added up. */
export function mergeFamilies(lists: readonly (readonly MetricFamily[])[]): MetricFamily[] {
  const merged = new Map<string, { family: MetricFamily; sums: Map<string, { value: number; first: MetricValue }> }>();
  for (const family of lists.flat()) {
    let known = merged.get(family.name);
    if (known === undefined) {
      known = { family, sums: new Map() };
      merged.set(family.name, known);
    }
    for (const one of family.values) {
      const key = `${one.metricName ?? ''} ${JSON.stringify(Object.entries(one.labels).sort())}`;
      const sum = known.sums.get(key);
      if (sum === undefined) known.sums.set(key, { value: one.value, first: one });
      else sum.value += one.value;
    }
  }
  return [...merged.values()].map(({ family, sums }) => ({
    ...family,
    values: [...sums.values()].map(({ value, first }) => ({ ...first, value })),
  }));
}

/** The families as Prometheus reads them, rendered by a prom-client registry. */
export async function renderFamilies(families: readonly MetricFamily[]): Promise<string> {
  const registry = new Registry();
  for (const family of families) {
    const metric = { name: family.name, get: async () => ({ ...family, aggregator: 'sum' }) };
    // What prom-client asks of a metric is its name and `get`; its types want one of its own classes.
    registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
  }
  return registry.metrics();
}

/** Bounds are powers of factors; the digits behind the twelfth are noise and make labels long. */
function rounded(bound: number): number {
  return Number(bound.toPrecision(12));
}
