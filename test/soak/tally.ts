/** What the callers of the soak saw: calls by kind and end, calls in flight, and everything that was wrong. */

/** How a call ended in its caller's eyes. */
export type End =
  /** A complete, right answer. */
  | 'ok'
  /** A complete answer that says it failed, of an upstream or of the proxy. */
  | 'failed'
  /** Cut by the other side before the answer was complete. */
  | 'cut'
  /** The caller itself went away first. */
  | 'gone';

/** A call that lasts longer than this is stuck, milliseconds: every time limit in the soak is far below. */
export const STUCK_MS = 20_000;

const MAX_WRONG = 20;

/** A call in flight, for its caller to say what it knows of it. */
export interface WatchedCall {
  readonly kind: string;
  readonly sinceMs: number;
  describe: () => string;
}

export class Tally {
  /** `kind end` to how many. */
  readonly ends = new Map<string, number>();
  readonly failures = new Map<string, number>();
  /** First descriptions of what must not be. */
  readonly wrongs: string[] = [];
  wrongCount = 0;
  total = 0;
  bytes = 0;
  /** Connections to the proxy that were established. */
  connections = 0;
  private readonly inFlight = new Set<WatchedCall>();

  /** Counts a call from its start to its end. A call whose promise never settles is found by `stuck`. */
  async watch(kind: string, call: (watched: WatchedCall) => Promise<End>): Promise<void> {
    const watched: WatchedCall = { kind, sinceMs: performance.now(), describe: () => '' };
    this.inFlight.add(watched);
    const end = await call(watched);
    this.inFlight.delete(watched);
    this.total++;
    const name = `${kind} ${end}`;
    this.ends.set(name, (this.ends.get(name) ?? 0) + 1);
  }

  failure(kind: string): void {
    this.failures.set(kind, (this.failures.get(kind) ?? 0) + 1);
  }

  wrong(text: string): void {
    this.wrongCount++;
    if (this.wrongs.length < MAX_WRONG) this.wrongs.push(text);
  }

  /** The calls that are overdue, as their callers see them. */
  stuck(): string[] {
    const before = performance.now() - STUCK_MS;
    return [...this.inFlight]
      .filter((call) => call.sinceMs < before)
      .map((call) => `${call.kind} ${call.describe()}`.trim());
  }

  /** Kinds and ages of the calls in flight, oldest first. */
  inFlightNow(): string[] {
    const nowMs = performance.now();
    return [...this.inFlight].map((call) =>
      `${call.kind} for ${Math.round(nowMs - call.sinceMs)} ms ${call.describe()}`.trim(),
    );
  }

  get open(): number {
    return this.inFlight.size;
  }

  /** Calls of some kinds that ended so. */
  count(end: End, kinds: RegExp = /./): number {
    let sum = 0;
    for (const [name, count] of this.ends) {
      const [kind, how] = name.split(' ');
      if (how === end && kinds.test(kind!)) sum += count;
    }
    return sum;
  }
}
