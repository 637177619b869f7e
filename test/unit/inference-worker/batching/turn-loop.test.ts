/** Who is pumped at the end of a turn, in which order, and for how long. */
import t from 'tap';
import { TurnLoop, type TurnWork } from '../../../../inference-worker/batching/turn-loop.ts';
import { ManualPacer } from '../../../support/fake-executor.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

/** Batches that take time, by lane. */
class Work implements TurnWork {
  inTurn = false;
  rests = 0;
  private readonly name: string;
  private readonly batches: number[][];
  private readonly clock: VirtualClock;
  private readonly log: string[];

  constructor(name: string, batches: number[][], clock: VirtualClock, log: string[]) {
    this.name = name;
    this.batches = batches;
    this.clock = clock;
    this.log = log;
  }

  runOne(lane: number): boolean {
    const ms = this.batches[lane]?.shift();
    if (ms === undefined) return false;
    this.clock.advance(ms);
    this.log.push(`${this.name}${lane}`);
    return true;
  }

  rest(): void {
    this.rests++;
  }
}

function bench() {
  const clock = new VirtualClock();
  const pacer = new ManualPacer(clock);
  const log: string[] = [];
  return {
    pacer,
    log,
    loop: new TurnLoop(clock, pacer),
    work: (name: string, batches: number[][]) => new Work(name, batches, clock, log),
  };
}

t.test('primary work of all servables goes before shadow work of any', async (t) => {
  const { loop, pacer, log, work } = bench();
  loop.add(work('a', [[0], [0, 0]]));
  loop.add(work('b', [[0], [0]]));
  pacer.endTurn();
  t.same(log, ['a0', 'b0', 'a1', 'b1', 'a1']);
});

t.test('a turn begins nothing after its budget, and shadow work waits for primary work that is left', async (t) => {
  const { loop, pacer, log, work } = bench();
  loop.add(work('a', [[0.6, 0.6, 0.1], [0]]));
  loop.add(work('b', [[0.2], [0]]));
  pacer.endOneTurn();
  t.same(log.splice(0), ['a0', 'b0', 'a0']);
  pacer.endOneTurn();
  t.same(log.splice(0), ['a0', 'b1', 'a1']);
  pacer.endOneTurn();
  t.same(log, []);
});

t.test('a servable with an endless backlog does not keep another out', async (t) => {
  const { loop, pacer, log, work } = bench();
  loop.add(work('a', [new Array(20).fill(1)]));
  loop.add(work('b', [new Array(3).fill(1)]));
  for (let i = 0; i < 6; i++) pacer.endOneTurn();
  t.same(log, ['a0', 'b0', 'a0', 'b0', 'a0', 'b0']);
});

t.test('work rests once nothing is left, not while time stopped it', async (t) => {
  const { loop, pacer, work } = bench();
  const only = work('a', [[1, 1]]);
  loop.add(only);
  pacer.endOneTurn();
  t.equal(only.rests, 0);
  pacer.endTurn();
  t.equal(only.rests, 1);
});

t.test('work asked for twice in a turn is pumped once', async (t) => {
  const { loop, pacer, log, work } = bench();
  const once = work('a', [[0], []]);
  loop.add(once);
  loop.add(once);
  pacer.endOneTurn();
  t.same(log, ['a0']);
  t.equal(once.inTurn, false);
});
