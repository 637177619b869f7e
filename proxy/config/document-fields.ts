/**
 * Every field of the configuration document: structured policy, all of it reloadable.
 *
 * Breaker, timeouts and limits are written at three levels; each value comes from the nearest: the cluster (or, for
 * the clusters a model's own targets make, the model), then `defaults`, then the default printed here.
 */

import { ADAPT_NODE, RULE_NODE, SIGNATURE_NODE, STATIC_NODE } from './answer-fields.ts';
import { COMPARISON_NODE, PINS_NODE, STICKY_NODE } from './comparison-fields.ts';
import { degradationNode } from './degradation-fields.ts';
import {
  inherited,
  list,
  map,
  type NodeValue,
  object,
  optionalList,
  optionalObject,
  scalar,
} from './document-schema.ts';
import { FAULTS_NODE, RATE_LIMITS_NODE } from './guard-fields.ts';
import { HEDGE_NODE } from './hedge-fields.ts';
import { OUTPUTS_NODE } from './output-fields.ts';
import { PIPELINES_NODE } from './pipeline-fields.ts';
import { ROUTES_NODE } from './route-fields.ts';
import { clusterTls } from './tls-fields.ts';
import {
  discovery,
  HEALTH_CHECK_NODE,
  OUTLIER_REASON,
  outlier,
  RETRIES_REASON,
  RETRY_ON_NODE,
  retries,
} from './upstream-fields.ts';

const BREAKER_REASON = 'When requests stop being sent to a failing cluster, and for how long.';
const breaker = {
  enabled: scalar({ kind: 'boolean', default: 'true', reason: 'Whether the cluster has a breaker at all.' }),
  window: scalar({
    kind: 'duration',
    default: '10s',
    min: 100,
    max: 600_000,
    reason:
      'Length of the rolling window of outcomes. Long enough to smooth a pause of the garbage collector, short enough to forget an old outage.',
  }),
  minimumRequests: scalar({
    kind: 'integer',
    default: '10',
    min: 1,
    max: 1_000_000,
    reason: 'Requests the window must hold before the share of errors means anything.',
  }),
  errorPercent: scalar({
    kind: 'percent',
    default: '50%',
    min: 1,
    reason:
      'Share of failures at which the breaker opens. A model that fails half of its calls serves its callers worse than a smaller one.',
  }),
  consecutiveFailures: scalar({
    kind: 'integer',
    default: '5',
    min: 0,
    max: 1_000_000,
    reason:
      'Failures in a row that open the breaker whatever the window holds, so that a dead worker is noticed at once; 0 switches this off.',
  }),
  maxLatency: scalar({
    kind: 'duration',
    default: '0s',
    min: 0,
    max: 3_600_000,
    reason:
      "An answer that takes longer counts as a failure, from the end of the request to the end of the answer; 0s switches this off. Off, because only a model's owner knows what is slow.",
  }),
  open: scalar({
    kind: 'duration',
    default: '1s',
    min: 10,
    max: 3_600_000,
    reason: 'First open period, after which one real request probes. About the time a crashed worker needs to be back.',
  }),
  maxOpen: scalar({
    kind: 'duration',
    default: '30s',
    min: 10,
    max: 3_600_000,
    reason:
      'Longest open period; each failed probe doubles the period up to this. A longer wait that the upstream asks for (Retry-After, grpc-retry-pushback-ms) is cut to it.',
  }),
  jitter: scalar({
    kind: 'percent',
    default: '20%',
    reason: 'Random part added to an open period, so that many proxies do not probe at the same moment.',
  }),
};

const TIMEOUTS_REASON = 'How long steps may take.';
const timeouts = {
  connect: scalar({
    kind: 'duration',
    default: '1s',
    min: 1,
    max: 60_000,
    reason: 'Longest wait for a connection. Endpoints are near: one lost SYN is retransmitted within it.',
  }),
  request: scalar({
    kind: 'duration',
    default: '60s',
    min: 0,
    max: 86_400_000,
    reason:
      'Longest time a model call may take when its caller sent no deadline; 0s is unlimited. Traffic that is no model call has no such limit.',
  }),
};

const LIMITS_REASON = 'Admission: what a cluster may hold, over all data threads.';
const limits = {
  concurrentRequests: scalar({
    kind: 'integer',
    default: '4096',
    min: 1,
    max: 1_000_000,
    reason:
      'Requests in flight; above it requests are refused at once. A guard against runaway callers, not a tuning of throughput.',
  }),
  pendingRequests: scalar({
    kind: 'integer',
    default: '1024',
    min: 0,
    max: 1_000_000,
    reason:
      'Requests waiting for a connection; above it requests are refused at once, because a longer queue only adds latency.',
  }),
};

