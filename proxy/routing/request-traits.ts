/**
 * What a request's head says, worked out once per distinct header list and remembered on it: clients repeat their
 * heads, and the HPACK decoder answers repeated blocks with the same list object.
 */

import { parseGrpcTimeoutMs } from '../../proto/grpc/timeout.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { MODEL_CALLS, type ModelCall } from '../../proto/tensor/model-calls.ts';

export class RequestTraits {
  /** The model API's method that is called; null when the request is no call that names a model. */
  readonly call: ModelCall | null;
  /** content-type says gRPC: failures are answered with a grpc-status. */
  readonly grpc: boolean;
  /** The caller's timeout in milliseconds; 0 when it set none or an unreadable one. */
  readonly timeoutMs: number;
  /** grpc-encoding, '' for identity. */
  readonly encoding: string;
  /** The head as sent to the upstream when its message was changed: no content-length, no compression. */
  readonly rewritten: HeaderList;
  /** The same two, marked for a shadow. */
  readonly shadow: HeaderList;
  readonly shadowRewritten: HeaderList;

  constructor(head: HeaderList) {
    const path = head.get(':path') ?? '';
    this.grpc = (head.get('content-type') ?? '').startsWith('application/grpc');
    this.call = this.grpc && head.get(':method') === 'POST' ? (MODEL_CALLS.get(path) ?? null) : null;
    const timeout = head.get('grpc-timeout');
    const timeoutMs = timeout === undefined ? 0 : parseGrpcTimeoutMs(timeout);
    this.timeoutMs = Number.isNaN(timeoutMs) ? 0 : timeoutMs;
    const encoding = head.get('grpc-encoding') ?? '';
    this.encoding = encoding === 'identity' ? '' : encoding;
    this.rewritten = this.call === null ? head : without(head, REWRITE_DROPS);
    this.shadow = this.call === null ? head : marked(head);
    this.shadowRewritten = this.call === null ? head : marked(this.rewritten);
  }

  static of(head: HeaderList): RequestTraits {
    const known = head.memo;
    if (known instanceof RequestTraits) return known;
    const traits = new RequestTraits(head);
    head.memo = traits;
    return traits;
  }
}

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

/** The list with the mark that tells an upstream it answers as a shadow. */
function marked(list: HeaderList): HeaderList {
  return withFields(list, ['x-understudy-shadow'], ['1']);
}

/** A new list with fields added at its end, never-indexed flags kept. */
export function withFields(list: HeaderList, names: readonly string[], values: readonly string[]): HeaderList {
  const never = list.sensitive ? list.names.map((_, i) => list.isNeverIndexed(i)) : null;
  return new HeaderList([...list.names, ...names], [...list.values, ...values], never);
}
