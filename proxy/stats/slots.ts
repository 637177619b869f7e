/**
 * The order of the statistics slots: which number inside a block means what.
 *
 * A data thread counts by adding to a Float64Array at `base + offset`; nothing is looked up by name or label on the
 * request path. Blocks come in six kinds, laid out one after the other in every thread's region:
 *
 *     [ process block | cluster block 0 .. n-1 | shadow block 0 .. m-1 | route block 0 .. r-1 | pipelines | steps ]
 *
 * The base of a cluster's, shadow's, route's, pipeline's or step's block is handed out by `StatsLayout` and travels in the
 * snapshot (`statsBase`); the process block always starts at 0. Offsets of several slots in a row are indexed by one of
 * the value tables below: `base + ClusterSlot.REQUESTS + RequestOutcome.OK`. Pipelines' and steps' are in
 * `pipeline-slots.ts`. The rule that holds: a slot has exactly one row in `catalogue.ts`, so what is recorded and what is
 * exposed cannot differ.
 */

import { HTTP1_COUNTER_SLOTS } from '../../proto/http1/counters.ts';
import { HTTP2_COUNTER_SLOTS } from '../../proto/http2/counters.ts';
import { TLS_RESULT_SLOTS } from '../../proto/io/tls-result.ts';
import { HISTOGRAM_SLOTS } from './histogram.ts';

/** How a request sent to a cluster ended. Only the outcomes marked (b) are failures in the breaker's eyes. */
export const RequestOutcome = {
  /** Answered with OK. */
  OK: 0,
  /** Answered with a status that blames the caller (INVALID_ARGUMENT, NOT_FOUND, HTTP 4xx ...). */
  CALLER_ERROR: 1,
  /** Answered with a status that blames the upstream (b). */
  UPSTREAM_ERROR: 2,
  /** The stream or its connection was reset before the answer was complete (b). */
  UPSTREAM_RESET: 3,
  /** No connection could be made (b). */
  CONNECT_FAILED: 4,
  /** The deadline passed while the upstream held the request (b). */
  DEADLINE: 5,
  /** The upstream shed the request and said so (`batch_queue_full`). */
  OVERLOADED: 6,
  /** Answered OK with outputs that fail the check: NaN, Inf, malformed (b). */
  BAD_OUTPUT: 7,
  /** The caller went away first. */
  CANCELLED: 8,
} as const;

/** Why a request was not sent to the cluster it was meant for. */
export const ClusterRefusal = { BREAKER_OPEN: 0, CONCURRENCY: 1, PENDING: 2, NO_ENDPOINT: 3 } as const;

/** Why it was this cluster that answered the caller: as the primary, or because the primary did not (its fault named). */
export const AnswerReason = {
  PRIMARY: 0,
  BREAKER_OPEN: 1,
  OVERFLOW: 2,
  CONNECT_FAILED: 3,
  RESET: 4,
  DEADLINE_BUDGET: 5,
  STATUS: 6,
  BAD_OUTPUT: 7,
  HEDGE: 8,
  /** Nothing failed: the model is degraded, and the fallback is meant to answer. */
  DEGRADED: 9,
} as const;

/** What became of hedges: those started are won, lost, failed or cancelled; the others were not started. */
export const HedgeEvent = {
  STARTED: 0,
  /** Its answer went to the caller. */
  WON: 1,
  /** The primary answered first. */
  LOST: 2,
  /** It gave no good answer. */
  FAILED: 3,
  /** The request ended without an answer while it was under way: its caller left, or its deadline passed. */
  CANCELLED: 4,
  /** Not started: the budget was used up. */
  OVER_BUDGET: 5,
  /** Not started: no cluster took it. */
  REFUSED: 6,
} as const;

/** What was wrong with an answer that said OK. */
export const BadOutput = {
  /** NaN or an infinity. */
  NOT_FINITE: 0,
  /** Outside the declared range. */
  RANGE: 1,
  SHAPE: 2,
  DTYPE: 3,
  /** A declared output that every answer must hold is not there. */
  MISSING: 4,
  /** It cannot be read. */
  MALFORMED: 5,
} as const;

