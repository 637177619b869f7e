import t from 'tap';
import { CONTROL_METRICS, gaugeSlots, SLOT_METRICS, slotCount } from '../../../../proxy/stats/catalogue.ts';
import { BLOCK_LABELS, StatsLayout } from '../../../../proxy/stats/layout.ts';
import {
  BreakerEvent,
  CLUSTER_SLOTS,
  ClusterSlot,
  labelValues,
  PROCESS_SLOTS,
  ProcessSlot,
  ROUTE_SLOTS,
  RouteSlot,
  SHADOW_SLOTS,
  ShadowSlot,
} from '../../../../proxy/stats/slots.ts';

const BLOCKS = {
  process: { slots: PROCESS_SLOTS, offsets: ProcessSlot },
  cluster: { slots: CLUSTER_SLOTS, offsets: ClusterSlot },
  shadow: { slots: SHADOW_SLOTS, offsets: ShadowSlot },
  route: { slots: ROUTE_SLOTS, offsets: RouteSlot },
} as const;

for (const [block, { slots, offsets }] of Object.entries(BLOCKS)) {
  t.test(`every slot of the ${block} block is exposed by exactly one metric`, async (t) => {
    const rows = new Array<string[]>(slots).fill([]).map((): string[] => []);
    const metrics = SLOT_METRICS.filter((metric) => metric.block === block);
    for (const metric of metrics) {
      for (let i = 0; i < slotCount(metric); i++) rows[metric.slot + i]?.push(metric.name);
    }
    for (const [slot, names] of rows.entries()) {
      // The latency histogram has one row for models and one for other traffic, never both for one cluster.
      const latency = block === 'cluster' && slot >= ClusterSlot.LATENCY;
      t.equal(names.length, latency ? 2 : 1, `slot ${slot}: ${names.join(', ')}`);
    }
    t.same(
      [...new Set(metrics.map((metric) => metric.slot))].sort((a, b) => a - b),
      Object.values(offsets),
      'and every named offset is the first slot of one',
    );
  });
}

t.test('names tell subject, measure and unit, and counters end in _total', async (t) => {
  const metrics = [...SLOT_METRICS, ...Object.values(CONTROL_METRICS)];
  t.equal(new Set(metrics.map((metric) => metric.name)).size, metrics.length, 'no name twice');
  for (const metric of metrics) {
    t.match(metric.name, /^(understudy(_[a-z0-9]+){2,}|inference_latency_seconds)$/);
    t.equal(metric.name.endsWith('_total'), metric.type === 'counter', metric.name);
    t.match(metric.help, /\.$/);
  }
  for (const metric of SLOT_METRICS) {
    if (['bytes', 'seconds', 'fraction'].includes(metric.unit))
      t.match(metric.name, new RegExp(`_${metric.unit}(_total)?$`));
    const names: readonly string[] = metric.block === 'process' ? [] : BLOCK_LABELS[metric.block];
    for (const label of metric.labels ?? []) t.ok(names.includes(label), `${metric.name} ${label}`);
  }
});

t.test('label values stand in slot order', async (t) => {
  t.same(labelValues({ B: 1, A_X: 0 }), ['a_x', 'b']);
  t.equal(labelValues(BreakerEvent)[BreakerEvent.PROBE_EXPIRED], 'probe_expired');
});

t.test('gauge slots name the gauges of every block in use and nothing else', async (t) => {
  const layout = new StatsLayout({ clearBlock: () => {} });
  const { base } = layout.allocate('cluster', ['a', 'm', '1'], 0);
  const shadow = layout.allocate('shadow', ['m', 'b', '2'], 0).base;
  const slots = gaugeSlots(layout);
  t.ok(slots.includes(base + ClusterSlot.IN_FLIGHT));
  t.ok(slots.includes(shadow + ShadowSlot.HELD_BYTES));
  t.ok(slots.includes(ProcessSlot.CONNECTIONS));
  t.notOk(slots.includes(ProcessSlot.CONNECTIONS_TOTAL));
  t.equal(slots.length, 3 + 2 + 8);
});
