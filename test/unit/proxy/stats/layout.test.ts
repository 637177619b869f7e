import t from 'tap';
import { StatsLayout } from '../../../../proxy/stats/layout.ts';
import { CLUSTER_SLOTS, PROCESS_SLOTS, ROUTE_SLOTS, SHADOW_SLOTS } from '../../../../proxy/stats/slots.ts';

const cluster = (name: string): string[] => [name, 'model', '1'];

function layoutOf(maxClusters: number, maxShadows = 2) {
  const cleared: [number, number][] = [];
  const layout = new StatsLayout({
    maxClusters,
    maxShadows,
    retiredGraceMs: 1_000,
    clearBlock: (first, count) => cleared.push([first, count]),
  });
  return { layout, cleared };
}

t.test('blocks follow the process block and do not overlap', async (t) => {
  const { layout } = layoutOf(2, 1);
  const bases = [
    layout.allocate('cluster', cluster('a'), 0).base,
    layout.allocate('cluster', cluster('b'), 0).base,
    layout.allocate('shadow', ['m', 'c', '2'], 0).base,
  ];
  t.same(bases, [PROCESS_SLOTS, PROCESS_SLOTS + CLUSTER_SLOTS, PROCESS_SLOTS + 3 * CLUSTER_SLOTS]);
  const routes = layout.allocate('route', ['r'], 0).base;
  t.equal(routes, PROCESS_SLOTS + 3 * CLUSTER_SLOTS + 2 * SHADOW_SLOTS);
  t.ok(layout.slots >= routes + ROUTE_SLOTS);
  t.equal(layout.slots, StatsLayout.slotsFor(2, 1));
});

t.test('a series keeps its block over reloads, in whatever order they name it', async (t) => {
  const { layout } = layoutOf(3);
  const a = layout.allocate('cluster', cluster('a'), 0).base;
  const b = layout.allocate('cluster', cluster('b'), 0).base;
  layout.retain('cluster', [cluster('b')], 10);
  t.equal(layout.allocate('cluster', cluster('b'), 20).base, b);
  t.equal(layout.allocate('cluster', cluster('a'), 30).base, a, 'even after it was away');
});

t.test('label values that join to the same text are different series', async (t) => {
  const { layout } = layoutOf(3);
  t.not(layout.allocate('cluster', ['a,b', 'c', ''], 0).base, layout.allocate('cluster', ['a', 'b,c', ''], 0).base);
});

t.test('at the bound a series shares the overflow block, which is counted and exposed as other', async (t) => {
  const { layout } = layoutOf(1);
  t.same(layout.allocate('cluster', cluster('a'), 0), { base: PROCESS_SLOTS, shared: false });
  t.equal(layout.blocks('cluster').length, 1);
  t.same(layout.allocate('cluster', cluster('b'), 0), { base: PROCESS_SLOTS + CLUSTER_SLOTS, shared: true });
  layout.allocate('cluster', cluster('c'), 0);
  layout.allocate('cluster', cluster('b'), 0);
  t.equal(layout.refused('cluster'), 2, 'each series once');
  t.equal(layout.refused('shadow'), 0);
  t.match(layout.blocks('cluster'), [{ labels: cluster('a') }, { labels: ['other', 'other', 'other'] }]);
});

t.test('a block is given to another series only after its grace, longest away first, and zeroed', async (t) => {
  const { layout, cleared } = layoutOf(2);
  const a = layout.allocate('cluster', cluster('a'), 0).base;
  const b = layout.allocate('cluster', cluster('b'), 0).base;
  layout.retain('cluster', [cluster('b')], 100);
  layout.retain('cluster', [], 500);
  t.equal(layout.allocate('cluster', cluster('c'), 1_099).shared, true);
  t.same(cleared, []);
  t.same(layout.allocate('cluster', cluster('c'), 1_500), { base: a, shared: false });
  t.same(cleared, [[a, CLUSTER_SLOTS]]);
  t.same(layout.allocate('cluster', cluster('d'), 1_500), { base: b, shared: false });
  t.equal(layout.allocate('cluster', cluster('a'), 1_500).shared, true, 'its place is taken now');
});
