import t from 'tap';
import { RETRY_CELLS, RetryBudget } from '../../../../proxy/policy/retry-budget.ts';

t.test('retries are a share of the requests of the last ten seconds', async (test) => {
  const budget = new RetryBudget(new Int32Array(RETRY_CELLS));
  for (let i = 0; i < 100; i++) budget.request(i * 10);
  let granted = 0;
  while (budget.take(1000, 0.2, 0)) granted++;
  test.equal(granted, 20);
  test.notOk(budget.take(9000, 0.2, 0), 'the requests still count and so do the retries');
  test.notOk(budget.take(20_000, 0.2, 0), 'both are forgotten');
});

t.test('the floor allows so many each second however few requests there are', async (test) => {
  const budget = new RetryBudget(new Int32Array(RETRY_CELLS));
  for (const second of [5, 6, 30]) {
    let granted = 0;
    while (budget.take(second * 1000, 0.2, 3)) granted++;
    test.equal(granted, 3, `in second ${second}`);
  }
});

t.test('a clock that stands still or goes back forgets nothing and allows nothing more', async (test) => {
  const budget = new RetryBudget(new Int32Array(RETRY_CELLS));
  budget.request(50_000);
  test.ok(budget.take(50_000, 1, 0));
  test.notOk(budget.take(49_000, 1, 0));
  test.notOk(budget.take(50_000, 1, 0));
});

t.test('one budget holds for all threads that share its memory', async (test) => {
  const cells = new Int32Array(new SharedArrayBuffer(4 * RETRY_CELLS));
  const [first, second] = [new RetryBudget(cells), new RetryBudget(cells)];
  for (let i = 0; i < 50; i++) {
    first.request(5000);
    second.request(6000);
  }
  let granted = 0;
  while (first.take(6000, 0.2, 3) || second.take(6000, 0.2, 3)) granted++;
  test.equal(granted, 20, 'a fifth of a hundred');
  test.ok(second.take(7000, 0.2, 3), 'the floor of the next second');
});
