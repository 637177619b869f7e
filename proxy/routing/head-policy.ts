/**
 * What becomes of a request's head before anything is decided on it: fields that only this mesh may set are taken away
 * from callers who are not trusted, and `x-forwarded-for` and `-proto` are written as configured. Nothing is decided on
 * what a stranger wrote into `x-understudy-*`: routes, pins and upstreams see the head without it.
 *
 * The result is remembered on the list as it was read, so repeated heads cost a comparison. A list that was read with
 * such fields never carries traits of its own: one parser may serve listeners of different trust.
 */
import { HeaderList } from '../../proto/http2/header-list.ts';
import { RequestTraits } from './request-traits.ts';

/** `off` leaves both fields as they come, `append` adds to them, `replace` trusts nobody before us. */
export type ForwardedPolicy = 'off' | 'append' | 'replace';
/** `pass` leaves `x-request-id` as it comes, `create` makes one where there is none, `replace` makes one always. */
export type RequestIdPolicy = 'pass' | 'create' | 'replace';

export interface HeadRules {
  /** Which side its requests come in on. */
  readonly side: 'outbound' | 'inbound';
  readonly trustsInternal: boolean;
  readonly forwarded: ForwardedPolicy;
  readonly requestId: RequestIdPolicy;
}

/** Who sent the request, as its connection tells. */
export interface HeadSource {
  /** '' where there is no address (Unix sockets). */
  readonly remoteAddress: string;
  readonly secure: boolean;
}

export const INTERNAL_PREFIX = 'x-understudy-';
const FORWARDED_FOR = 'x-forwarded-for';
const FORWARDED_PROTO = 'x-forwarded-proto';
const REQUEST_ID = 'x-request-id';

/** What a list as read becomes, for one source and one policy. */
class PreparedHead {
  readonly policy: HeadPolicy;
  readonly remoteAddress: string;
  readonly secure: boolean;
  stripped: HeaderList | null = null;
  trusted: HeaderList | null = null;

  constructor(policy: HeadPolicy, source: HeadSource) {
    this.policy = policy;
    this.remoteAddress = source.remoteAddress;
    this.secure = source.secure;
  }
}

export class HeadPolicy {
  readonly rules: HeadRules;
  /** Requests may need an `x-request-id` of ours. */
  readonly makesRequestIds: boolean;
  /** Lists without internal fields go on as they are. */
  private readonly passive: boolean;

  constructor(rules: HeadRules) {
    this.rules = rules;
    this.makesRequestIds = rules.requestId !== 'pass';
    this.passive = rules.forwarded === 'off' && rules.requestId !== 'replace';
  }

  /** The head to decide on and to send on. */
  prepare(head: HeaderList, source: HeadSource): HeaderList {
    if (this.passive && head.memo instanceof RequestTraits) return head;
    return this.rules.trustsInternal ? this.prepareTrusted(head, source) : this.prepareStripped(head, source);
  }

  /** The head of a request that a route trusts, internal fields included. */
  prepareTrusted(head: HeaderList, source: HeadSource): HeaderList {
    if (this.passive && !hasInternal(head)) return head;
    const prepared = this.prepared(head, source);
    prepared.trusted ??= this.edit(head, source, false);
    return prepared.trusted;
  }

  private prepareStripped(head: HeaderList, source: HeadSource): HeaderList {
    if (this.passive && !hasInternal(head)) return head;
    const prepared = this.prepared(head, source);
    prepared.stripped ??= this.edit(head, source, true);
    return prepared.stripped;
  }

  private prepared(head: HeaderList, source: HeadSource): PreparedHead {
    const known = head.memo;
    if (known instanceof PreparedHead && known.policy === this) {
      // Without such fields to write, who sent it makes no difference.
      const same = known.remoteAddress === source.remoteAddress && known.secure === source.secure;
      if (same || this.rules.forwarded === 'off') return known;
    }
    const prepared = new PreparedHead(this, source);
    head.memo = prepared;
    return prepared;
  }

  private edit(head: HeaderList, source: HeadSource, strip: boolean): HeaderList {
    const { forwarded, requestId } = this.rules;
    const names: string[] = [];
    const values: string[] = [];
    const never: boolean[] = [];
    const before: string[] = [];
    let proto = '';
    for (let i = 0; i < head.length; i++) {
      const name = head.names[i]!;
      const value = head.values[i]!;
      if (strip && name.startsWith(INTERNAL_PREFIX)) continue;
      if (requestId === 'replace' && name === REQUEST_ID) continue;
      if (forwarded !== 'off' && name === FORWARDED_FOR) {
        before.push(value);
        continue;
      }
      if (forwarded !== 'off' && name === FORWARDED_PROTO) {
        proto ||= value;
        continue;
      }
      names.push(name);
      values.push(value);
      never.push(head.isNeverIndexed(i));
    }
    if (forwarded !== 'off') {
      const chain = forwarded === 'append' ? before : [];
      if (source.remoteAddress !== '') chain.push(source.remoteAddress);
      if (chain.length > 0) {
        names.push(FORWARDED_FOR);
        values.push(chain.join(', '));
      }
      names.push(FORWARDED_PROTO);
      const own = source.secure ? 'https' : 'http';
      values.push(forwarded === 'append' && proto !== '' ? proto : own);
    }
    return new HeaderList(names, values, head.sensitive ? never : null);
  }
}

/** Trailers of a request without fields that only this mesh may set. */
export function withoutInternal(list: HeaderList): HeaderList {
  if (!hasInternal(list)) return list;
  const kept = list.names.map((name, i) => ({ name, i })).filter(({ name }) => !name.startsWith(INTERNAL_PREFIX));
  const never = list.sensitive ? kept.map(({ i }) => list.isNeverIndexed(i)) : null;
  return new HeaderList(
    kept.map(({ name }) => name),
    kept.map(({ i }) => list.values[i]!),
    never,
  );
}

function hasInternal(list: HeaderList): boolean {
  const { names } = list;
  for (let i = 0; i < names.length; i++) if (names[i]!.startsWith(INTERNAL_PREFIX)) return true;
  return false;
}
