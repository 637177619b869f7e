import t from 'tap';
import { CostModel } from '../../../../inference-worker/batching/cost-model.ts';

t.test('knows nothing before the first run', async (t) => {
  t.ok(Number.isNaN(new CostModel().estimateMs(10)));
});

t.test('interpolates between sizes that ran, and extrapolates by the two largest', async (t) => {
  const cost = new CostModel();
  cost.record(1, 2);
  cost.record(64, 8.3);
  t.equal(cost.estimateMs(1), 2);
  t.equal(cost.estimateMs(64), 8.3);
  t.ok(Math.abs(cost.estimateMs(31) - 5) < 1e-9);
  t.ok(Math.abs(cost.estimateMs(164) - 18.3) < 1e-9);
});

t.test('one size is scaled to larger ones and taken as it is for smaller ones', async (t) => {
  const cost = new CostModel();
  cost.record(16, 4);
  t.equal(cost.estimateMs(64), 16);
  t.equal(cost.estimateMs(1), 4);
});

t.test('one slow run changes little, many change the figure, one fast run is believed', async (t) => {
  const cost = new CostModel();
  cost.record(8, 1);
  cost.record(8, 100);
  t.ok(cost.estimateMs(8) < 1.04);
  for (let i = 0; i < 60; i++) cost.record(8, 4);
  t.equal(cost.estimateMs(8), 4);
  cost.record(8, 0.5);
  t.equal(cost.estimateMs(8), 0.5);
});

t.test('a larger batch is never expected to be cheaper beyond what ran', async (t) => {
  const cost = new CostModel();
  cost.record(8, 3);
  cost.record(16, 2);
  t.equal(cost.estimateMs(1000), 2);
});

t.test('names the largest size and the costliest run', async (t) => {
  const cost = new CostModel();
  t.same([cost.largestRows, cost.worstMs], [0, 0]);
  cost.record(4, 3);
  cost.record(64, 2);
  t.same([cost.largestRows, cost.worstMs], [64, 3]);
});
