/** What the HTTP/1.1 requests of a server share: the APIs behind it, its bounds, and the heads it answers with. */
import type { Clock } from '../../base/clock.ts';
import { TimerWheel } from '../../base/timer-wheel.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { type HttpApi, JSON_TYPE, type ReplyFields } from '../api/rest/http-call.ts';

export interface RestHostOptions {
  /** Asked in this order whether a path is theirs. */
  readonly apis: readonly HttpApi[];
  readonly clock: Clock;
  /** Longest body in bytes, before and after inflating. */
  readonly maxBodyBytes: number;
  /** From a request's head to its answer, in milliseconds; Infinity never gives up. */
  readonly timeoutMs: number;
  /** Answers carry the fields that let scripts of any web page read them. */
  readonly cors: boolean;
}

/** All incomplete and inflating bodies together may hold this many of the longest ones. */
const PENDING_BODIES = 4;

const CORS_FIELDS: ReplyFields = [
  ['access-control-allow-origin', '*'],
  ['access-control-allow-methods', 'POST, GET'],
  ['access-control-allow-headers', 'Content-Type'],
];

/** Heads of plain answers kept by length, so that the same ones are not made again. */
const KEPT_HEADS = 1024;

export class RestHost {
  readonly apis: readonly HttpApi[];
  readonly clock: Clock;
  readonly timers: TimerWheel;
  readonly maxBodyBytes: number;
  readonly maxPendingBytes: number;
  readonly timeoutMs: number;
  /** Gauge kept by the exchanges. */
  pendingBytes = 0;
  private readonly cors: boolean;
  private readonly heads: (HeaderList | undefined)[] = new Array(KEPT_HEADS).fill(undefined);
  private readonly headLengths = new Float64Array(KEPT_HEADS).fill(-1);

  constructor(options: RestHostOptions) {
    this.apis = options.apis;
    this.clock = options.clock;
    this.timers = new TimerWheel(options.clock);
    this.maxBodyBytes = options.maxBodyBytes;
    this.maxPendingBytes = options.maxBodyBytes * PENDING_BODIES;
    this.timeoutMs = options.timeoutMs;
    this.cors = options.cors;
  }

  /** The head of an answer. */
  replyHead(status: number, contentType: string, bodyBytes: number, fields: ReplyFields): HeaderList {
    if (status !== 200 || contentType !== JSON_TYPE || fields.length > 0) {
      return this.makeHead(status, contentType, bodyBytes, fields);
    }
    const slot = bodyBytes % KEPT_HEADS;
    const known = this.heads[slot];
    if (known !== undefined && this.headLengths[slot] === bodyBytes) return known;
    const head = this.makeHead(status, contentType, bodyBytes, fields);
    this.heads[slot] = head;
    this.headLengths[slot] = bodyBytes;
    return head;
  }

  private makeHead(status: number, contentType: string, bodyBytes: number, fields: ReplyFields): HeaderList {
    const pairs: [string, string][] = [[':status', String(status)]];
    if (bodyBytes > 0) pairs.push(['content-type', contentType]);
    pairs.push(['content-length', String(bodyBytes)]);
    if (this.cors) for (const [name, value] of CORS_FIELDS) pairs.push([name, value]);
    for (const [name, value] of fields) pairs.push([name, value]);
    return HeaderList.of(...pairs);
  }
}
