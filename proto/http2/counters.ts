/** Counters of the HTTP/2 engine, as slots of a Float64Array that whoever owns the connections provides. */
import { FLOOD_KINDS } from './limits.ts';

export const Http2Counter = {
  CONNECTION_ERRORS: 0,
  STREAM_ERRORS: 1,
  STREAMS_OPENED: 2,
  /** Beyond the concurrent streams we allow. */
  STREAMS_REFUSED: 3,
  STREAMS_RESET_BY_PEER: 4,
  GOAWAYS_RECEIVED: 5,
  /** Header sections beyond their size or number of fields once decoded: HPACK bombs among them. */
  HEADER_LISTS_TOO_LARGE: 6,
  CONTINUATION_FLOODS: 7,
  /** Connections cut because our answers were left unread. */
  UNREAD_CONTROL: 8,
  /** Connections closed as they came: too many. */
  CONNECTIONS_REFUSED: 9,
  HANDSHAKE_TIMEOUTS: 10,
  HEADER_TIMEOUTS: 11,
  IDLE_TIMEOUTS: 12,
  /** Connections cut because their socket took nothing for too long. */
  SOCKET_STALLS: 13,
  /** Streams reset because the peer's flow control held their bytes for too long. */
  STREAM_STALLS: 14,
  BODY_TIMEOUTS: 15,
  /** Streams and sockets that gave their buffers up when the thread held too many bytes. */
  MEMORY_SHEDS: 16,
  /** First of one slot per `Flood` kind. */
  FLOODS: 17,
} as const;

/** Slots a provider must make room for. */
export const HTTP2_COUNTER_SLOTS: number = Http2Counter.FLOODS + FLOOD_KINDS.length;

/** Names of the slots in order, for metrics. */
export const HTTP2_COUNTER_NAMES: readonly string[] = [
  ...Object.keys(Http2Counter)
    .slice(0, -1)
    .map((name) => name.toLowerCase()),
  ...FLOOD_KINDS.map((kind) => `${kind}_floods`),
];

const unobserved = new Float64Array(HTTP2_COUNTER_SLOTS);

/** For connections nobody counts. */
export function noCounters(): Float64Array {
  return unobserved;
}
