/**
 * Runs the schedulers of a process at the end of each event-loop turn in which something was submitted to them: whatever
 * arrived in that turn is then one batch. Work of a higher priority, of any servable, goes before work of a lower one; within
 * a priority the servables take turns, a batch each, so that a busy one cannot keep the others out.
 *
 * Work done here holds up the sockets, so a turn stops after `TURN_BUDGET_MS` and the rest goes on in the next one, after
 * the sockets had their say.
 */
import type { Clock } from '../../base/clock.ts';
import { LANES } from './batch-queue.ts';

/** No batch is begun after this many milliseconds of one turn. */
export const TURN_BUDGET_MS = 1;

/** Event-loop services, so that tests can turn time and turns by hand. */
export interface Pacer {
  /** Calls `run` once, after the callbacks of this turn. */
  atTurnEnd(run: () => void): void;
  /** Calls `run` once after at least `ms` milliseconds unless the returned function is called first. */
  after(ms: number, run: () => void): () => void;
}

export const systemPacer: Pacer = {
  atTurnEnd(run) {
    setImmediate(run);
  },
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** What the loop runs. */
export interface TurnWork {
  /** Already asked for in this turn; owned by the loop. */
  inTurn: boolean;
  /** Starts one batch of `lane`, if there is one that is due and has a place. */
  runOne(lane: number): boolean;
  /** Nothing more is due or has a place. Not called in turns that ended early. */
  rest(): void;
}

export class TurnLoop {
  readonly pacer: Pacer;
  private readonly clock: Clock;
  private work: TurnWork[] = [];
  private running: TurnWork[] = [];
  private asked = false;
  private readonly runTurn = () => this.turn();

  constructor(clock: Clock, pacer: Pacer = systemPacer) {
    this.clock = clock;
    this.pacer = pacer;
  }

  /** Has `work` pumped at the end of this turn. */
  add(work: TurnWork): void {
    if (work.inTurn) return;
    work.inTurn = true;
    this.work.push(work);
    if (this.asked) return;
    this.asked = true;
    this.pacer.atTurnEnd(this.runTurn);
  }

  private turn(): void {
    const { work } = this;
    this.work = this.running;
    this.running = work;
    this.asked = false;
    for (let i = 0; i < work.length; i++) work[i].inTurn = false;
    this.pumpAll(work);
    work.length = 0;
  }

  private pumpAll(work: readonly TurnWork[]): void {
    const endMs = this.clock.nowMs() + TURN_BUDGET_MS;
    for (let lane = 0; lane < LANES; lane++) {
      const stoppedAt = this.pumpLane(work, lane, endMs);
      if (stoppedAt < 0) continue;
      // The rest waits for the next turn, beginning with the one whose turn it would have been.
      for (let i = 0; i < work.length; i++) this.add(work[(stoppedAt + i) % work.length]);
      return;
    }
    for (let i = 0; i < work.length; i++) work[i].rest();
  }

  /** The index at which time stopped it, or -1 when nothing is left to run in `lane`. */
  private pumpLane(work: readonly TurnWork[], lane: number, endMs: number): number {
    let idle = 0;
    for (let i = 0; idle < work.length; i = (i + 1) % work.length) {
      if (this.clock.nowMs() >= endMs) return i;
      idle = work[i].runOne(lane) ? 0 : idle + 1;
    }
    return -1;
  }
}
