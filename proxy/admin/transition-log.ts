/** The last changes of named things (breakers, degradations), for the admin API. Bounded by name and in names. */

export interface TransitionEntry {
  readonly from: string;
  readonly to: string;
  readonly reason: string;
  /** ISO 8601, UTC. */
  readonly at: string;
}

/** Changes kept of each name; older ones are in the log and the counters. */
export const MAX_ENTRIES = 16;
const MAX_NAMES = 1024;

export class TransitionLog {
  private readonly byName = new Map<string, TransitionEntry[]>();

  /** Keeps a change made now. At the bound the name that changed longest ago is forgotten. */
  add(name: string, from: string, to: string, reason: string, unixMs: number = Date.now()): void {
    const entries = this.byName.get(name) ?? [];
    this.byName.delete(name);
    this.byName.set(name, entries);
    entries.push({ from, to, reason, at: new Date(unixMs).toISOString() });
    if (entries.length > MAX_ENTRIES) entries.shift();
    if (this.byName.size > MAX_NAMES) this.byName.delete(this.byName.keys().next().value!);
  }

  /** Changes of a name, oldest first. */
  of(name: string): readonly TransitionEntry[] {
    return this.byName.get(name) ?? [];
  }
}