/** What became of an answer that was to be adapted: to its caller's schema, or to say which model gave it. */
export const AdaptResult = {
  ADAPTED: 0,
  /** It did not fit the mapping: a bad output. */
  MISFIT: 1,
  /** It is larger than what is adapted: a bad output. */
  TOO_LARGE: 2,
  /** Passed on as it came: only its model's name or version was to be written into it, and could not be. */
  SKIPPED: 3,
} as const;

/** What became of a request that was to be answered without a model. */
export const LocalResult = {
  ANSWERED: 0,
  /** It lacks what the rule asks for, or is no call that has such an answer. */
  MISFIT: 1,
  /** Too much to compute with. */
  TOO_LARGE: 2,
} as const;

/** What happened to a breaker. Each is counted once over all threads: by the thread that made the change. */
export const BreakerEvent = {
  /** closed to open: too large a share of the window failed. */
  ERROR_FRACTION: 0,
  /** closed to open: too many failures in a row. */
  CONSECUTIVE_FAILURES: 1,
  /** open to half_open: the open period is over and one request goes ahead as the probe. */
  PROBE_STARTED: 2,
  /** half_open to closed. */
  PROBE_SUCCEEDED: 3,
  /** half_open to open, for twice as long. */
  PROBE_FAILED: 4,
  /** The probe's outcome said nothing about the upstream; the next request probes. */
  PROBE_RETURNED: 5,
  /** The probe did not settle by its deadline; the request that noticed is the next probe. */
  PROBE_EXPIRED: 6,
  /** An operator holds the breaker open. */
  HELD_OPEN: 7,
  /** An operator holds the breaker closed. */
  HELD_CLOSED: 8,
  /** An operator gave the breaker back to its own judgement. */
  RELEASED: 9,
  /** An operator opened the breaker for one open period. */
  OPENED: 10,
  /** An operator closed the breaker; it goes on judging. */
  CLOSED: 11,
} as const;

/** Direction of payload bytes seen from the proxy. */
export const ByteDirection = { SENT: 0, RECEIVED: 1 } as const;

/** How an attempt to connect to an endpoint ended. */
export const ConnectResult = { OK: 0, FAILED: 1, TIMED_OUT: 2 } as const;

/** Why a request of a mirrored model was not shown to the shadow. */
export const MirrorDrop = {
  NOT_SAMPLED: 0,
  /** The shadow's bound on requests in flight was reached. */
  QUEUE_FULL: 1,
  /** The shadow's bound on bytes held was reached. */
  BYTES_FULL: 2,
  /** The request is larger than what may be kept, and could not be copied as it came. */
  TOO_LARGE: 3,
  /** The shadow's breaker is open, or it has no endpoint that answers. */
  UNHEALTHY: 4,
  DEADLINE: 5,
  /** The shadow's stream or connection was reset. */
  RESET: 6,
  /** The process was short of something and shed shadows first. */
  PRESSURE: 7,
  /** The request was being copied as it came, and ended before it was complete. */
  INCOMPLETE: 8,
} as const;

/** What became of the answers to a mirrored request. */
export const ComparisonResult = { COMPARED: 0, SKIPPED: 1, FAILED: 2, NOT_SAMPLED: 3 } as const;

/** How a request of a caller ended: every one that was accepted counts once. */
export const RequestEnd = {
  /** A complete answer of a cluster was handed on, whatever it says. */
  ANSWERED: 0,
  /** The proxy answered itself. */
  REFUSED: 1,
  /** The caller went away first. */
  CANCELLED: 2,
  /** Reset: the answer broke off after it had begun, or an upstream reset what is only relayed. */
  CUT: 3,
} as const;

/** Why the proxy ended a connection relayed as opaque bytes that neither side had ended. */
export const OpaqueCut = {
  /** Its destination refused it or could not be reached. */
  CONNECT_FAILED: 0,
  CONNECT_TIMEOUT: 1,
  /** It carried nothing for the time set. */
  IDLE: 2,
} as const;

/** Why a listener closed a connection without serving it. */
export const ConnectionRefusal = {
  /** More are open than may be: closed as it came. */
  MAX_CONNECTIONS: 0,
  /** It was redirected to the listener itself, and would come back for ever. */
  LOOP: 1,
  /** It dialled a listener that serves redirected connections only. */
  NOT_REDIRECTED: 2,
  /** Opaque bytes for which no upstream is configured. */
  NO_UPSTREAM: 3,
} as const;

