/**
 * The one table of metrics: name, help, labels and the slots they are read from.
 *
 * Exposition walks this table and recording uses the same offsets (slots.ts), so the two cannot disagree; a test holds
 * that every slot has exactly one row. Names are `understudy_<subject>_<measure>_<unit>`, with `_total` for counters;
 * `inference_latency_seconds` is named as model dashboards expect it. Labels come from the configuration or from the
 * value tables, never from request data. The file is long because it is one table: a row for each metric.
 */

import { HTTP1_COUNTER_NAMES } from '../../proto/http1/counters.ts';
import { HTTP2_COUNTER_NAMES } from '../../proto/http2/counters.ts';
import { TlsResult } from '../../proto/io/tls-result.ts';
import { HISTOGRAM_SLOTS } from './histogram.ts';
import type { BlockKind, StatsLayout } from './layout.ts';
import { PipelineEnd, PipelineRefusal, PipelineSlot, StepEnd, StepSlot } from './pipeline-slots.ts';
import {
  AdaptResult,
  AnswerReason,
  BadOutput,
  BreakerEvent,
  ByteDirection,
  ClusterRefusal,
  ClusterSlot,
  ComparisonResult,
  ConnectionRefusal,
  ConnectResult,
  GRPC_STATUS_OTHER,
  HedgeEvent,
  LocalReply,
  LocalResult,
  labelValues,
  MemoryVerdict,
  MirrorDrop,
  OpaqueCut,
  ProcessSlot,
  RequestEnd,
  RequestOutcome,
  RouteSlot,
  ShadowSlot,
  StatusClass,
} from './slots.ts';

/** One more label whose values are neighbouring slots. */
export interface ValueLabel {
  readonly name: string;
  readonly values: readonly string[];
}

/** A metric read from slots. */
export interface SlotMetric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** What a value counts: part of the name where Prometheus wants it there. */
  readonly unit: 'requests' | 'bytes' | 'seconds' | 'fraction' | 'connections' | 'streams' | 'events' | 'pairs';
  /** Which kind of block holds the slot. */
  readonly block: BlockKind | 'process';
  /** Offset of the first slot in the block. */
  readonly slot: number;
  /** Set when the metric spans several slots, one for each label value. */
  readonly by?: ValueLabel;
  /** Which of the block's labels are exposed; all when absent. Equal label sets are summed. */
  readonly labels?: readonly string[];
  /** Which clusters have the metric: those that serve a model, or those that do not; both when absent. */
  readonly only?: 'models' | 'other_traffic';
  /** Expose label values only once they were counted: for long value tables. */
  readonly sparse?: boolean;
  /** Expose each thread's value under a `thread` label instead of the sum. */
  readonly perThread?: boolean;
}

/** A metric the control thread knows at scrape time; `app.ts` hands exposition its reader. */
export interface ControlMetric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly labels: readonly string[];
}

const by = (name: string, table: Readonly<Record<string, number>>): ValueLabel => ({
  name,
  values: labelValues(table),
});

const grpcStatuses: ValueLabel = {
  name: 'grpc_status',
  values: Array.from({ length: GRPC_STATUS_OTHER + 1 }, (_, code) =>
    code === GRPC_STATUS_OTHER ? 'other' : String(code),
  ),
};

type Row = readonly [
  name: string,
  type: SlotMetric['type'],
  unit: SlotMetric['unit'],
  slot: number,
  help: string,
  more?: Pick<SlotMetric, 'by' | 'labels' | 'only' | 'sparse' | 'perThread'>,
];

function metrics(block: SlotMetric['block'], rows: readonly Row[]): readonly SlotMetric[] {
  return rows.map(([name, type, unit, slot, help, more]) => ({ name, help, type, unit, block, slot, ...more }));
}