/** Where a share, shadow or fallback step leads: exactly one of the two keys. */
const target = {
  cluster: scalar({
    kind: 'clusterName',
    default: null,
    unset: 'the model key is used',
    reason: 'A cluster declared under clusters.',
  }),
  model: scalar({
    kind: 'target',
    default: null,
    unset: 'the cluster key is used',
    reason:
      'MODEL[@VERSION][ via ADDRESS]: a cluster made here, at the worker (for a fallback: the fallback worker) unless an address is given.',
  }),
};

const cluster = object('One model version, or one upstream of other traffic.', {
  name: scalar({
    kind: 'clusterName',
    default: null,
    required: true,
    reason: 'Name for references, metrics and logs. Unique.',
  }),
  model: scalar({
    kind: 'name',
    default: null,
    unset: 'the cluster carries other traffic than model calls',
    reason: 'Model name written into forwarded requests.',
  }),
  version: scalar({
    kind: 'version',
    default: null,
    unset: 'the upstream chooses',
    reason: 'Version written into forwarded requests, an int64.',
  }),
  endpoints: optionalList(
    'Where the cluster is reached; the worker address where none is given and a model is.',
    64,
    scalar({ kind: 'address', default: null, required: true, reason: 'HOST:PORT, [IPV6]:PORT or unix:/path.' }),
  ),
  tls: clusterTls,
  breaker: object(BREAKER_REASON, inherited(breaker, 'defaults.breaker')),
  timeouts: object(TIMEOUTS_REASON, inherited(timeouts, 'defaults.timeouts')),
  limits: object(LIMITS_REASON, inherited(limits, 'defaults.limits')),
  outlier: object(OUTLIER_REASON, inherited(outlier, 'defaults.outlier')),
  retries: object(RETRIES_REASON, { ...inherited(retries, 'defaults.retries'), on: RETRY_ON_NODE }),
  healthCheck: HEALTH_CHECK_NODE,
  ...discovery,
});

