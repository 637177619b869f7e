/**
 * Runs the schedulers of a process at the end of each event-loop turn in which something was submitted to them: whatever
 * arrived in that turn is then one batch. Primary work of all servables goes before shadow work of any.
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
  /** Starts batches of `lane` while there are places and the clock is before `endMs`. True when time stopped it. */
  pump(lane: number, endMs: number): boolean;
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
      let stopped = false;
      for (let i = 0; i < work.length; i++) {
        if (!work[i].pump(lane, endMs)) continue;
        stopped = true;
        this.add(work[i]);
      }
      if (!stopped) continue;
      // Primary work is left: shadow work of everybody waits for the next turn with it.
      for (let i = 0; i < work.length; i++) this.add(work[i]);
      return;
    }
  }
}