// biome-ignore format: two lines to a row, so that it reads as the table it is.
const CLUSTER_METRICS = metrics('cluster', [
  ['understudy_cluster_requests_total', 'counter', 'requests', ClusterSlot.REQUESTS,
    'Requests sent to a cluster, by how they ended.', { by: by('outcome', RequestOutcome) }],
  ['understudy_cluster_responses_total', 'counter', 'requests', ClusterSlot.STATUSES,
    'Answers of a cluster by gRPC status code.', { by: grpcStatuses, sparse: true }],
  ['understudy_cluster_refusals_total', 'counter', 'requests', ClusterSlot.REFUSALS,
    'Requests the proxy did not send to the cluster they were meant for, by reason.', { by: by('reason', ClusterRefusal) }],
  ['understudy_cluster_answers_total', 'counter', 'requests', ClusterSlot.ANSWERS,
    'Answers returned to callers from a cluster: as the primary, or as the fallback for the reason given.', { by: by('reason', AnswerReason) }],
  ['understudy_breaker_events_total', 'counter', 'events', ClusterSlot.BREAKER_EVENTS,
    'Changes of a breaker, by what caused them.', { by: by('event', BreakerEvent) }],
  ['understudy_cluster_payload_bytes_total', 'counter', 'bytes', ClusterSlot.BYTES,
    'Message bytes exchanged with a cluster, by direction.', { by: by('direction', ByteDirection) }],
  ['understudy_cluster_connects_total', 'counter', 'connections', ClusterSlot.CONNECTS,
    'Attempts to connect to an endpoint of a cluster, by result.', { by: by('result', ConnectResult) }],
  ['understudy_cluster_in_flight_requests', 'gauge', 'requests', ClusterSlot.IN_FLIGHT,
    'Requests in flight to a cluster.'],
  ['understudy_cluster_pending_requests', 'gauge', 'requests', ClusterSlot.PENDING,
    'Requests waiting for a connection to a cluster.'],
  ['understudy_cluster_open_connections', 'gauge', 'connections', ClusterSlot.CONNECTIONS,
    'Open connections to a cluster.'],
  ['understudy_cluster_unreplayable_requests_total', 'counter', 'requests', ClusterSlot.NOT_REPLAYABLE,
    'Requests no fallback could have answered: too large to keep, or no room left for replay copies.'],
  ['understudy_cluster_slow_answers_total', 'counter', 'requests', ClusterSlot.SLOW,
    'Answers that took longer than the breaker of their cluster allows, and counted as failures.'],
  ['understudy_cluster_retries_total', 'counter', 'requests', ClusterSlot.RETRIES,
    'Requests sent to another endpoint after one had failed them.'],
  ['understudy_cluster_retries_over_budget_total', 'counter', 'requests', ClusterSlot.RETRIES_REFUSED,
    'Requests not sent again because the retry budget was used up.'],
  ['understudy_cluster_hedges_total', 'counter', 'requests', ClusterSlot.HEDGES,
    'Hedges of requests that were with a cluster as the primary, by what became of them; started are won, lost, failed or cancelled.', { by: by('event', HedgeEvent), only: 'models' }],
  ['understudy_endpoint_ejections_total', 'counter', 'events', ClusterSlot.EJECTIONS,
    'Ejections of endpoints for their answers.'],
  ['understudy_bad_outputs_total', 'counter', 'requests', ClusterSlot.BAD_OUTPUTS,
    'Answers that said OK and were refused by the check of outputs, by what was wrong with them.', { by: by('fault', BadOutput), only: 'models' }],
  ['understudy_unchecked_answers_total', 'counter', 'requests', ClusterSlot.UNCHECKED,
    'Answers passed on without the check of outputs their model asks for: too large, or compressed in a way that is not read.', { only: 'models' }],
  ['understudy_answer_adaptations_total', 'counter', 'requests', ClusterSlot.ADAPTATIONS,
    "Answers that were to be adapted to their caller's schema or to name their model, by what became of them.", { by: by('result', AdaptResult), sparse: true }],
  ['understudy_local_answers_total', 'counter', 'requests', ClusterSlot.LOCAL_ANSWERS,
    'Requests that were to be answered by a constant or a rule, by what became of them.', { by: by('result', LocalResult), sparse: true }],
  ['inference_latency_seconds', 'histogram', 'seconds', ClusterSlot.LATENCY,
    'Time from sending a request to a model until the end of its answer, successes only.', { labels: ['model', 'model_version'], only: 'models' }],
  ['understudy_cluster_latency_seconds', 'histogram', 'seconds', ClusterSlot.LATENCY,
    'The same for clusters that carry other traffic than model calls.', { labels: ['cluster'], only: 'other_traffic' }],
]);

