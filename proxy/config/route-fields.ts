/** Fields of the document's `routes`: which requests a route takes, and where it leads. */

import { ADAPT_JSON_NODE } from './answer-fields.ts';
import { list, object, optionalObject, scalar } from './document-schema.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

const UPGRADES = ['none', 'websocket', 'any'] as const;

const header = object('One header the request must have; all that are written must match.', {
  name: scalar({
    kind: 'headerName',
    default: null,
    required: true,
    reason: 'The field name; its first value counts.',
  }),
  value: scalar({ kind: 'text', default: null, unset: 'any value', reason: 'The whole value, compared byte by byte.' }),
  prefix: scalar({ kind: 'text', default: null, unset: 'any value', reason: 'How the value begins.' }),
  absent: scalar({
    kind: 'boolean',
    default: 'false',
    reason: 'Turns the condition round: the route takes requests without such a header.',
  }),
});

/** The first route that matches a request takes it; one that none takes goes on as without routes. */
export const ROUTES_NODE = list(
  'Requests that go elsewhere than their model or destination says. The first route whose conditions all hold takes the request.',
  128,
  object('One route. Conditions that are not written always hold.', {
    name: scalar({ kind: 'clusterName', default: null, required: true, reason: 'Name for logs and metrics. Unique.' }),
    authorities: list(
      'Values of :authority (HTTP/1.1: Host), any of them: HOST, HOST:PORT, or *.SUFFIX. Without a port any port matches.',
      32,
      scalar({ kind: 'authority', default: null, required: true, reason: 'Compared without regard to case.' }),
    ),
    path: scalar({ kind: 'text', default: null, unset: 'any path', reason: 'The whole path, without the query.' }),
    pathPrefix: scalar({ kind: 'text', default: null, unset: 'any path', reason: 'How the path begins.' }),
    methods: list(
      'Request methods, any of them.',
      8,
      scalar({ kind: 'choice', choices: METHODS, default: null, required: true, reason: 'A method.' }),
    ),
    headers: list('Conditions on headers, all of them.', 16, header),
    upgrade: scalar({
      kind: 'choice',
      choices: UPGRADES,
      default: 'websocket',
      reason: 'Which upgrades of HTTP/1.1 requests go on, then as opaque bytes. h2c never does.',
    }),
    connect: scalar({
      kind: 'boolean',
      default: 'false',
      reason: 'Whether CONNECT requests go on, then as opaque bytes; they are answered 405 otherwise.',
    }),
    trustInternalHeaders: scalar({
      kind: 'boolean',
      default: 'false',
      reason:
        'Whether x-understudy-* headers of its requests are passed on; from others they are taken away. Conditions never see them.',
    }),
    cluster: scalar({
      kind: 'clusterName',
      default: null,
      required: true,
      reason: 'A declared cluster that names no model: requests reach it as they are, model calls too.',
    }),
    fallback: list(
      'Who answers in the same request when the cluster does not, or with a status of 500 and above, in order. For HTTP requests that are not gRPC. Their answers are held until they are complete, up to 1 MiB.',
      8,
      object('One step: exactly one of cluster and static.', {
        cluster: scalar({
          kind: 'clusterName',
          default: null,
          unset: 'static is used',
          reason: 'A declared cluster that names no model.',
        }),
        static: optionalObject('An answer made here, with status 200.', {
          json: scalar({ kind: 'text', default: null, required: true, reason: 'The whole answer, a JSON document.' }),
        }),
        budget: scalar({
          kind: 'percent',
          default: null,
          unset: 'an equal part for each step that is left, all of it for the last',
          min: 1,
          reason: 'Share of the remaining deadline this step may use.',
        }),
        adapt: ADAPT_JSON_NODE,
      }),
    ),
    modelVersionField: scalar({
      kind: 'text',
      default: null,
      unset: 'no such member',
      reason:
        "Member added to every JSON answer, the cluster's too: the name of the cluster that answered. Every answer is then held and written anew.",
    }),
    maxReplaySize: scalar({
      kind: 'size',
      default: '1MiB',
      min: 0,
      max: 2_147_483_648,
      reason: 'Largest request kept for a fallback; a page scanned for OCR may need more.',
    }),
  }),
);
