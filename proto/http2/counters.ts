/** Counters of the HTTP/2 engine, as slots of a Float64Array that whoever owns the connections provides. */

export const Http2Counter = {
  CONNECTION_ERRORS: 0,
  STREAM_ERRORS: 1,
  STREAMS_OPENED: 2,
  STREAMS_REFUSED: 3,
  STREAMS_RESET_BY_PEER: 4,
  GOAWAYS_RECEIVED: 5,
  HEADER_LISTS_TOO_LARGE: 6,
  CONTINUATION_FLOODS: 7,
  UNREAD_CONTROL: 8,
  /** First of one slot per `Flood` kind. */
  FLOODS: 9,
} as const;

/** Slots a provider must make room for. */
export const HTTP2_COUNTER_SLOTS = 16;

const unobserved = new Float64Array(HTTP2_COUNTER_SLOTS);

/** For connections nobody counts. */
export function noCounters(): Float64Array {
  return unobserved;
}
