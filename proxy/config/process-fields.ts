/**
 * Every setting of the proxy process: environment name, kind, default and reason.
 *
 * The environment cannot change while a process runs, so none of these is reloadable; what operators change live
 * stands in the document. Names put the direction first, then a noun.
 */

import type { Field, FieldValue } from './field.ts';
import { REQUEST_PROCESS_FIELDS } from './request-fields.ts';
import { TLS_PROCESS_FIELDS } from './tls-fields.ts';

export interface ProcessField extends Field {
  readonly environment: string;
}

export const PROCESS_FIELDS = {
  outboundListen: {
    environment: 'UNDERSTUDY_OUTBOUND_LISTEN',
    kind: 'listen',
    default: '127.0.0.1:15001,[::1]:15001',
    reason:
      'Where calls of the application arrive, redirected or direct; an IPv6 address is passed over on a machine without IPv6. Loopback, so that no other machine can use the proxy as a relay; 15001 is the port meshes redirect outbound traffic to. Data threads share ports; a Unix socket is served by the first.',
    reloadable: false,
  },
  outboundExplicitPorts: {
    environment: 'UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS',
    kind: 'ports',
    default: 'none',
    reason:
      'Further ports, at most 64, listened on at the hosts of UNDERSTUDY_OUTBOUND_LISTEN, for applications that are pointed at the proxy instead of being redirected.',
    reloadable: false,
  },
  outboundOpaquePorts: {
    environment: 'UNDERSTUDY_OUTBOUND_OPAQUE_PORTS',
    kind: 'ports',
    default: '25,587,3306,5432,6379,9300,11211',
    reason:
      'Original destination ports relayed without looking at the bytes: in these protocols the server speaks first, so waiting for the client to be recognised would stall both.',
    reloadable: false,
  },
  inboundListen: {
    environment: 'UNDERSTUDY_INBOUND_LISTEN',
    kind: 'listen',
    default: 'off',
    reason:
      'Where calls to the pod arrive when the proxy stands in front of a model server; 15006 is the customary port. Off, because most proxies stand beside an application.',
    reloadable: false,
  },
  outboundWorkerAddress: {
    environment: 'UNDERSTUDY_OUTBOUND_WORKER_ADDRESS',
    kind: 'address',
    default: 'unix:/run/understudy/worker.sock',
    reason:
      'The inference worker that serves the models named without an address. A socket in a volume shared with the worker costs less than TCP and is reachable from this pod only.',
    reloadable: false,
  },
  outboundFallbackWorkerAddress: {
    environment: 'UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS',
    kind: 'address',
    default: null,
    unset: 'the address of UNDERSTUDY_OUTBOUND_WORKER_ADDRESS',
    reason:
      'The worker that serves fallbacks named without an address. A process of its own outlives a crash of the one that serves the primaries.',
    reloadable: false,
  },
  outboundUpstreamAddress: {
    environment: 'UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS',
    kind: 'address',
    default: null,
    unset: 'the original destination of the connection, and a refusal where there is none',
    reason: 'Where traffic that is no model call goes when its connection has no original destination.',
    reloadable: false,
  },
  outboundOtherModels: {
    environment: 'UNDERSTUDY_OUTBOUND_OTHER_MODELS',
    kind: 'choice',
    choices: ['worker', 'upstream'],
    default: 'worker',
    reason:
      'Who answers for models that no entry names: the worker, which may serve more than is configured here, or the place the call was going to.',
    reloadable: false,
  },
  outboundDetectTimeoutMs: {
    environment: 'UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT',
    kind: 'duration',
    default: '3s',
    min: 10,
    max: 60_000,
    reason:
      'How long a client that connected may stay silent before its connection is relayed as opaque bytes. Clients that speak first do so within a round trip; 10 s, a common choice, stalls server-first protocols that long.',
    reloadable: false,
  },
  outboundOpaqueIdleTimeoutMs: {
    environment: 'UNDERSTUDY_OUTBOUND_OPAQUE_IDLE_TIMEOUT',
    kind: 'duration',
    default: '1h',
    min: 100,
    max: 604_800_000,
    reason:
      'How long a connection relayed as opaque bytes may carry none in either direction before it is closed and counted; closed at most a quarter later. Generous, because databases keep connections idle; bounded, because a peer that vanished without a word would hold its place for ever.',
    reloadable: false,
  },
  outboundMaxConnections: {
    environment: 'UNDERSTUDY_OUTBOUND_MAX_CONNECTIONS',
    kind: 'integer',
    default: '10000',
    min: 1,
    max: 1_000_000,
    reason:
      'Downstream connections held at once; further ones are closed and counted. One idle connection costs about 20 KiB, so the default bounds idle memory near 200 MiB.',
    reloadable: false,
  },
  outboundMaxConcurrentStreams: {
    environment: 'UNDERSTUDY_OUTBOUND_MAX_CONCURRENT_STREAMS',
    kind: 'integer',
    default: '1000',
    min: 1,
    max: 1_000_000,
    reason:
      'Streams one HTTP/2 client may hold open, announced in SETTINGS and enforced. RFC 9113 advises no less than 100; batch clients keep hundreds in flight.',
    reloadable: false,
  },
  outboundMaxHeaderListBytes: {
    environment: 'UNDERSTUDY_OUTBOUND_MAX_HEADER_LIST_SIZE',
    kind: 'size',
    default: '64KiB',
    min: 1024,
    max: 1_048_576,
    reason:
      'Largest header section accepted, counted as RFC 9113 section 6.5.2 counts it. Generous beside the 8 KiB most servers take, small beside a flood.',
    reloadable: false,
  },
  outboundMaxBufferedMessageBytes: {
    environment: 'UNDERSTUDY_OUTBOUND_MAX_BUFFERED_MESSAGE_SIZE',
    kind: 'size',
    default: '16MiB',
    min: 65_536,
    max: 2_147_483_648,
    reason:
      'Most of a message that is held back while its model spec is still to come. Clients put the spec first, so only unusual encoders reach this.',
    reloadable: false,
  },
  outboundMaxReplayBytes: {
    environment: 'UNDERSTUDY_OUTBOUND_MAX_REPLAY_SIZE',
    kind: 'size',
    default: '32MiB',
    min: 0,
    max: 17_179_869_184,
    reason:
      'Request bytes each data thread keeps in total so that a fallback can replay them; above it requests are forwarded but not replayable, and counted. 64 requests of 512 KiB fit.',
    reloadable: false,
  },
  outboundMaxHeldBytes: {
    environment: 'UNDERSTUDY_OUTBOUND_MAX_HELD_SIZE',
    kind: 'size',
    default: '128MiB',
    min: 1_048_576,
    max: 17_179_869_184,
    reason:
      'Bytes each data thread holds in all for others: kept requests, held answers, output that slow peers do not take. Above it the heaviest give theirs up first, and are counted.',
    reloadable: false,
  },
  outboundMaxWaitingBytes: {
    environment: 'UNDERSTUDY_OUTBOUND_MAX_WAITING_SIZE',
    kind: 'size',
    default: '64MiB',
    min: 65_536,
    max: 17_179_869_184,
    reason:
      'Bytes each data thread keeps in all of requests whose model spec is still to come; one that brings more is refused with RESOURCE_EXHAUSTED. Four of the largest fit; who raises the bound of one has to raise this and MAX_HELD_SIZE with it.',
    reloadable: false,
  },
  ...TLS_PROCESS_FIELDS,
  ...REQUEST_PROCESS_FIELDS,
  adminListen: {
    environment: 'UNDERSTUDY_ADMIN_LISTEN',
    kind: 'listen',
    default: '127.0.0.1:15000',
    reason:
      'Metrics, probes and the admin interface. Loopback, because it shows and changes the running configuration.',
    reloadable: false,
  },
  metricsListen: {
    environment: 'UNDERSTUDY_METRICS_LISTEN',
    kind: 'listen',
    default: 'off',
    reason:
      'An address that answers /metrics, /readyz and /livez and nothing else, so that Prometheus and the kubelet can reach it from outside the pod while the admin interface stays on loopback; 15020 is the customary port. Off, because it opens a port.',
    reloadable: false,
  },
  concurrency: {
    environment: 'UNDERSTUDY_CONCURRENCY',
    kind: 'integer',
    default: '1',
    min: 1,
    max: 64,
    reason:
      'Data threads. One carries tens of thousands of requests a second, more than most pods see, and each further one costs memory.',
    reloadable: false,
  },
  shutdownGracePeriodMs: {
    environment: 'UNDERSTUDY_SHUTDOWN_GRACE_PERIOD',
    kind: 'duration',
    default: '25s',
    min: 0,
    max: 3_600_000,
    reason:
      'The one deadline of a shutdown, counted from SIGTERM: what has not finished by then is cut. Kubernetes kills after 30 s by default, and 5 s of that stay for the exit itself.',
    reloadable: false,
  },
  shutdownDelayMs: {
    environment: 'UNDERSTUDY_SHUTDOWN_DELAY',
    kind: 'duration',
    default: '0s',
    min: 0,
    max: 3_600_000,
    reason:
      'How long after SIGTERM new connections are still accepted, as part of the grace period. A sidecar of an application is stopped after it and needs none; in front of a model server some 5 s let the endpoint lists of its callers catch up.',
    reloadable: false,
  },
  logLevel: {
    environment: 'UNDERSTUDY_LOG_LEVEL',
    kind: 'choice',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    reason: 'Least severity written to standard error. State changes are written at info; single requests are not.',
    reloadable: false,
  },
  logFormat: {
    environment: 'UNDERSTUDY_LOG_FORMAT',
    kind: 'choice',
    choices: ['json', 'text'],
    default: 'json',
    reason: 'One JSON object a line for collectors, or plain words for a terminal.',
    reloadable: false,
  },
  accessLog: {
    environment: 'UNDERSTUDY_ACCESS_LOG',
    kind: 'choice',
    choices: ['off', 'json', 'text'],
    default: 'off',
    reason:
      'One line for each request that ended. Off, because a line costs as much CPU as relaying a small request; the metrics count every request anyway.',
    reloadable: false,
  },
  accessLogFile: {
    environment: 'UNDERSTUDY_ACCESS_LOG_FILE',
    kind: 'text',
    default: null,
    unset: 'standard output',
    reason:
      'File that access log lines are appended to. At its bound of 1 MiB unwritten, lines are dropped and counted.',
    reloadable: false,
  },
  accessLogTemplate: {
    environment: 'UNDERSTUDY_ACCESS_LOG_TEMPLATE',
    kind: 'text',
    default: null,
    unset: 'every field of the line',
    reason:
      'What a text line says: names of fields in braces between other text, as in `{time} {method} {path} {status} {flags} {durationMs}`. What a line has no value for reads -.',
    reloadable: false,
  },
  accessLogSample: {
    environment: 'UNDERSTUDY_ACCESS_LOG_SAMPLE',
    kind: 'percent',
    default: '100%',
    reason: 'Share of the successful requests that are logged; failures and fallbacks are logged always.',
    reloadable: false,
  },
  pairStore: {
    environment: 'UNDERSTUDY_PAIR_STORE',
    kind: 'text',
    default: null,
    unset: 'pairs are compared and not kept',
    reason:
      'File (SQLite) in which pairs of answers are kept with their requests: those that diverged and a uniform sample. Off, because requests may hold personal data; models[].comparison.redact names what is never written.',
    reloadable: false,
  },
  pairStoreMaxPairs: {
    environment: 'UNDERSTUDY_PAIR_STORE_MAX_PAIRS',
    kind: 'integer',
    default: '50000',
    min: 10,
    max: 10_000_000,
    reason: 'Pairs kept, four fifths of them divergent ones, the latest. Tens of thousands show what one cohort sees.',
    reloadable: false,
  },
  pairStoreMaxSize: {
    environment: 'UNDERSTUDY_PAIR_STORE_MAX_SIZE',
    kind: 'size',
    default: '512MiB',
    min: 65_536,
    max: 1_099_511_627_776,
    reason: 'Size of the file; above it pairs are given up and counted. 10 KiB a pair at the default count.',
    reloadable: false,
  },
  configFile: {
    environment: 'UNDERSTUDY_CONFIG_FILE',
    kind: 'text',
    default: null,
    unset: 'no document',
    reason:
      'Path of the document (YAML or JSON). The file is watched: an edit is in force within 2 s, and a bad one is refused while the last good one keeps running.',
    reloadable: false,
  },
  configInline: {
    environment: 'UNDERSTUDY_CONFIG',
    kind: 'text',
    default: null,
    unset: 'no document',
    secret: true,
    reason:
      'The document itself, where mounting a file is too much. Shown only after parsing, because its text may hold secrets.',
    reloadable: false,
  },
} as const satisfies Record<string, ProcessField>;

export type ProcessSettings = {
  readonly [K in keyof typeof PROCESS_FIELDS]: FieldValue<(typeof PROCESS_FIELDS)[K]>;
};
