/**
 * The mesh snapshot: everything a data thread needs to serve one request, as plain frozen data.
 *
 * Control code compiles the configuration into one of these, validates it whole, freezes it and publishes it;
 * data code reads one snapshot per request and never changes it. It crosses thread borders by structured clone,
 * so it holds no functions, classes or bigints. Indices (cluster, model) are positions in this snapshot's arrays;
 * identity across snapshots is the `name`.
 */

import type { JsonRule, LocalAnswerPolicy, OutputMapping } from './answer-policy.ts';
import type { FaultSnapshot, RateLimitSnapshot } from './guard-snapshot.ts';
import type { PipelineSnapshot } from './pipeline-snapshot.ts';

/**
 * Where an endpoint listens. TCP hosts may be names; they are resolved when a connection is made. `localAddress` is the
 * source address to dial from, by which the interception rules know an inbound connection on its last step.
 */
export type EndpointAddress =
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      readonly localAddress?: string;
      /** What the name resolves to now; connections elsewhere drain. Absent while it is not known. */
      readonly resolved?: readonly string[];
    }
  | { readonly kind: 'unix'; readonly path: string };

/** When a cluster's breaker opens and how it closes again. Durations in milliseconds, fractions in 0..1. */
export interface BreakerPolicy {
  readonly enabled: boolean;
  /** Length of the rolling window in which outcomes are counted. */
  readonly windowMs: number;
  /** Requests the window must hold before the error fraction is looked at. */
  readonly minimumRequests: number;
  /** Failures / (failures + successes) at or above which the breaker opens. */
  readonly errorFraction: number;
  /** Failures in a row that open the breaker whatever the window holds; 0 switches this trigger off. */
  readonly consecutiveFailures: number;
  /** An answer that took longer counts as a failure, whatever it says; 0 switches this off. */
  readonly maxLatencyMs: number;
  /** First open period; each further opening without a success doubles it up to `maxOpenMs`. */
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** Random part added to an open period, as a fraction of it. */
  readonly jitterFraction: number;
}

/** PEM files that are used together; '' for one that is not given. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

/** How a cluster's endpoints are spoken to with TLS. */
export interface TlsOrigination {
  /** Sent as SNI and expected in the certificate; '' for the endpoint's host. */
  readonly serverName: string;
  /** Names of which the certificate must carry one, instead of `serverName`; empty to expect that. */
  readonly peerNames: readonly string[];
  readonly files: TlsFiles;
}

/** When one endpoint of several is ejected: a breaker of its own. */
export interface OutlierPolicy {
  readonly guard: BreakerPolicy;
  /** Share of the endpoints that may be ejected at a time, 0..1. */
  readonly maxEjectedFraction: number;
}

/** Active health checks of each endpoint. */
export interface HealthCheckPolicy {
  readonly kind: 'grpc' | 'http' | 'tcp';
  /** grpc: the service asked about, '' for the server. */
  readonly service: string;
  /** http: the path. */
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly unhealthyAfter: number;
  readonly healthyAfter: number;
}

/** What is sent to another endpoint after it failed at one. */
export interface RetryPolicy {
  /** Further tries where there are several endpoints; 0 for none. */
  readonly attempts: number;
  /** The same where there is one. */
  readonly attemptsAlone: number;
  /** Bits of `RetryOn`. */
  readonly on: number;
  /** Longest time of one try while another is left, milliseconds; 0 for the request's own. */
  readonly perTryTimeoutMs: number;
  /** Retries over requests, 0..1. */
  readonly budgetFraction: number;
  /** Retries allowed each second in any case. */
  readonly budgetFloor: number;
  /** Largest request kept to be sent again, bytes. */
  readonly maxBytes: number;
}

/** Bits of `RetryPolicy.on`. */
export const RetryOn = { CONNECT_FAILED: 1, RESET: 2, PER_TRY_TIMEOUT: 4, UNAVAILABLE: 8 } as const;

/** One model version (or one opaque upstream) as seen by the data plane: endpoints plus the version asked of them. */
export interface ClusterSnapshot {
  /** `credit-risk@1`, `credit-risk-lite`, or the name given in the document. Unique in the snapshot. */
  readonly name: string;
  /** Model name written into forwarded requests; empty for a cluster that carries other traffic. */
  readonly model: string;
  /** Decimal int64 version written into forwarded requests, '' to let the upstream choose. */
  readonly version: string;
  readonly endpoints: readonly EndpointAddress[];
  /** Null to speak in the clear. */
  readonly tls: TlsOrigination | null;
  /** The place of each endpoint in the shared health and ejection cells, -1 for none; empty: none has one. */
  readonly endpointPlaces: readonly number[];
  readonly outlier: OutlierPolicy;
  /** Null for none. */
  readonly healthCheck: HealthCheckPolicy | null;
  readonly retry: RetryPolicy;
  /** Whether a name is one endpoint, or one for each of its addresses. */
  readonly discovery: 'name' | 'addresses';
  readonly dnsRefreshMs: number;
  readonly breaker: BreakerPolicy;
  readonly connectTimeoutMs: number;
  /** Longest time a request may take in this cluster when the caller sent no deadline; 0 is unlimited. */
  readonly requestTimeoutMs: number;
  /** Requests in flight over all data threads; above it admission refuses. */
  readonly maxConcurrentRequests: number;
  /** Requests waiting for a connection over all data threads; above it admission refuses. */
  readonly maxPendingRequests: number;
  /** First of this cluster's statistics slots (see stats/slots.ts for the order). */
  readonly statsBase: number;
  /** This cluster's place in the shared breaker cells, and in those of its load. */
  readonly breakerIndex: number;
}