// biome-ignore format: two lines to a row, so that it reads as the table it is.
const SHADOW_METRICS = metrics('shadow', [
  ['understudy_mirror_requests_total', 'counter', 'requests', ShadowSlot.MIRRORED,
    'Requests shown to a shadow.'],
  ['understudy_mirror_drops_total', 'counter', 'requests', ShadowSlot.DROPS,
    'Requests not shown to a shadow, or whose showing was cut short, by reason.', { by: by('reason', MirrorDrop) }],
  ['understudy_mirror_cut_requests_total', 'counter', 'requests', ShadowSlot.CUT,
    'Drops of requests that a shadow was being shown: requests selected are those shown plus those dropped minus these.'],
  ['understudy_comparison_results_total', 'counter', 'pairs', ShadowSlot.COMPARISONS,
    "Pairs of a primary's and a shadow's answer, by what became of them; not_sampled: not captured, to bound the cost.", { by: by('result', ComparisonResult) }],
  ['understudy_mirror_in_flight_requests', 'gauge', 'requests', ShadowSlot.IN_FLIGHT,
    'Mirrored requests in flight.'],
  ['understudy_mirror_held_bytes', 'gauge', 'bytes', ShadowSlot.HELD_BYTES,
    'Bytes of mirrored requests and captured answers held in memory.'],
]);

// biome-ignore format: two lines to a row, so that it reads as the table it is.
const ROUTE_METRICS = metrics('route', [
  ['understudy_route_requests_total', 'counter', 'requests', RouteSlot.REQUESTS,
    'Requests by the route that took them, and how they ended; `-` is what no route took.', { by: by('outcome', RequestEnd) }],
  ['understudy_route_grpc_responses_total', 'counter', 'requests', RouteSlot.GRPC_STATUSES,
    'gRPC answers that callers got, by route and status code, our own included.', { by: grpcStatuses, sparse: true }],
  ['understudy_route_http_responses_total', 'counter', 'requests', RouteSlot.HTTP_STATUSES,
    'Other answers that callers got, by route and class of status, our own included.', { by: by('status_class', StatusClass), sparse: true }],
]);

// biome-ignore format: two lines to a row, so that it reads as the table it is.
const PIPELINE_METRICS = [
  ...metrics('pipeline', [
    ['understudy_pipeline_requests_total', 'counter', 'requests', PipelineSlot.REQUESTS,
      "Requests of a pipeline, by how they ended; degraded: a step's fallback or default stood in.", { by: by('outcome', PipelineEnd) }],
    ['understudy_pipeline_refusals_total', 'counter', 'requests', PipelineSlot.REFUSALS,
      'Requests of a pipeline refused or cut by a bound, by which.', { by: by('reason', PipelineRefusal) }],
    ['understudy_pipeline_in_flight_requests', 'gauge', 'requests', PipelineSlot.IN_FLIGHT,
      'Requests of a pipeline under way.'],
    ['understudy_pipeline_held_bytes', 'gauge', 'bytes', PipelineSlot.HELD_BYTES,
      "Bytes of requests and steps' answers a pipeline holds."],
    ['understudy_pipeline_latency_seconds', 'histogram', 'seconds', PipelineSlot.LATENCY,
      'Time from a complete request to the answer of a pipeline, answered requests only.'],
  ]),
  ...metrics('step', [
    ['understudy_pipeline_step_runs_total', 'counter', 'requests', StepSlot.RUNS,
      'Runs of a step of a pipeline, by who answered: primary, fallback, default outputs, or nobody.', { by: by('outcome', StepEnd) }],
    ['understudy_pipeline_step_latency_seconds', 'histogram', 'seconds', StepSlot.LATENCY,
      'Time a step of a pipeline took, when a model answered it.'],
  ]),
];

