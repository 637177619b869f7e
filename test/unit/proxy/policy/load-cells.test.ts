import fc from 'fast-check';
import t from 'tap';
import { ClusterLoad, LoadCells } from '../../../../proxy/policy/load-cells.ts';
import { RetryBudget } from '../../../../proxy/policy/retry-budget.ts';
import { runs } from '../../../support/fuzz-runs.ts';

t.test('a bound holds over all threads, exactly, and for each cluster by itself', async (test) => {
  const cells = new LoadCells(LoadCells.allocate(3, 2));
  const [first, second] = [cells.load(1, 0), cells.load(1, 1)];
  test.ok(first.tryEnter(3));
  test.ok(second.tryEnter(3));
  test.ok(first.tryEnter(3));
  test.notOk(second.tryEnter(3));
  test.notOk(first.tryEnter(3));
  test.ok(cells.load(2, 0).tryEnter(1), 'another cluster has its own');
  first.leave();
  test.ok(second.tryEnter(3));
  test.ok(second.tryWait(1), 'waiting is another count');
  test.notOk(first.tryWait(1));
  second.stopWaiting();
  test.ok(first.tryWait(1));
  test.notOk(first.tryWait(0), 'a bound of none');
});

/*
 * Scenario: a data thread dies with requests in flight, of which nobody will ever tell the end.
 * Mechanism: what each thread added is kept beside the total, and taken off it when the thread is gone.
 * Consequence: without that every death would lower what the cluster admits, until it admits nothing.
 */
t.test('what a dead thread had is forgotten, in every cluster, and nothing of the others', async (test) => {
  const cells = new LoadCells(LoadCells.allocate(2, 3));
  for (const place of [0, 1]) {
    test.ok(cells.load(place, 2).tryEnter(2));
    test.ok(cells.load(place, 1).tryEnter(2));
    test.ok(cells.load(place, 2).tryWait(1));
  }
  cells.forget(2);
  for (const place of [0, 1]) {
    test.ok(cells.load(place, 0).tryEnter(2));
    test.notOk(cells.load(place, 0).tryEnter(2), 'the one of thread 1 still counts');
    test.ok(cells.load(place, 0).tryWait(1));
  }
  cells.forget(2);
  test.notOk(cells.load(0, 2).tryEnter(2), 'its successor begins at nothing');
});

t.test('whatever threads do, what is admitted is the bound at most, and nothing is left in the end', async () => {
  const step = fc.record({ thread: fc.nat(2), enters: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 5 }), (steps, max) => {
      const cells = new LoadCells(LoadCells.allocate(1, 3));
      const loads = [0, 1, 2].map((thread) => cells.load(0, thread));
      const held = [0, 0, 0];
      const total = () => held.reduce((sum, count) => sum + count, 0);
      for (const { thread, enters } of steps) {
        if (enters) {
          const admitted = loads[thread]!.tryEnter(max);
          if (admitted !== total() < max) return false;
          if (admitted) held[thread]!++;
        } else if (held[thread]! > 0) {
          held[thread]!--;
          loads[thread]!.leave();
        }
      }
      for (const [thread, count] of held.entries()) for (let i = 0; i < count; i++) loads[thread]!.leave();
      for (let i = 0; i < max; i++) if (!loads[0]!.tryEnter(max)) return false;
      return !loads[1]!.tryEnter(max);
    }),
    { numRuns: runs(200) },
  );
});

t.test('with one data thread the bound is the same, and its successor begins at nothing', async (test) => {
  const cells = new LoadCells(LoadCells.allocate(1, 1));
  for (const load of [ClusterLoad.alone(), cells.load(0, 0)]) {
    test.ok(load.tryEnter(1));
    test.notOk(load.tryEnter(1));
    load.leave();
    test.ok(load.tryEnter(1));
    test.ok(load.tryWait(1));
    test.notOk(load.tryWait(1));
  }
  cells.forget(0);
  test.ok(cells.load(0, 0).tryEnter(1));
});

t.test('retries and hedges of a cluster have budgets of their own, alike for all threads', async (test) => {
  const buffer = LoadCells.allocate(3, 2);
  const [first, second] = [new LoadCells(buffer), new LoadCells(buffer)];
  const hedges = new RetryBudget(first.hedges(1));
  for (let i = 0; i < 20; i++) hedges.request(5000);
  const elsewhere = new RetryBudget(second.hedges(1));
  test.ok(elsewhere.take(5000, 0.1, 0), 'a tenth of what the other thread sent');
  test.ok(hedges.take(5000, 0.1, 0));
  test.notOk(elsewhere.take(5000, 0.1, 0), 'and no more over both');
  for (const other of [first.retries(1), first.hedges(0), first.hedges(2), first.retries(2)]) {
    test.notOk(new RetryBudget(other).take(5000, 0.1, 0), 'nobody else has any of it');
  }
  const load = first.load(1, 0);
  test.ok(load.tryEnter(1) && load.tryWait(1), 'nor is anything in flight or waiting');
});
