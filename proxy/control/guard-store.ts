/** Rate limits and faults as the control thread sees them: their places in shared memory, and how often each acted. */
import { systemClock } from '../../base/clock.ts';
import type { MeshSnapshot } from '../config/snapshot.ts';
import { GuardCells, GuardCount } from '../policy/guard-cells.ts';

/** Names one run can hand out; they are never forgotten within a run. */
const MAX_GUARDS = 1024;

export interface GuardRow {
  readonly labels: readonly string[];
  readonly value: number;
}

export class GuardStore {
  readonly buffer: SharedArrayBuffer = GuardCells.allocate(MAX_GUARDS, systemClock.nowMs());
  private readonly cells = new GuardCells(this.buffer);
  private readonly places = new Map<string, number>();

  /** The place of a limit or fault. Throws a RangeError when there is none left. */
  place(name: string): number {
    const place = this.places.get(name) ?? this.places.size;
    if (place >= MAX_GUARDS) throw new RangeError(`at most ${MAX_GUARDS} limits and faults in one run`);
    this.places.set(name, place);
    return place;
  }

  /** Requests above each limit: refused, and let pass because it is not enforced for all. */
  limitRows({ rateLimits }: MeshSnapshot): GuardRow[] {
    return rateLimits.flatMap(({ name, place }) => [
      { labels: [name, 'refused'], value: this.cells.read(place, GuardCount.ACTED) },
      { labels: [name, 'passed'], value: this.cells.read(place, GuardCount.PASSED) },
    ]);
  }

  /** What each fault has done. */
  faultRows({ faults }: MeshSnapshot): GuardRow[] {
    return faults.flatMap(({ name, place }) => [
      { labels: [name, 'abort'], value: this.cells.read(place, GuardCount.ACTED) },
      { labels: [name, 'delay'], value: this.cells.read(place, GuardCount.PASSED) },
    ]);
  }
}