const HTTP1_KINDS: ValueLabel = { name: 'kind', values: HTTP1_COUNTER_NAMES };
const HTTP2_KINDS: ValueLabel = { name: 'kind', values: HTTP2_COUNTER_NAMES };

// biome-ignore format: two lines to a row, so that it reads as the table it is.
const PROCESS_METRICS = metrics('process', [
  ['understudy_downstream_open_connections', 'gauge', 'connections', ProcessSlot.CONNECTIONS,
    'Open connections from callers.'],
  ['understudy_downstream_connections_total', 'counter', 'connections', ProcessSlot.CONNECTIONS_TOTAL,
    'Connections accepted from callers.'],
  ['understudy_downstream_open_streams', 'gauge', 'streams', ProcessSlot.STREAMS,
    'Open streams from callers.'],
  ['understudy_downstream_streams_total', 'counter', 'streams', ProcessSlot.STREAMS_TOTAL,
    'Streams opened by callers.'],
  ['understudy_downstream_requests_total', 'counter', 'requests', ProcessSlot.REQUEST_ENDS,
    'Requests of callers that ended, by how. Together with the open streams they are the streams opened.', { by: by('outcome', RequestEnd) }],
  ['understudy_access_log_dropped_total', 'counter', 'events', ProcessSlot.ACCESS_LOG_DROPPED,
    'Access log lines dropped because what reads them is too slow.'],
  ['understudy_downstream_http2_events_total', 'counter', 'events', ProcessSlot.HTTP2_DOWNSTREAM,
    'What the HTTP/2 server met from callers: errors, refusals, floods, timeouts, by kind.', { by: HTTP2_KINDS }],
  ['understudy_downstream_http1_events_total', 'counter', 'events', ProcessSlot.HTTP1_DOWNSTREAM,
    'What the HTTP/1.1 server met from callers: exchanges, faults, timeouts, by kind.', { by: HTTP1_KINDS, sparse: true }],
  ['understudy_upstream_http2_events_total', 'counter', 'events', ProcessSlot.HTTP2_UPSTREAM,
    'What the HTTP/2 client met from upstreams, by kind.', { by: HTTP2_KINDS }],
  ['understudy_downstream_tls_handshakes_total', 'counter', 'events', ProcessSlot.TLS_DOWNSTREAM,
    'TLS handshakes with callers, by how they ended.', { by: by('result', TlsResult) }],
  ['understudy_upstream_tls_handshakes_total', 'counter', 'events', ProcessSlot.TLS_UPSTREAM,
    'TLS handshakes with upstreams, by how they ended.', { by: by('result', TlsResult) }],
  ['understudy_local_replies_total', 'counter', 'requests', ProcessSlot.LOCAL_REPLIES,
    'Replies the proxy made itself because no cluster could, by reason.', { by: by('reason', LocalReply) }],
  ['understudy_downstream_connection_refusals_total', 'counter', 'connections', ProcessSlot.CONNECTION_REFUSALS,
    'Connections closed without being served, by reason.', { by: by('reason', ConnectionRefusal) }],
  ['understudy_memory_verdicts_total', 'counter', 'requests', ProcessSlot.MEMORY_VERDICTS,
    'Requests that lost what was kept of them because a data thread held too many bytes, by what that meant.', { by: by('verdict', MemoryVerdict) }],
  ['understudy_memory_held_bytes', 'gauge', 'bytes', ProcessSlot.MEMORY_HELD,
    'Bytes of requests, answers and unsent output a data thread holds for others, as of the last quarter of a second.', { perThread: true }],
  ['understudy_replay_held_bytes', 'gauge', 'bytes', ProcessSlot.REPLAY_BYTES,
    'Bytes of requests kept so that a fallback can answer them.'],
  ['understudy_opaque_open_connections', 'gauge', 'connections', ProcessSlot.OPAQUE_CONNECTIONS,
    'Connections relayed as opaque bytes.'],
  ['understudy_opaque_connections_total', 'counter', 'connections', ProcessSlot.OPAQUE_CONNECTIONS_TOTAL,
    'Connections relayed as opaque bytes so far.'],
  ['understudy_opaque_connections_cut_total', 'counter', 'connections', ProcessSlot.OPAQUE_CUTS,
    'Connections relayed as opaque bytes that the proxy ended itself, by reason.', { by: by('reason', OpaqueCut) }],
  ['understudy_loop_lag_seconds', 'gauge', 'seconds', ProcessSlot.LOOP_LAG,
    "How late the last watch timer of a data thread's event loop ran.", { perThread: true }],
  ['understudy_loop_lag_max_seconds', 'gauge', 'seconds', ProcessSlot.LOOP_LAG_MAX,
    'The largest such delay of the last ten seconds.', { perThread: true }],
  ['understudy_loop_busy_fraction', 'gauge', 'fraction', ProcessSlot.LOOP_BUSY,
    "Share of the last second in which a data thread's event loop was busy.", { perThread: true }],
]);

