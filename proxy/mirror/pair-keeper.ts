/** Decides which compared pairs the store keeps, and writes them as the policy lets them be seen. */
import { formOf } from './comparator.ts';
import type { Comparison } from './comparison.ts';
import { Fault } from './fault-kinds.ts';
import { PROTOCOL_NAMES } from './pair-protocol.ts';
import type { PairRecord } from './pair-record.ts';
import { PairStore } from './pair-store.ts';
import { BodyShower } from './shown-body.ts';
import type { PairStoreOptions } from './store-counts.ts';

export class PairKeeper {
  readonly store: PairStore;
  private readonly bodies = new BodyShower();
  private readonly wallClock: () => number;

  constructor(options: PairStoreOptions, random: () => number = Math.random, wallClock: () => number = Date.now) {
    this.store = new PairStore(options, random);
    this.wallClock = wallClock;
  }

  /** Takes a compared pair; `cohorts` are the names its rows belong to. */
  take(pair: PairRecord, comparison: Comparison, cohorts: readonly string[], redact: ReadonlySet<string>): void {
    const distance = meanDistance(comparison);
    const divergent = distance > 0 || comparison.statusDiffers || comparison.shadowFaults !== Fault.NONE;
    const atMs = this.wallClock();
    const slot = this.store.slotFor(divergent, atMs);
    if (slot < 0) return;
    const form = formOf(pair);
    this.store.put(slot, {
      atMs,
      model: pair.model,
      primary: pair.primary,
      shadow: pair.shadow,
      cohorts: cohorts.map((name) => name.replaceAll(',', ' ')).join(','),
      protocol: PROTOCOL_NAMES[pair.protocol] ?? '',
      method: pair.method,
      primaryStatus: pair.primaryStatus,
      shadowStatus: pair.shadowStatus,
      primaryLatencyMs: pair.primaryLatencyMs,
      shadowLatencyMs: pair.shadowLatencyMs,
      distance,
      request: this.bodies.show(pair.request, form, false, redact),
      primaryAnswer: this.bodies.show(pair.primaryBody, form, true, redact),
      shadowAnswer: this.bodies.show(pair.shadowBody, form, true, redact),
    });
  }

  /** To be called at the end of a batch. */
  commit(): void {
    this.store.commit(this.wallClock());
  }
}

function meanDistance(comparison: Comparison): number {
  let sum = 0;
  let judged = 0;
  for (let row = 0; row < comparison.rows; row++) {
    const distance = comparison.distance(row);
    if (distance < 0) continue;
    sum += distance;
    judged++;
  }
  return judged === 0 ? -1 : sum / judged;
}
