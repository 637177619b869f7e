import t from 'tap';
import { type BufferHolder, MemoryBudget } from '../../../../proto/io/memory-budget.ts';

class Holder implements BufferHolder {
  heldBytes = 0;
  shedCount = 0;
  private readonly budget: MemoryBudget;

  constructor(budget: MemoryBudget) {
    this.budget = budget;
    budget.register(this);
  }

  hold(bytes: number): void {
    this.heldBytes += bytes;
    this.budget.hold(bytes);
  }

  shed(): void {
    this.shedCount++;
    this.budget.release(this.heldBytes);
    this.heldBytes = 0;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('the heaviest let go first, no more of them than needed, and not within the call', async (t) => {
  const budget = new MemoryBudget(100);
  const holders = [10, 50, 30, 9].map((bytes) => {
    const holder = new Holder(budget);
    holder.hold(bytes);
    return holder;
  });
  await turn();
  t.equal(budget.sheds, 0, 'at 99 of 100');
  holders[0]!.hold(25);
  t.equal(budget.sheds, 0);
  await turn();
  t.same(
    holders.map((holder) => holder.shedCount),
    [0, 1, 0, 0],
  );
  t.equal(budget.heldBytes, 74);
});

t.test('several go when one is not enough, and one that was forgotten is left alone', async (t) => {
  const budget = new MemoryBudget(10);
  const [first, second, third] = [new Holder(budget), new Holder(budget), new Holder(budget)];
  budget.forget(first);
  first.hold(8);
  second.hold(7);
  third.hold(6);
  await turn();
  t.same([first.shedCount, second.shedCount, third.shedCount], [0, 1, 1]);
  t.equal(budget.heldBytes, 8);
});

t.test('holders without bytes are not bothered', async (t) => {
  const budget = new MemoryBudget(10);
  const idle = new Holder(budget);
  budget.hold(20);
  await turn();
  t.equal(idle.shedCount, 0);
  budget.release(20);
});