/** A weighted share of a model's traffic, in hundredths of a percent; a split sums to 10000. */
export interface SplitShare {
  readonly cluster: number;
  readonly weightHundredths: number;
}

/** A shadow: a cluster that is shown a share of the traffic and whose answers are only compared. */
export interface ShadowSnapshot {
  readonly cluster: number;
  /** Share of requests mirrored, in hundredths of a percent (10000 = all). */
  readonly percentHundredths: number;
  /** Mirrored requests in flight per data thread; above it the mirror drops and counts. */
  readonly maxConcurrent: number;
  /** Pairs captured for comparison in a second per data thread; the others are counted as not sampled. */
  readonly maxComparisonsPerSecond: number;
  /** Bytes of mirrored requests and captured answers held per data thread; above it the mirror drops and counts. */
  readonly maxBytes: number;
  readonly statsBase: number;
}

/** Which cohort a request belongs to, for comparison figures. */
export type CohortSource =
  | { readonly kind: 'none' }
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'input'; readonly tensor: string; readonly buckets: readonly number[] };

export interface CohortPolicy {
  readonly source: CohortSource;
  /** Distinct cohorts kept; the rest count as `other`. */
  readonly maxCohorts: number;
  /** Names for values: a header value or a numeric input value (as text) to the cohort name shown. */
  readonly names: Readonly<Record<string, string>>;
}

/** How the answers of a model's shadows are judged. Limits and alpha are fractions. */
export interface ComparisonSnapshot {
  /** Output that holds the decision; '' lets the comparison choose. */
  readonly labelOutput: string;
  readonly absoluteTolerance: number;
  readonly relativeTolerance: number;
  readonly harmLimit: number;
  readonly safetyLimit: number;
  readonly alpha: number;
  /** Share of mirrored requests sent to the primary a second time, in hundredths of a percent; 0 for none. */
  readonly noiseFloorHundredths: number;
  /** Inputs and outputs that are never stored; `*` for all. */
  readonly redact: readonly string[];
}

/** Requests with this header are answered by this cluster instead of the split. */
export interface PinSnapshot {
  readonly header: string;
  /** '' for any value. */
  readonly value: string;
  readonly cluster: number;
}

/** One step of a fallback list. */
export interface FallbackSnapshot {
  readonly cluster: number;
  /** How its answers become the primary's; null where they go on as they are. */
  readonly adapt: OutputMapping | null;
  /** Of a route: how its JSON answers become the primary's; empty where they go on as they are. */
  readonly rules: readonly JsonRule[];
  /** The answer itself, where it comes from no model; the cluster is then only a name for figures. */
  readonly local: LocalAnswerPolicy | null;
  /** Share of the remaining deadline this step may use, 0..1. */
  readonly budgetFraction: number;
}

/** How long a primary has for itself before its request is hedged: a fixed time, or a quantile of its own latency. */
export interface HedgeDelay {
  /** Milliseconds; 0 where `quantile` counts. */
  readonly ms: number;
  /** 0..1; 0 where `ms` counts. */
  readonly quantile: number;
}

/** When a request is sent elsewhere while the primary still has it. */
export interface HedgePolicy {
  readonly after: HedgeDelay;
  /** To a fallback; else to another endpoint of the same cluster. */
  readonly toFallback: boolean;
  /** Hedges over requests, 0..1. */
  readonly budgetFraction: number;
  /** Hedges allowed each second in any case. */
  readonly budgetFloor: number;
}

/** When a model is served by its fallback, and how its primary comes back. Times in milliseconds. */
export interface DegradationPolicy {
  /** The model's place in the shared degradation cells. */
  readonly place: number;
  /** Answers whose mean latency is judged, and the mean above which the model is degraded; 0 switches the trigger off. */
  readonly meanSamples: number;
  readonly meanOverMs: number;
  /** 95th percentile above which for `p95ForMs` the model is degraded; 0 switches the trigger off. */
  readonly p95OverMs: number;
  readonly p95ForMs: number;
  /** Out-of-memory answers in a row that degrade; 0 switches the trigger off. */
  readonly outOfMemory: number;
  /** Part of the latency limits to stay under for the return, 0..1. */
  readonly returnFraction: number;
  /** Fraction of device memory in use below which for `memoryForMs` the return is allowed; 0 for no such condition. */
  readonly memoryBelowFraction: number;
  readonly memoryForMs: number;
  /** While degraded, the primary is shown one request in this time, over all threads; so many have to be good. */
  readonly probeIntervalMs: number;
  readonly probes: number;
  /** Shares of the way back, ascending to 10000. */
  readonly ladderHundredths: readonly number[];
  /** Answers of the primary judged on each step. */
  readonly stepAnswers: number;
}

