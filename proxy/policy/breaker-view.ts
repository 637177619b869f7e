/** What the admin API says about a breaker: a reading of the shared cells that changes nothing. Any thread may take it. */

import type { BreakerPolicy } from '../config/snapshot.ts';
import { BreakerEvent, labelValues } from '../stats/slots.ts';
import { type BreakerCells, Cell, cellTime, Detail, epochOf, Phase, stateName, stateOf } from './breaker-cells.ts';
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
  const changed = epochOf(phase) > 0;
  const running = changed && !shared.isOver(base, phase, nowMs);
  const remainingMs = running ? (shared.detail(base, phase, Detail.UNTIL) - cellTime(nowMs)) | 0 : 0;
  const window = new BreakerWindow(shared, index, policy.windowMs);
  if (stateOf(phase) === Phase.CLOSED) window.sum(epochOf(phase), nowMs);
  return {
    state: stateName(phase),
    enabled: policy.enabled,
    reason: changed ? EVENT_NAMES[shared.detail(base, phase, Detail.EVENT)]! : '',
    changedAgoMs: changed ? (cellTime(nowMs) - shared.detail(base, phase, Detail.CHANGED_AT)) | 0 : 0,
    openForMs: stateOf(phase) === Phase.OPEN ? remainingMs : 0,
    openings: shared.detail(base, phase, Detail.OPENINGS),
    probeInFlight: stateOf(phase) === Phase.PROBING && running,
    consecutiveFailures: Atomics.load(cells, base + Cell.IN_A_ROW),
    windowSuccesses: window.successes,
    windowFailures: window.failures,
  };
}