/** Every metric that is read from slots. */
export const SLOT_METRICS: readonly SlotMetric[] = [
  ...CLUSTER_METRICS,
  ...SHADOW_METRICS,
  ...ROUTE_METRICS,
  ...PIPELINE_METRICS,
  ...PROCESS_METRICS,
];

/** Every metric the control thread tells at scrape time, by the name `MetricsExposition.observe` takes. */
export const CONTROL_METRICS = {
  breakerState: {
    name: 'understudy_breaker_state',
    help: 'Whether a breaker is in the state of the label (1) or not (0).',
    type: 'gauge',
    labels: ['cluster', 'model', 'model_version', 'state'],
  },
  degradationState: {
    name: 'understudy_degradation_state',
    help: 'Whether a model is in the state of the label (1) or not (0).',
    type: 'gauge',
    labels: ['model', 'state'],
  },
  degradationShare: {
    name: 'understudy_degradation_primary_share_fraction',
    help: "Share of a model's traffic that its primary is given.",
    type: 'gauge',
    labels: ['model'],
  },
  degradationTransitions: {
    name: 'understudy_degradation_transitions_total',
    help: "Changes of a model's degradation, by the state it went to and why.",
    type: 'counter',
    labels: ['model', 'to', 'reason'],
  },
  degradationProbes: {
    name: 'understudy_degradation_probes_total',
    help: 'Probes of a degraded primary that were judged.',
    type: 'counter',
    labels: ['model'],
  },
  degradationMissed: {
    name: 'understudy_degradation_missed_answers_total',
    help: "A primary's answers that were not judged, because they came faster than they were read.",
    type: 'counter',
    labels: ['model'],
  },
  degradationMemory: {
    name: 'understudy_degradation_device_memory_fraction',
    help: "Share of memory in use of the fullest device of a model's primary, where it has one.",
    type: 'gauge',
    labels: ['model'],
  },
  endpointState: {
    name: 'understudy_endpoint_state',
    help: 'Whether an endpoint of a cluster is in the state of the label (1) or not (0). Only healthy ones get requests.',
    type: 'gauge',
    labels: ['cluster', 'endpoint', 'state'],
  },
  healthChecks: {
    name: 'understudy_health_checks_total',
    help: 'Active health checks of the endpoints of a cluster, by result.',
    type: 'counter',
    labels: ['cluster', 'result'],
  },
  nameLookups: {
    name: 'understudy_name_lookups_total',
    help: 'Lookups of endpoint names, by result.',
    type: 'counter',
    labels: ['result'],
  },
  endpointsUnjudged: {
    name: 'understudy_endpoints_unjudged_total',
    help: 'Endpoints that are not judged by themselves because there are more than can be.',
    type: 'counter',
    labels: [],
  },
  splitFraction: {
    name: 'understudy_split_weight_fraction',
    help: "Share of a model's traffic that a cluster is meant to get.",
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version'],
  },
  configRevision: {
    name: 'understudy_config_revision',
    help: 'Number of the configuration snapshot in force.',
    type: 'gauge',
    labels: [],
  },
  configLoads: {
    name: 'understudy_config_loads_total',
    help: 'Attempts to put a new configuration in force, by result.',
    type: 'counter',
    labels: ['result'],
  },
  rateLimits: {
    name: 'understudy_rate_limit_requests_total',
    help: 'Requests above a rate limit, refused or let pass because it is not enforced for all.',
    type: 'counter',
    labels: ['limit', 'result'],
  },
  faults: {
    name: 'understudy_faults_injected_total',
    help: 'Requests that an injected fault delayed or aborted.',
    type: 'counter',
    labels: ['fault', 'kind'],
  },
  traceSpans: {
    name: 'understudy_trace_spans_total',
    help: 'Spans of traced requests, by whether the collector took them, would not have them, or a queue was full.',
    type: 'counter',
    labels: ['result'],
  },
  certificateExpiry: {
    name: 'understudy_tls_certificate_expiry_seconds',
    help: 'When a certificate shown to peers ends, in seconds since 1970, by its file.',
    type: 'gauge',
    labels: ['file'],
  },
  certificateReloads: {
    name: 'understudy_tls_certificate_reloads_total',
    help: 'Changes of certificate files, by whether they were taken over or could not be used.',
    type: 'counter',
    labels: ['result'],
  },
  pairStoreHeld: {
    name: 'understudy_pair_store_pairs',
    help: 'Pairs of answers in the pair store.',
    type: 'gauge',
    labels: [],
  },
  pairStoreWrites: {
    name: 'understudy_pair_store_writes_total',
    help: 'Pairs that were to be kept, by what became of them: written, or given up and why.',
    type: 'counter',
    labels: ['result'],
  },
  comparisonAgreement: {
    name: 'understudy_comparison_agreement_fraction',
    help: 'Share of compared pairs in which shadow and primary agree on the top class, by cohort.',
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonDivergence: {
    name: 'understudy_comparison_divergence_fraction',
    help: "Mean distance 0..1 of a shadow's answers from the primary's, by cohort; a failed or faulty answer is 1.",
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonNoiseFloor: {
    name: 'understudy_comparison_noise_floor_fraction',
    help: "Mean distance of the primary's answers from its own to the same request, by cohort.",
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonPsi: {
    name: 'understudy_comparison_score_psi',
    help: 'Population stability index between the scores of shadow and primary, by cohort.',
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonHarm: {
    name: 'understudy_comparison_harm',
    help: 'Whether evidence shows that a shadow diverges by more than its limit (1) or not yet (0), by cohort.',
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonSafe: {
    name: 'understudy_comparison_safe',
    help: 'Whether evidence rules out that a shadow diverges by its safety limit (1) or not yet (0), by cohort.',
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonPairs: {
    name: 'understudy_comparison_pairs_total',
    help: 'Compared pairs, by cohort.',
    type: 'counter',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonFaults: {
    name: 'understudy_comparison_faults_total',
    help: "Functional faults found in a shadow's answers (not a number, wrong shape or type), by cohort.",
    type: 'counter',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
  comparisonDifference: {
    name: 'understudy_comparison_difference_max',
    help: 'Largest absolute difference between an output of shadow and primary, by cohort.',
    type: 'gauge',
    labels: ['model', 'cluster', 'model_version', 'cohort'],
  },
} as const satisfies Record<string, ControlMetric>;

export type ControlMetricKey = keyof typeof CONTROL_METRICS;

/** Number of slots a metric reads. */
export function slotCount(metric: SlotMetric): number {
  if (metric.type === 'histogram') return HISTOGRAM_SLOTS;
  return metric.by === undefined ? 1 : metric.by.values.length;
}

/** Every slot that holds a gauge: what a thread that died leaves behind must be zeroed there (`StatsRegions.clearSlots`). */
export function gaugeSlots(layout: StatsLayout): number[] {
  const slots: number[] = [];
  for (const metric of SLOT_METRICS) {
    if (metric.type !== 'gauge') continue;
    if (metric.block === 'process') slots.push(metric.slot);
    else for (const block of layout.blocks(metric.block)) slots.push(block.base + metric.slot);
  }
  return slots;
}
