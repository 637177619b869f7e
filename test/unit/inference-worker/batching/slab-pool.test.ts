/** Slabs: where tensors lie, what is kept, and what happens at the bound. */
import t from 'tap';
import { DEFAULT_BATCHING } from '../../../../inference-worker/batching/batching-options.ts';
import { type ServableShape, slabRows } from '../../../../inference-worker/batching/servable-shape.ts';
import { planSlab, rowBytes } from '../../../../inference-worker/batching/slab.ts';
import { SlabBudget, SlabPool } from '../../../../inference-worker/batching/slab-pool.ts';
import { DOUBLING } from '../../../support/fake-executor.ts';

const MIXED = {
  ...DOUBLING,
  inputs: [
    { name: 'flag', dtype: 10, ortType: 'bool', shape: [-1, 3] },
    { name: 'words', dtype: 7, ortType: 'string', shape: [-1, 2] },
    { name: 'id', dtype: 9, ortType: 'int64', shape: [-1] },
  ],
  outputs: [
    { name: 'y', dtype: 1, ortType: 'float32', shape: [-1, 2] },
    { name: 'found', dtype: 9, ortType: 'int64', shape: [-1, -1] },
    { name: 'odd', dtype: 1, ortType: 'float32', shape: [-1, 2] },
  ],
};

function shapeOf(batching: Partial<typeof DEFAULT_BATCHING> = {}): ServableShape {
  return {
    signature: DOUBLING,
    outputs: [{ shapeIsCertain: true }],
    batchable: true,
    options: { ...DEFAULT_BATCHING, ...batching },
  };
}

t.test('tensors lie aligned behind one another; strings and uncertain shapes have no place', async (t) => {
  const certain = [{ shapeIsCertain: true }, { shapeIsCertain: true }, { shapeIsCertain: false }];
  const plan = planSlab(MIXED, certain, true, [[3], [2], []], 10);
  t.same(
    plan.inputs.map(({ byteOffset, rowElements }) => [byteOffset, rowElements]),
    [
      [0, 3],
      [-1, 2],
      [64, 1],
    ],
  );
  t.same(
    plan.outputs.map(({ byteOffset }) => byteOffset),
    [192, -1, -1],
  );
  t.equal(plan.byteLength, 320);
});

t.test('slabs hold fewer rows than a batch may have where rows are large, in allowed sizes', async (t) => {
  const large = 10 * 1024 * 1024;
  t.equal(slabRows(shapeOf({ maxBatchSize: 64 }), 100), 64);
  t.equal(slabRows(shapeOf({ maxBatchSize: 64 }), large), 6);
  t.equal(slabRows(shapeOf({ maxBatchSize: 64, allowedBatchSizes: [2, 4, 8, 64] }), large), 4);
  t.equal(slabRows(shapeOf({ maxBatchSize: 64, allowedBatchSizes: [32, 64] }), large), 32);
  t.equal(rowBytes(DOUBLING, true, [[2]]), 16, 'outputs count, too');
});

t.test('a task larger than the slabs gets one of its own, which is not kept', async (t) => {
  const forgotten: number[] = [];
  const budget = new SlabBudget();
  const pool = new SlabPool(shapeOf(), [[2]], 4, budget, (batch) => forgotten.push(batch.id));
  const large = pool.acquire(9)!;
  t.equal(large.plan.capacityRows, 9);
  pool.release(large);
  t.same(forgotten, [large.id]);
  t.equal(budget.usedBytes, 0);
});

t.test('at the bound of bytes there is no slab, until spare ones are let go', async (t) => {
  const budget = new SlabBudget(300);
  const pool = new SlabPool(shapeOf(), [[2]], 8, budget, () => {});
  const other = new SlabPool(shapeOf(), [[2]], 8, budget, () => {});
  const first = pool.acquire(1)!;
  const second = pool.acquire(1)!;
  t.equal(pool.acquire(1), null);
  t.ok(pool.acquireForRetry(), 'a failed batch can still be taken apart');
  pool.release(first);
  pool.release(second);
  t.equal(other.acquire(1), null);
  pool.trim();
  t.ok(other.acquire(1));
});
