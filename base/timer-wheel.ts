/**
 * Deadlines by the thousand: a hashed timer wheel with one process timer behind it.
 *
 * A deadline is armed and almost always disarmed again, so both must cost a few pointer writes. Timers sit in doubly
 * linked lists, one per slot of `TICK_MS`; a timer further away than one turn of the wheel keeps its due tick and is
 * looked at once per turn. Accuracy: never early, late by at most one tick plus what the event loop is late; what had
 * arrived by then is heard before anything expires. The process timer runs only while something is armed, and does not keep
 * the process alive.
 */
import type { Clock } from './clock.ts';

/** Width of a slot. Deadlines are tens of milliseconds or more; a finer wheel would only wake more often. */
export const TICK_MS = 5;
const SLOTS = 512;
/** A turn of the wheel that comes as long after the one before, milliseconds, is late. */
const LATE_MS = 4 * TICK_MS;

/** Something that can be armed in a wheel. Extend it and implement `onExpire`; arm one in one wheel at a time. */
export abstract class WheelTimer {
  wheelNext: WheelTimer | null = null;
  wheelPrevious: WheelTimer | null = null;
  /** Tick at which it is due; -1 while not armed. */
  wheelDueTick = -1;

  get armed(): boolean {
    return this.wheelDueTick >= 0;
  }

  /** Called once, after the timer was taken out of the wheel; it may arm itself again. */
  abstract onExpire(nowMs: number): void;
}

/** Head of a circular list; never expires itself. */
class SlotHead extends WheelTimer {
  constructor() {
    super();
    this.wheelNext = this;
    this.wheelPrevious = this;
  }

  onExpire(): void {}
}

function appendTo(head: SlotHead, timer: WheelTimer): void {
  const last = head.wheelPrevious!;
  last.wheelNext = timer;
  timer.wheelPrevious = last;
  timer.wheelNext = head;
  head.wheelPrevious = timer;
}

export class TimerWheel {
  private readonly clock: Clock;
  private readonly slots: SlotHead[] = [];
  private readonly due = new SlotHead();
  private readonly originMs: number;
  private currentTick = 0;
  private armedCount = 0;
  private interval: NodeJS.Timeout | null = null;
  /** When the process timer turned the wheel last. */
  private turnedMs = 0;
  private readonly automatic: boolean;

  /** `automatic: false` leaves turning to the caller (`advance`), for virtual time. */
  constructor(clock: Clock, automatic = true) {
    this.clock = clock;
    this.originMs = clock.nowMs();
    this.automatic = automatic;
    for (let i = 0; i < SLOTS; i++) this.slots.push(new SlotHead());
  }

  /** Timers armed now. */
  get size(): number {
    return this.armedCount;
  }

  /** Arms (or re-arms) a timer to expire at `dueMs` on the wheel's clock; a time already past expires at the next tick. */
  arm(timer: WheelTimer, dueMs: number): void {
    if (timer.wheelDueTick >= 0) this.disarm(timer);
    if (this.armedCount === 0) this.currentTick = this.tickOf(this.clock.nowMs());
    let due = Math.ceil((dueMs - this.originMs) / TICK_MS);
    if (due <= this.currentTick) due = this.currentTick + 1;
    timer.wheelDueTick = due;
    appendTo(this.slots[due % SLOTS]!, timer);
    this.armedCount++;
    if (this.automatic && this.interval === null) this.start();
  }

  /** Takes a timer out; does nothing if it is not armed. */
  disarm(timer: WheelTimer): void {
    if (timer.wheelDueTick < 0) return;
    timer.wheelPrevious!.wheelNext = timer.wheelNext;
    timer.wheelNext!.wheelPrevious = timer.wheelPrevious;
    timer.wheelNext = null;
    timer.wheelPrevious = null;
    timer.wheelDueTick = -1;
    this.armedCount--;
  }

  /** Expires everything due at or before now. A clock that jumped far ahead costs at most one turn of the wheel. */
  advance(): void {
    const nowMs = this.clock.nowMs();
    const target = this.tickOf(nowMs);
    if (target <= this.currentTick) return;
    const first = Math.max(this.currentTick + 1, target - SLOTS + 1);
    this.currentTick = target;
    for (let tick = first; tick <= target; tick++) this.expireSlot(this.slots[tick % SLOTS]!, target, nowMs);
  }

  /** Stops the process timer; armed timers stay and never expire unless `advance` is called. */
  stop(): void {
    if (this.interval !== null) clearInterval(this.interval);
    this.interval = null;
  }

  private tickOf(nowMs: number): number {
    return Math.floor((nowMs - this.originMs) / TICK_MS);
  }

  /**
   * Moves what is due out of the slot first, still linked so that a callback can disarm it, then expires it one by one:
   * a callback may arm or disarm anything, this slot's timers included.
   */
  private expireSlot(head: SlotHead, target: number, nowMs: number): void {
    const due = this.due;
    let timer = head.wheelNext!;
    while (timer !== head) {
      const next = timer.wheelNext!;
      if (timer.wheelDueTick <= target) {
        timer.wheelPrevious!.wheelNext = next;
        next.wheelPrevious = timer.wheelPrevious;
        appendTo(due, timer);
      }
      timer = next;
    }
    while (due.wheelNext !== due) {
      const expired = due.wheelNext!;
      this.disarm(expired);
      expired.onExpire(nowMs);
    }
  }

  private start(): void {
    this.turnedMs = this.clock.nowMs();
    this.interval = setInterval(() => {
      // Timers run before the event loop reads: after a turn that took long, what has arrived meanwhile is read first.
      if (this.clock.nowMs() - this.turnedMs > LATE_MS) setImmediate(() => this.turn());
      else this.turn();
    }, TICK_MS);
    this.interval.unref();
  }

  private turn(): void {
    if (this.interval === null) return;
    this.advance();
    this.turnedMs = this.clock.nowMs();
    if (this.armedCount === 0) this.stop();
  }
}