/** What an output of a model has to be. */
export interface OutputSnapshot {
  readonly name: string;
  /** `DataType`; 0 for any. */
  readonly dtype: number;
  /** -1 for any size; null for any shape. */
  readonly shape: readonly number[] | null;
  /** Bounds of each element, included; null for none. */
  readonly min: number | null;
  readonly max: number | null;
  /** Whether an answer without it is bad. */
  readonly required: boolean;
}

/** Everything decided for requests that name one model. */
export interface ModelSnapshot {
  /** The name clients ask for. */
  readonly name: string;
  /** The primary side: one cluster, or several for a canary. */
  readonly split: readonly SplitShare[];
  /** Request header whose value keeps a caller on one version; '' splits by request. */
  readonly stickyHeader: string;
  /** Input tensor whose first element does the same; '' for none. */
  readonly stickyInput: string;
  /** Requests that say by a header where they go; the first that matches. */
  readonly pins: readonly PinSnapshot[];
  /** Salt of the sticky hash, so that two models split differently. */
  readonly salt: string;
  readonly fallbacks: readonly FallbackSnapshot[];
  /** Output (of a route: member) added to every answer that names the answering cluster; '' for none. */
  readonly versionOutput: string;
  /** It is a route with fallbacks: its answers are JSON, and nobody asks for it by name. */
  readonly isRoute: boolean;
  /** gRPC status codes of the primary that the fallback answers for. */
  readonly fallbackStatuses: readonly number[];
  /** Null for a model whose requests are never hedged. */
  readonly hedge: HedgePolicy | null;
  /** Share of the caller's deadline the primary may use before the fallback is tried, 0..1. */
  readonly primaryBudgetFraction: number;
  /** Largest request kept; larger ones are not replayed, and are mirrored as they come. */
  readonly maxReplayBytes: number;
  readonly shadows: readonly ShadowSnapshot[];
  /** With a noise floor, the clusters of the split as they are asked a second time; else empty. */
  readonly secondaries: readonly ShadowSnapshot[];
  readonly cohort: CohortPolicy;
  readonly comparison: ComparisonSnapshot;
  /** Whether answers are scanned for NaN and Inf, and held against `outputs`, before they are committed. */
  readonly checkOutputs: boolean;
  readonly outputs: readonly OutputSnapshot[];
  /** Null for a model that is never degraded. */
  readonly degradation: DegradationPolicy | null;
}

/** One condition on a header of a request. */
export interface HeaderCondition {
  readonly name: string;
  readonly value: string;
  /** Whether `value` is only how the header's value begins; '' then matches any. */
  readonly isPrefix: boolean;
  /** Whether the condition holds for requests without such a header. */
  readonly absent: boolean;
}

/** Which `upgrade` of an HTTP/1.1 request goes on: none, websocket, or whatever it asks for except `h2c`. */
export type UpgradePolicy = 'none' | 'websocket' | 'any';

/** Requests that go elsewhere than their model or destination says. */
export interface RouteSnapshot {
  readonly name: string;
  /** HOST, HOST:PORT or *.SUFFIX in lower case; empty for any. */
  readonly authorities: readonly string[];
  readonly path: string;
  /** Whether `path` is only how the path begins; '' then matches any. */
  readonly pathIsPrefix: boolean;
  /** Empty for any. */
  readonly methods: readonly string[];
  readonly headers: readonly HeaderCondition[];
  readonly upgrade: UpgradePolicy;
  /** Whether CONNECT is taken; it is 405 everywhere else. */
  readonly connect: boolean;
  /** Internal request headers of its requests are passed on. */
  readonly trustsInternal: boolean;
  /** What its HTTP requests have of a model's policy, fallbacks first of all; null for none of it. */
  readonly policy: ModelSnapshot | null;
  /** Where they go. */
  readonly cluster: number;
  /** First of its statistics slots. */
  readonly statsBase: number;
}

export interface MeshSnapshot {
  /** Grows by one with each published snapshot. */
  readonly revision: number;
  readonly clusters: readonly ClusterSnapshot[];
  readonly models: readonly ModelSnapshot[];
  readonly pipelines: readonly PipelineSnapshot[];
  /** The first that matches takes a request; before models and destinations are looked at. */
  readonly routes: readonly RouteSnapshot[];
  /** First of the statistics slots of requests that no route takes. */
  readonly unroutedStatsBase: number;
  readonly rateLimits: readonly RateLimitSnapshot[];
  readonly faults: readonly FaultSnapshot[];
  /** Cluster that serves models no entry names, -1 for none: such requests pass through with their model spec untouched. */
  readonly defaultModelCluster: number;
  /** Cluster for traffic that is not a model call, -1 for none (original destination, or refusal). */
  readonly passthroughCluster: number;
  /** What the clusters have that are made on the fly for original destinations, statistics in common; no endpoints. */
  readonly originalDestination: ClusterSnapshot;
  /** Bytes of replay copies held per data thread; above it requests are not replayable. */
  readonly maxReplayBytesTotal: number;
}
