/** Fields of the document's `rateLimits` and `faults`. */
import { list, object, optionalObject, scalar } from './document-schema.ts';

const name = scalar({
  kind: 'clusterName',
  default: null,
  required: true,
  reason: 'Name for metrics; unique among limits and faults. What is left in a bucket outlives a reload under it.',
});
const model = scalar({
  kind: 'name',
  default: null,
  unset: 'another key says whose',
  reason: 'Requests for this model.',
});
const route = scalar({
  kind: 'clusterName',
  default: null,
  unset: 'another key says whose',
  reason: 'Requests that this route takes.',
});

export const RATE_LIMITS_NODE = list(
  'Token buckets of this process, shared by its data threads. Above them requests are answered RESOURCE_EXHAUSTED, or 429.',
  128,
  object('One limit, for exactly one of listener, route and model.', {
    name,
    listener: scalar({
      kind: 'choice',
      choices: ['outbound', 'inbound'],
      default: null,
      unset: 'another key says whose',
      reason: 'Every request that comes in on this side.',
    }),
    route,
    model,
    requests: scalar({
      kind: 'integer',
      default: null,
      required: true,
      min: 1,
      max: 1_000_000,
      reason: 'Requests in each interval, on average.',
    }),
    interval: scalar({
      kind: 'duration',
      default: '1s',
      min: 50,
      max: 3_600_000,
      reason: 'Time the requests are counted over.',
    }),
    burst: scalar({
      kind: 'integer',
      default: null,
      unset: 'as requests',
      min: 1,
      max: 1_000_000,
      reason: 'Requests that may come at once after a quiet time.',
    }),
    enabled: scalar({ kind: 'percent', default: '100%', reason: 'Share of the requests that are looked at.' }),
    enforced: scalar({
      kind: 'percent',
      default: '100%',
      reason: 'Share of those above the limit that are refused; the others pass and are counted, to try a limit out.',
    }),
  }),
);

export const FAULTS_NODE = list(
  'Faults injected for drills, in front of the primary: a fallback may step in as for a real one. Breakers do not count them, and shadows and streams of messages never see them.',
  64,
  object('One fault, for exactly one of route and model. Nothing happens without one.', {
    name,
    route,
    model,
    header: optionalObject('Only requests with this header.', {
      name: scalar({ kind: 'headerName', default: null, required: true, reason: 'The field name.' }),
      value: scalar({ kind: 'text', default: null, unset: 'any value', reason: 'The whole value.' }),
    }),
    percent: scalar({ kind: 'percent', default: '100%', reason: 'Share of the requests it happens to.' }),
    delay: scalar({
      kind: 'duration',
      default: null,
      unset: 'no delay',
      min: 1,
      max: 60_000,
      reason: 'Time they wait before anything else happens.',
    }),
    abort: scalar({
      kind: 'grpcStatus',
      default: null,
      unset: 'they go on',
      reason:
        'gRPC status they are answered with, unless a fallback steps in; over HTTP the status that stands for it.',
    }),
    httpStatus: scalar({
      kind: 'integer',
      default: null,
      unset: 'as abort maps',
      min: 400,
      max: 599,
      reason: 'HTTP status instead of the one that stands for abort.',
    }),
  }),
);
