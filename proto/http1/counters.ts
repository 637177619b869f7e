/** Counters of the HTTP/1.1 engine, as slots of a Float64Array that whoever owns the connections provides. */
import { FAULT_KINDS } from './faults.ts';

export const Http1Counter = {
  /** Exchanges begun. */
  EXCHANGES: 0,
  /** Heads found among the known ones, whole. */
  HEAD_CACHE_HITS: 1,
  /** Exchanges cut by the peer or by its connection's end. */
  CUT_BY_PEER: 2,
  IDLE_TIMEOUTS: 3,
  SEND_TIMEOUTS: 4,
  /** First of one slot per `Fault`. */
  FAULTS: 5,
} as const;

/** Slots a provider must make room for. */
export const HTTP1_COUNTER_SLOTS: number = Http1Counter.FAULTS + FAULT_KINDS;

const unobserved = new Float64Array(HTTP1_COUNTER_SLOTS);

/** For connections nobody counts. */
export function noCounters(): Float64Array {
  return unobserved;
}
