/** The settings of what is done to requests' heads, and of tracing. */
import type { Field } from './field.ts';

const FORWARDED = ['off', 'append', 'replace'] as const;

export const REQUEST_PROCESS_FIELDS = {
  outboundTrustInternalHeaders: {
    environment: 'UNDERSTUDY_OUTBOUND_TRUST_INTERNAL_HEADERS',
    kind: 'boolean',
    default: 'false',
    reason:
      'Whether x-understudy-* request headers of the application are believed and passed on. Off, because they steer: what is not ours to say is taken away. A route may trust its requests by itself.',
    reloadable: false,
  },
  inboundTrustInternalHeaders: {
    environment: 'UNDERSTUDY_INBOUND_TRUST_INTERNAL_HEADERS',
    kind: 'boolean',
    default: 'false',
    reason:
      'The same for callers of the pod. On where all of them are proxies of this mesh, told by their certificates, so that the mark of a shadow reaches the worker.',
    reloadable: false,
  },
  outboundForwardedHeaders: {
    environment: 'UNDERSTUDY_OUTBOUND_FORWARDED_HEADERS',
    kind: 'choice',
    choices: FORWARDED,
    default: 'off',
    reason:
      'x-forwarded-for and x-forwarded-proto of calls that go out: left alone, appended to, or replaced. Off, because the caller is the application itself.',
    reloadable: false,
  },
  inboundForwardedHeaders: {
    environment: 'UNDERSTUDY_INBOUND_FORWARDED_HEADERS',
    kind: 'choice',
    choices: FORWARDED,
    default: 'off',
    reason:
      'The same of calls that come in. append where callers are trusted proxies, replace where they may be anybody.',
    reloadable: false,
  },
  requestId: {
    environment: 'UNDERSTUDY_REQUEST_ID',
    kind: 'choice',
    choices: ['pass', 'create', 'replace'],
    default: 'pass',
    reason:
      'What becomes of x-request-id: passed as it comes, created where it is missing, or always made anew. Passing costs nothing; a new one makes every head a head of its own.',
    reloadable: false,
  },
  tracingEndpoint: {
    environment: 'UNDERSTUDY_TRACING_ENDPOINT',
    kind: 'text',
    default: null,
    unset: 'no spans are made; trace context passes as it comes',
    reason: 'URL that spans are posted to as OTLP over HTTP in JSON, such as http://collector:4318/v1/traces.',
    reloadable: false,
  },
  tracingSample: {
    environment: 'UNDERSTUDY_TRACING_SAMPLE',
    kind: 'percent',
    default: '1%',
    reason:
      'Share of the requests without a traceparent that begin a trace. A request with one follows its sampled flag, whoever set it. A span costs about as much as relaying a small request.',
    reloadable: false,
  },
  tracingServiceName: {
    environment: 'UNDERSTUDY_TRACING_SERVICE_NAME',
    kind: 'text',
    default: 'understudy',
    reason: 'service.name of the spans.',
    reloadable: false,
  },
} as const satisfies Record<string, Field & { readonly environment: string }>;
