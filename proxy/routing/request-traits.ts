/**
 * What a request's head says, worked out once per distinct header list and remembered on it: clients repeat their
 * heads, and the HPACK decoder answers repeated blocks with the same list object.
 */

import { parseGrpcTimeoutMs } from '../../proto/grpc/timeout.ts';
import { withoutHopByHop } from '../../proto/http1/hop-by-hop.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { MODEL_CALLS, type ModelCall } from '../../proto/tensor/model-calls.ts';
import { parseRestPath, type RestCall, restPath } from './rest-path.ts';
import type { RouteMemo, RouteTable } from './route-table.ts';

export class RequestTraits implements RouteMemo {
  /** The model API's method that is called; null when the request is no call that names a model. */
  readonly call: ModelCall | null;
  /** The model call its path names, if it is a REST path of a model API. */
  readonly rest: RestCall | null;
  /** The head as it goes on: without what concerns one connection only. */
  readonly forward: HeaderList;
  /** content-type says gRPC: failures are answered with a grpc-status. */
  readonly grpc: boolean;
  /** The caller's timeout in milliseconds; 0 when it set none or an unreadable one. */
  readonly timeoutMs: number;
  readonly isConnect: boolean;
  /** grpc-encoding, '' for identity. */
  readonly encoding: string;
  /** The head as sent to the upstream when its message was changed: no content-length, no compression. */
  readonly rewritten: HeaderList;
  /** The same two, marked for a shadow. */
  readonly shadow: HeaderList;
  readonly shadowRewritten: HeaderList;
  /** The route that takes requests with this head, as `routedBy` found it. */
  routedBy: RouteTable | null = null;
  routed = -1;
  private restHeads: Map<number, HeaderList> | null = null;
  private shadowHeads: Map<number, HeaderList> | null = null;

  constructor(head: HeaderList) {
    const path = head.get(':path') ?? '';
    this.grpc = (head.get('content-type') ?? '').startsWith('application/grpc');
    this.call = this.grpc && head.get(':method') === 'POST' ? (MODEL_CALLS.get(path) ?? null) : null;
    this.rest = this.grpc ? null : parseRestPath(head.get(':method') ?? '', path);
    // `expect` was answered here: the body is on its way whatever the upstream thinks of it.
    this.forward = without(withoutHopByHop(head), EXPECT);
    this.isConnect = head.get(':method') === 'CONNECT';
    const timeout = head.get('grpc-timeout');
    const timeoutMs = timeout === undefined ? 0 : parseGrpcTimeoutMs(timeout);
    this.timeoutMs = Number.isNaN(timeoutMs) ? 0 : timeoutMs;
    const encoding = head.get('grpc-encoding') ?? '';
    this.encoding = encoding === 'identity' ? '' : encoding;
    this.rewritten = this.call === null ? head : without(head, REWRITE_DROPS);
    this.shadow = this.call === null ? head : marked(head);
    this.shadowRewritten = this.call === null ? head : marked(this.rewritten);
  }

  /** REST: the head that asks for a cluster's model and version instead. The same cluster gets the same list. */
  restHead(cluster: number, model: string, version: string): HeaderList {
    const rest = this.rest!;
    const same = model === rest.model && (version === '' ? !rest.pinned : version === rest.version);
    if (same || model === '') return this.forward;
    this.restHeads ??= new Map();
    let head = this.restHeads.get(cluster);
    if (head === undefined) {
      head = withValue(this.forward, ':path', restPath(rest, model, version));
      this.restHeads.set(cluster, head);
    }
    return head;
  }

  /** REST: the same, marked for a shadow. */
  shadowRestHead(cluster: number, model: string, version: string): HeaderList {
    this.shadowHeads ??= new Map();
    let head = this.shadowHeads.get(cluster);
    if (head === undefined) {
      head = marked(this.restHead(cluster, model, version));
      this.shadowHeads.set(cluster, head);
    }
    return head;
  }

  static of(head: HeaderList): RequestTraits {
    const known = head.memo;
    if (known instanceof RequestTraits) return known;
    const traits = new RequestTraits(head);
    head.memo = traits;
    return traits;
  }
}

/** The head of a stream of messages that may be changed, and whose answers must be readable: of no length, uncompressed. */
export function streamHead(head: HeaderList): HeaderList {
  return without(head, STREAM_DROPS);
}

const STREAM_DROPS: ReadonlySet<string> = new Set(['content-length', 'grpc-accept-encoding']);
const EXPECT: ReadonlySet<string> = new Set(['expect']);
const REWRITE_DROPS: ReadonlySet<string> = new Set(['content-length', 'grpc-encoding']);

/** The list without some fields; the list itself when it has none of them. */
function without(list: HeaderList, dropped: ReadonlySet<string>): HeaderList {
  if (!list.names.some((name) => dropped.has(name))) return list;
  const names: string[] = [];
  const values: string[] = [];
  const never: boolean[] = [];
  for (let i = 0; i < list.length; i++) {
    if (dropped.has(list.names[i]!)) continue;
    names.push(list.names[i]!);
    values.push(list.values[i]!);
    never.push(list.isNeverIndexed(i));
  }
  return new HeaderList(names, values, list.sensitive ? never : null);
}

/** The list with one field's value replaced; it must have the field. */
export function withValue(list: HeaderList, name: string, value: string): HeaderList {
  const at = list.names.indexOf(name);
  const never = list.sensitive ? list.names.map((_, i) => list.isNeverIndexed(i)) : null;
  return new HeaderList(list.names, list.values.with(at, value), never);
}

/** The list with the mark that tells an upstream it answers as a shadow. */
function marked(list: HeaderList): HeaderList {
  return withFields(list, ['x-understudy-shadow'], ['1']);
}

/** A new list with fields added at its end, never-indexed flags kept. */
export function withFields(list: HeaderList, names: readonly string[], values: readonly string[]): HeaderList {
  const never = list.sensitive ? list.names.map((_, i) => list.isNeverIndexed(i)) : null;
  return new HeaderList([...list.names, ...names], [...list.values, ...values], never);
}