/** What was done because a data thread held too many bytes of requests and answers. */
export const MemoryVerdict = {
  /** The copy kept for another attempt or a shadow; the request itself went on. */
  COPY_GIVEN_UP: 0,
  /** A request that needed what it kept: the heaviest go first. */
  REQUEST_REFUSED: 1,
  /** Too many bytes of requests whose model is still to be found: the one that brought more. */
  WAITING_REFUSED: 2,
} as const;

/** Replies the proxy made itself because no cluster could. */
export const LocalReply = {
  ROUTE_NOT_FOUND: 0,
  BAD_REQUEST: 1,
  TOO_LARGE: 2,
  UNIMPLEMENTED: 3,
  BREAKER_OPEN: 4,
  OVERFLOW: 5,
  CONNECT_FAILED: 6,
  RESET: 7,
  DEADLINE: 8,
  DRAINING: 9,
  INTERNAL: 10,
  RATE_LIMITED: 11,
  FAULT: 12,
} as const;

/** gRPC status codes 0..16 have a slot each; anything else counts here. */
export const GRPC_STATUS_OTHER = 17;

/** Offsets inside a cluster's block. A comment gives the value table that indexes a range. */
export const ClusterSlot = {
  REQUESTS: 0, // 9 slots by RequestOutcome
  STATUSES: 9, // 18 slots by gRPC status code, GRPC_STATUS_OTHER last
  REFUSALS: 27, // 4 slots by ClusterRefusal
  ANSWERS: 31, // 10 slots by AnswerReason
  BREAKER_EVENTS: 41, // 12 slots by BreakerEvent
  BYTES: 53, // 2 slots by ByteDirection
  CONNECTS: 55, // 3 slots by ConnectResult
  /** Gauge: requests in flight. */
  IN_FLIGHT: 58,
  /** Gauge: requests waiting for a connection. */
  PENDING: 59,
  /** Gauge: open upstream connections. */
  CONNECTIONS: 60,
  /** Requests whose replay copy was given up (too large, or the thread's total was reached). */
  NOT_REPLAYABLE: 61,
  /** Answers that took longer than the breaker allows. */
  SLOW: 62,
  /** Requests sent to another endpoint after one failed them, and those that would have been but for the budget. */
  RETRIES: 63,
  RETRIES_REFUSED: 64,
  /** Endpoints ejected, once over all threads. */
  EJECTIONS: 65,
  BAD_OUTPUTS: 66, // 6 slots by BadOutput
  /** Answers passed on without the check their model asks for: too large to be held, or in an unknown encoding. */
  UNCHECKED: 72,
  ADAPTATIONS: 73, // 4 slots by AdaptResult
  LOCAL_ANSWERS: 77, // 3 slots by LocalResult
  HEDGES: 80, // 7 slots by HedgeEvent
  /** Histogram of the time from sending the request to the end of the answer; successes only. */
  LATENCY: 87, // HISTOGRAM_SLOTS slots
} as const;

/** Length of a cluster's block in slots. */
export const CLUSTER_SLOTS = 87 + HISTOGRAM_SLOTS;

/** Offsets inside a shadow's block. */
export const ShadowSlot = {
  /** Requests sent to the shadow. */
  MIRRORED: 0,
  DROPS: 1, // 9 slots by MirrorDrop
  COMPARISONS: 10, // 4 slots by ComparisonResult
  /** Gauge: mirrored requests in flight. */
  IN_FLIGHT: 14,
  /** Gauge: bytes of mirrored requests and captured answers held. */
  HELD_BYTES: 15,
  /** Drops of requests that were being shown: those are in MIRRORED too. */
  CUT: 16,
} as const;

/** Length of a shadow's block in slots. */
export const SHADOW_SLOTS = 17;

