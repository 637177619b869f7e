/** Counters of the HTTP/1.1 engine, as slots of a Float64Array that whoever owns the connections provides. */
import { FAULT_KINDS, faultReason } from './faults.ts';

export const Http1Counter = {
  /** Exchanges begun. */
  EXCHANGES: 0,
  /** Exchanges cut by their connection's end, whoever ended it. */
  CUT: 1,
  /** Idle connections closed. */
  IDLE_TIMEOUTS: 2,
  /** Connections ended because the peer took nothing of what waited for it. */
  SEND_TIMEOUTS: 3,
  /** Exchanges and connections given up because the thread held too many bytes. */
  MEMORY_SHEDS: 4,
  /** First of one slot per `Fault`. */
  FAULTS: 5,
} as const;

/** Slots a provider must make room for. */
export const HTTP1_COUNTER_SLOTS: number = Http1Counter.FAULTS + FAULT_KINDS;

/** Names of the slots in order, for metrics. */
export const HTTP1_COUNTER_NAMES: readonly string[] = [
  ...Object.keys(Http1Counter)
    .slice(0, -1)
    .map((name) => name.toLowerCase()),
  ...Array.from({ length: FAULT_KINDS }, (_, fault) => (fault === 0 ? 'no_fault' : faultReason(fault))),
];

const unobserved = new Float64Array(HTTP1_COUNTER_SLOTS);

/** For connections nobody counts. */
export function noCounters(): Float64Array {
  return unobserved;
}
