/** What the admin API says about a breaker: a reading of the shared cells that changes nothing. Any thread may take it. */

import type { BreakerPolicy } from '../config/snapshot.ts';
import { BreakerEvent, labelValues } from '../stats/slots.ts';
import { type BreakerCells, Cell, cellTime, epochOf, Phase, stateName, stateOf } from './breaker-cells.ts';
import type { BreakerStateName } from './breaker-verdict.ts';
import { BreakerWindow } from './breaker-window.ts';

/** Plain data, ready for JSON. Durations in milliseconds. */
export interface BreakerDescription {
  readonly state: BreakerStateName;
  readonly enabled: boolean;
  /** Why it is in this state; '' before the first change. */
  readonly reason: string;
  /** Time since the last change; 0 before the first. */
  readonly changedAgoMs: number;
  /** Open: time until a request may probe. */
  readonly openForMs: number;
  /** Openings since it last closed. */
  readonly openings: number;
  readonly probeInFlight: boolean;
  readonly consecutiveFailures: number;
  /** Outcomes counted in the window; both 0 unless closed. */
  readonly windowSuccesses: number;
  readonly windowFailures: number;
}

const EVENT_NAMES = labelValues(BreakerEvent);

/** Describes breaker `index`. The cells are read one by one: during a change the figures may mix two moments. */
export function describeBreaker(
  shared: BreakerCells,
  index: number,
  policy: BreakerPolicy,
  nowMs: number,
): BreakerDescription {
  const { cells } = shared;
  const base = shared.stateBase(index);
  const phase = Atomics.load(cells, base);
  const changed = Atomics.load(cells, base + Cell.DETAIL_EPOCH) === epochOf(phase) && epochOf(phase) > 0;
  const remainingMs = Math.max(0, (Atomics.load(cells, base + Cell.UNTIL) - cellTime(nowMs)) | 0);
  const running = changed && remainingMs > 0 && remainingMs <= Atomics.load(cells, base + Cell.LASTING);
  const window = new BreakerWindow(shared, index, policy.windowMs);
  if (stateOf(phase) === Phase.CLOSED) window.sum(epochOf(phase), nowMs);
  return {
    state: stateName(phase),
    enabled: policy.enabled,
    reason: changed ? EVENT_NAMES[Atomics.load(cells, base + Cell.EVENT)]! : '',
    changedAgoMs: changed ? (cellTime(nowMs) - Atomics.load(cells, base + Cell.CHANGED_AT)) | 0 : 0,
    openForMs: stateOf(phase) === Phase.OPEN && running ? remainingMs : 0,
    openings: Atomics.load(cells, base + Cell.OPENINGS),
    probeInFlight: stateOf(phase) === Phase.PROBING && running,
    consecutiveFailures: Atomics.load(cells, base + Cell.IN_A_ROW),
    windowSuccesses: window.successes,
    windowFailures: window.failures,
  };
}