/** Offsets of the process block, which starts at slot 0 of every region. */
export const ProcessSlot = {
  /** Gauge: open downstream connections. */
  CONNECTIONS: 0,
  CONNECTIONS_TOTAL: 1,
  /** Gauge: open downstream streams. */
  STREAMS: 2,
  STREAMS_TOTAL: 3,
  LOCAL_REPLIES: 4, // 13 slots by LocalReply
  /** Gauge: bytes of replay copies held. */
  REPLAY_BYTES: 17,
  /** Gauge: connections relayed as opaque bytes. */
  OPAQUE_CONNECTIONS: 18,
  OPAQUE_CONNECTIONS_TOTAL: 19,
  /** Gauge, seconds: how late the thread's last watch timer ran. */
  LOOP_LAG: 20,
  /** Gauge, seconds: the largest such delay of the last ten seconds. */
  LOOP_LAG_MAX: 21,
  /** Gauge, 0..1: share of the last second the thread's event loop was busy. */
  LOOP_BUSY: 22,
  ACCESS_LOG_DROPPED: 23,
  /** What callers did to our HTTP/2 server, then upstreams to our client; the engine counts into these slots itself. */
  HTTP2_DOWNSTREAM: 24, // HTTP2_COUNTER_SLOTS slots by Http2Counter
  HTTP2_UPSTREAM: 24 + HTTP2_COUNTER_SLOTS, // as many
  /** The same of our HTTP/1.1 server. */
  HTTP1_DOWNSTREAM: 24 + 2 * HTTP2_COUNTER_SLOTS, // HTTP1_COUNTER_SLOTS slots by Http1Counter
  REQUEST_ENDS: 24 + 2 * HTTP2_COUNTER_SLOTS + HTTP1_COUNTER_SLOTS, // 4 slots by RequestEnd
  /** TLS handshakes with callers, then with upstreams. */
  TLS_DOWNSTREAM: 28 + 2 * HTTP2_COUNTER_SLOTS + HTTP1_COUNTER_SLOTS, // TLS_RESULT_SLOTS slots by TlsResult
  TLS_UPSTREAM: 28 + 2 * HTTP2_COUNTER_SLOTS + HTTP1_COUNTER_SLOTS + TLS_RESULT_SLOTS, // as many
  OPAQUE_CUTS: 28 + 2 * HTTP2_COUNTER_SLOTS + HTTP1_COUNTER_SLOTS + 2 * TLS_RESULT_SLOTS, // 3 slots by OpaqueCut
  MEMORY_VERDICTS: 31 + 2 * HTTP2_COUNTER_SLOTS + HTTP1_COUNTER_SLOTS + 2 * TLS_RESULT_SLOTS, // 3 slots by MemoryVerdict
  /** Gauge: bytes that count in the thread's memory budget. */
  MEMORY_HELD: 34 + 2 * HTTP2_COUNTER_SLOTS + HTTP1_COUNTER_SLOTS + 2 * TLS_RESULT_SLOTS,
  CONNECTION_REFUSALS: 35 + 2 * HTTP2_COUNTER_SLOTS + HTTP1_COUNTER_SLOTS + 2 * TLS_RESULT_SLOTS, // 4 slots by ConnectionRefusal
} as const;

/** Length of the process block in slots. */
export const PROCESS_SLOTS: number = ProcessSlot.CONNECTION_REFUSALS + 4;

/** Answers of traffic that is not gRPC, by the first digit of their status. */
export const StatusClass = { '1XX': 0, '2XX': 1, '3XX': 2, '4XX': 3, '5XX': 4 } as const;

/** Offsets inside a route's block. */
export const RouteSlot = {
  REQUESTS: 0, // 4 slots by RequestEnd
  /** What callers were answered: gRPC by its code, everything else by class. */
  GRPC_STATUSES: 4, // 18 slots by gRPC status code, GRPC_STATUS_OTHER last
  HTTP_STATUSES: 22, // 5 slots by StatusClass
} as const;

/** Length of a route's block in slots. */
export const ROUTE_SLOTS = 27;

/** Label values of a value table in slot order: `{ OK: 0, CALLER_ERROR: 1 }` gives `['ok', 'caller_error']`. */
export function labelValues(table: Readonly<Record<string, number>>): readonly string[] {
  const values: string[] = [];
  for (const [key, index] of Object.entries(table)) values[index] = key.toLowerCase();
  return values;
}
