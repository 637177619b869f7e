/** Fields of the document that say how a cluster's endpoints are found, judged and tried again. */

import { optionalList, optionalObject, scalar } from './document-schema.ts';

export const OUTLIER_REASON =
  'When one endpoint of several is kept from traffic for its answers. It comes back by one real request.';
export const outlier = {
  enabled: scalar({
    kind: 'boolean',
    default: 'true',
    reason: 'Whether endpoints are judged one by one. A cluster of one endpoint has its breaker instead.',
  }),
  consecutiveFailures: scalar({
    kind: 'integer',
    default: '5',
    min: 0,
    max: 1_000_000,
    reason: 'Failures in a row that eject an endpoint; 0 switches this off.',
  }),
  window: scalar({
    kind: 'duration',
    default: '10s',
    min: 100,
    max: 600_000,
    reason: 'Length of the rolling window of outcomes of one endpoint.',
  }),
  minimumRequests: scalar({
    kind: 'integer',
    default: '20',
    min: 1,
    max: 1_000_000,
    reason: 'Requests the window must hold before the share of errors means anything.',
  }),
  errorPercent: scalar({
    kind: 'percent',
    default: '50%',
    min: 1,
    reason: 'Share of failures at which an endpoint is ejected.',
  }),
  ejection: scalar({
    kind: 'duration',
    default: '5s',
    min: 10,
    max: 3_600_000,
    reason: 'First ejection, doubled by each that follows without a success.',
  }),
  maxEjection: scalar({
    kind: 'duration',
    default: '5m',
    min: 10,
    max: 3_600_000,
    reason: 'Longest ejection.',
  }),
  maxEjectedPercent: scalar({
    kind: 'percent',
    default: '50%',
    reason:
      'Share of the endpoints that may be ejected at a time: at least one of several, never all. Beyond it the fault is not the endpoint, and the breaker judges.',
  }),
};

export const RETRIES_REASON =
  'Whether a failed request is sent again, to another endpoint if there is one, before a byte of an answer was passed on.';
export const retries = {
  attempts: scalar({
    kind: 'integer',
    default: null,
    unset: '1 where there are several endpoints, else 0',
    min: 0,
    max: 10,
    reason:
      'Further tries after the first; 0 switches them off. With one endpoint they go there again, which helps where it is a name that stands for many.',
  }),
  perTryTimeout: scalar({
    kind: 'duration',
    default: '0s',
    min: 0,
    max: 3_600_000,
    reason: 'Longest time of one try while another is left; 0s leaves a try all the time the request has.',
  }),
  budget: scalar({
    kind: 'percent',
    default: '20%',
    reason:
      'Retries over requests, of the last ten seconds and over all data threads: retries must not multiply an outage.',
  }),
  budgetFloor: scalar({
    kind: 'integer',
    default: '10',
    min: 0,
    max: 1_000_000,
    reason: 'Retries allowed each second however few requests there are.',
  }),
  maxSize: scalar({
    kind: 'size',
    default: '64KiB',
    min: 0,
    max: 2_147_483_648,
    reason: 'Largest request that is kept to be sent again.',
  }),
};

const RETRY_CONDITIONS = ['connect_failed', 'reset', 'per_try_timeout', 'unavailable'] as const;

export const RETRY_ON_NODE = optionalList(
  'What is tried again; by default all of it for model calls and connect_failed for other traffic, which may not be safe to repeat.',
  4,
  scalar({ kind: 'choice', choices: RETRY_CONDITIONS, default: null, required: true, reason: 'A condition.' }),
);

const HEALTH_KINDS = ['grpc', 'http', 'tcp'] as const;

export const HEALTH_CHECK_NODE = optionalObject(
  'Asks each endpoint whether it is well, from one thread of the process. Until it has answered often enough an endpoint is taken to be well.',
  {
    kind: scalar({
      kind: 'choice',
      choices: HEALTH_KINDS,
      default: 'grpc',
      reason: 'grpc: grpc.health.v1 Check must say SERVING; http: GET must answer 2xx; tcp: a connection must stand.',
    }),
    service: scalar({
      kind: 'text',
      default: null,
      unset: 'the whole server',
      reason: 'grpc: the service asked about.',
    }),
    path: scalar({ kind: 'text', default: '/', reason: 'http: the path.' }),
    interval: scalar({
      kind: 'duration',
      default: '5s',
      min: 50,
      max: 3_600_000,
      reason: 'From one check to the next, spread by a tenth so that checks do not run in step.',
    }),
    timeout: scalar({ kind: 'duration', default: '1s', min: 10, max: 60_000, reason: 'Longest wait for an answer.' }),
    unhealthyAfter: scalar({
      kind: 'integer',
      default: '3',
      min: 1,
      max: 1000,
      reason: 'Failed checks in a row that take an endpoint out.',
    }),
    healthyAfter: scalar({
      kind: 'integer',
      default: '2',
      min: 1,
      max: 1000,
      reason: 'Passed checks in a row that bring it back.',
    }),
  },
);

const DISCOVERIES = ['name', 'addresses'] as const;

export const discovery = {
  discovery: scalar({
    kind: 'choice',
    choices: DISCOVERIES,
    default: 'name',
    reason:
      'name: an endpoint for each name, whatever it resolves to; addresses: one for each address of each name, as for a headless service.',
  }),
  dnsRefresh: scalar({
    kind: 'duration',
    default: '30s',
    min: 100,
    max: 86_400_000,
    reason: 'How often names are looked up again. Connections to addresses a name has lost are drained.',
  }),
};