const model = object('What happens to requests that name one model.', {
  name: scalar({ kind: 'name', default: null, required: true, reason: 'The name clients ask for. Unique.' }),
  split: list(
    'The primary side: one target, or several for a canary. Weights sum to 100%.',
    16,
    object('One share.', {
      ...target,
      weight: scalar({
        kind: 'percent',
        default: null,
        unset: 'what the others leave of 100%; at most one share may leave it out',
        reason: 'Share of the traffic.',
      }),
    }),
  ),
  shadows: list(
    'Clusters that are shown a copy of the traffic and whose answers are only compared.',
    64,
    object('One shadow.', {
      ...target,
      percent: scalar({
        kind: 'percent',
        default: '100%',
        reason: 'Share of the requests copied. All, because a rare cohort needs every one.',
      }),
      maxConcurrent: scalar({
        kind: 'integer',
        default: '512',
        min: 1,
        max: 100_000,
        reason:
          'Copies in flight per data thread; above it copies are dropped and counted. It has to hold what the primary has in flight, or even a shadow as fast as the primary misses copies; `maxSize` bounds their memory.',
      }),
      maxComparisonsPerSecond: scalar({
        kind: 'integer',
        default: '500',
        min: 1,
        max: 1_000_000,
        reason:
          'Pairs of answers captured for comparison per data thread; of the rest only status and time are looked at, and they are counted. One comparison costs more than relaying several requests, and verdicts need hundreds of pairs, not thousands a second.',
      }),
      maxSize: scalar({
        kind: 'size',
        default: '16MiB',
        min: 1024,
        max: 17_179_869_184,
        reason:
          'Bytes of copies and of answers kept for comparison per data thread; above it copies are dropped and counted.',
      }),
    }),
  ),
  fallback: list(
    'Who answers in the same request when the primary fails, in order.',
    8,
    object('One step: exactly one of cluster, model, static and rule.', {
      ...target,
      static: STATIC_NODE,
      rule: RULE_NODE,
      budget: scalar({
        kind: 'percent',
        default: null,
        unset: 'an equal part for each step that is left, all of it for the last',
        min: 1,
        reason: 'Share of the remaining deadline this step may use.',
      }),
      outputs: SIGNATURE_NODE,
      adapt: ADAPT_NODE,
    }),
  ),
  modelVersionOutput: scalar({
    kind: 'text',
    default: null,
    unset: 'no such output',
    reason:
      "Name of an output added to every answer of Predict and infer calls, the primary's too: the name of the cluster that answered, for each row. Every answer is then held and written anew; one of more than 1 MiB, or that cannot be read, goes on without.",
  }),
  fallbackStatuses: optionalList(
    'gRPC statuses of the primary that the fallback answers for; by default UNKNOWN, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE and DATA_LOSS: faults of the server, never of the request.',
    16,
    scalar({ kind: 'grpcStatus', default: null, required: true, reason: 'A status name.' }),
  ),
  hedge: HEDGE_NODE,
  primaryBudget: scalar({
    kind: 'percent',
    default: null,
    unset: '80%, and 100% without a fallback',
    min: 1,
    reason:
      "Share of the caller's deadline the primary may use before the fallback is tried: a smaller model needs less than a fifth of the time.",
  }),
  maxReplaySize: scalar({
    kind: 'size',
    default: '1MiB',
    min: 0,
    max: 2_147_483_648,
    reason:
      'Largest request kept for replay; a larger one is copied to shadows as it comes. Holds a 512x512 image of bytes, or 262,144 floats.',
  }),
  cohort: optionalObject('What divides requests for the comparison figures: exactly one of header and input.', {
    header: scalar({ kind: 'headerName', default: null, unset: 'input is used', reason: 'A request header.' }),
    input: scalar({
      kind: 'text',
      default: null,
      unset: 'header is used',
      reason: 'An input tensor; its first element counts.',
    }),
    buckets: list(
      'Ascending borders that put numbers of an input into buckets.',
      64,
      scalar({ kind: 'number', default: null, required: true, reason: 'A border; it belongs to the bucket above it.' }),
    ),
    names: map('Names shown instead of values or bucket numbers, such as "1": freelancer.', 256),
    maxCohorts: scalar({
      kind: 'integer',
      default: '20',
      min: 1,
      max: 1000,
      reason: 'Cohorts kept; further ones count as other. Each costs counters and evidence.',
    }),
  }),
  sticky: STICKY_NODE,
  pins: PINS_NODE,
  comparison: COMPARISON_NODE,
  checkOutputs: scalar({
    kind: 'boolean',
    default: null,
    unset: 'true where outputs are declared, else false',
    reason:
      'Whether answers of at most 1 MiB are scanned for NaN and Inf, and held against the declared outputs, before they are passed on. Off, because it reads every output of every answer.',
  }),
  outputs: OUTPUTS_NODE,
  degradation: degradationNode,
  breaker: object(
    `${BREAKER_REASON} For the clusters this model's own targets make.`,
    inherited(breaker, 'defaults.breaker'),
  ),
  timeouts: object(
    `${TIMEOUTS_REASON} For the clusters this model's own targets make.`,
    inherited(timeouts, 'defaults.timeouts'),
  ),
  limits: object(
    `${LIMITS_REASON} For the clusters this model's own targets make.`,
    inherited(limits, 'defaults.limits'),
  ),
});

export const DOCUMENT_SCHEMA = object('The configuration document.', {
  defaults: object('Policy of all clusters that say nothing else.', {
    breaker: object(BREAKER_REASON, breaker),
    timeouts: object(TIMEOUTS_REASON, timeouts),
    limits: object(LIMITS_REASON, limits),
    outlier: object(OUTLIER_REASON, outlier),
    retries: object(RETRIES_REASON, retries),
  }),
  clusters: list('Clusters declared by name.', 512, cluster),
  models: list('Models and what happens to their requests.', 256, model),
  pipelines: PIPELINES_NODE,
  routes: ROUTES_NODE,
  rateLimits: RATE_LIMITS_NODE,
  faults: FAULTS_NODE,
  passthrough: optionalObject('Where traffic that is no model call goes: exactly one of cluster and address.', {
    cluster: scalar({
      kind: 'clusterName',
      default: null,
      unset: 'address is used',
      reason: 'A declared cluster without a model.',
    }),
    address: scalar({
      kind: 'address',
      default: null,
      unset: 'cluster is used',
      reason: 'As UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS, which must then be unset.',
    }),
  }),
});

export type ConfigDocument = NodeValue<typeof DOCUMENT_SCHEMA>;
export type ClusterDocument = ConfigDocument['clusters'][number];
export type ModelDocument = ConfigDocument['models'][number];
export type PolicyDocument = Pick<ClusterDocument, 'breaker' | 'timeouts' | 'limits'>;
