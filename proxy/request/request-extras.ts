/**
 * Fields of one request that no other has: its identifier and its place in a trace. They are put on the head in the
 * moment it leaves, so that everything worked out before can be shared by requests with equal heads.
 */
import type { randomUUID } from 'node:crypto';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { RequestTraits } from '../routing/request-traits.ts';
import type { Exchange } from './exchange.ts';

/** Loaded with the first identifier we make: node:crypto costs a thread 3 MiB. */
let makeId: typeof randomUUID | null = null;

/** Asks a worker of ours for its queue and compute times. */
const TIMING = 'x-understudy-timing';
const REQUEST_ID = 'x-request-id';
const TRACEPARENT = 'traceparent';
const TRACESTATE = 'tracestate';

export class RequestExtras {
  /** '' to leave the field as it is. */
  requestId = '';
  traceparent = '';
  /** The trace begins here: a tracestate that came without a valid parent belongs to nothing. */
  beginsTrace = false;

  /** The head with these fields in place of its own. */
  on(head: HeaderList): HeaderList {
    const names: string[] = [];
    const values: string[] = [];
    const never: boolean[] = [];
    for (let i = 0; i < head.length; i++) {
      const name = head.names[i]!;
      if (this.traceparent !== '' && (name === TRACEPARENT || name === TIMING)) continue;
      if (this.beginsTrace && name === TRACESTATE) continue;
      if (this.requestId !== '' && name === REQUEST_ID) continue;
      names.push(name);
      values.push(head.values[i]!);
      never.push(head.isNeverIndexed(i));
    }
    if (this.requestId !== '') add(names, values, REQUEST_ID, this.requestId);
    if (this.traceparent !== '') {
      add(names, values, TRACEPARENT, this.traceparent);
      add(names, values, TIMING, '1');
    }
    return new HeaderList(names, values, head.sensitive ? never : null);
  }
}

function add(names: string[], values: string[], name: string, value: string): void {
  names.push(name);
  values.push(value);
}

/** Gives the request an identifier of its own when it has none; the head's policy has taken away one that is not wanted. */
export function nameRequest(exchange: Exchange): void {
  if (exchange.head!.get(REQUEST_ID) !== undefined) return;
  exchange.extras ??= new RequestExtras();
  makeId ??= process.getBuiltinModule('node:crypto').randomUUID;
  exchange.extras.requestId = makeId();
}

/** A route trusts the request's internal fields: they go on with it. */
export function trustHead(exchange: Exchange, read: HeaderList): void {
  exchange.head = exchange.heads.prepareTrusted(read, exchange.down.connection.io);
  exchange.traits = RequestTraits.of(exchange.head);
}
