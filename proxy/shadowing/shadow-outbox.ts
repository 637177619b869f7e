/**
 * Copies on their way out: they leave together, every two milliseconds or by the hundred, and not with each event-loop turn.
 * The time of a call begins when its copy leaves, so that waiting for the others is not held against the shadow.
 */
import type { Clock } from '../../base/clock.ts';
import { beginDeferring, endDeferring, flushDeferred, hasDeferred } from '../../proto/io/deferred-writes.ts';

const WAIT_MS = 2;
/** Copies that wait at most; as many make a write worth its while. */
const MAX_WAITING = 128;

/** A call whose copy waits. */
export interface OutgoingCall {
  /** The copy leaves now. */
  onLeft(nowMs: number): void;
}

export class ShadowOutbox {
  private readonly clock: Clock;
  private readonly waiting: OutgoingCall[] = [];
  private timer: NodeJS.Timeout | null = null;
  private readonly flushNow = (): void => this.flush();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** What is written until `close` may wait. */
  open(): void {
    beginDeferring();
  }

  close(): void {
    endDeferring();
    if (this.waiting.length >= MAX_WAITING) {
      this.flush();
    } else if (this.timer === null && (hasDeferred() || this.waiting.length > 0)) {
      this.timer = setTimeout(this.flushNow, WAIT_MS);
      this.timer.unref();
    }
  }

  /** The call has been written, between `open` and `close`. */
  add(call: OutgoingCall): void {
    this.waiting.push(call);
  }

  private flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    flushDeferred();
    const nowMs = this.clock.nowMs();
    for (let i = 0; i < this.waiting.length; i++) this.waiting[i]!.onLeft(nowMs);
    this.waiting.length = 0;
  }
}
