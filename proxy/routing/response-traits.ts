/**
 * What an upstream's head or trailers say, remembered on the header list like request traits, and the head as the
 * caller gets it: with the fields that say which model answered and why.
 */
import { GrpcStatus, grpcStatusForHttp } from '../../base/grpc-status.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { withFields } from './request-traits.ts';

const NO_STATUS = -1;
const DIGITS = /^[0-9]{1,9}$/;

export class ResponseTraits {
  readonly httpStatus: number;
  /** grpc-status, -1 when absent or not a number. */
  readonly grpcStatus: number;
  /** `x-understudy-reason` of a worker: `batch_queue_full`, `device_out_of_memory`; '' otherwise. */
  readonly reason: string;
  /** A `grpc-retry-pushback-ms` that is no number of milliseconds, -1 as a rule: it is not to be tried again (gRPC A6). */
  readonly forbidsRetry: boolean;
  /** What `grpc-retry-pushback-ms` or `retry-after` in seconds asks for, milliseconds; 0 without. */
  private readonly waitMs: number;
  /** `retry-after` as a date, milliseconds of Unix time; 0 without. */
  private readonly notBeforeMs: number;
  private readonly list: HeaderList;
  private lastKey = NO_STATUS;
  private lastDecorated: HeaderList | null = null;
  private decorated: Map<number, HeaderList> | null = null;

  constructor(list: HeaderList) {
    this.list = list;
    this.httpStatus = Number(list.get(':status') ?? '0');
    const status = list.get('grpc-status');
    this.grpcStatus = status !== undefined && /^[0-9]{1,2}$/.test(status) ? Number(status) : NO_STATUS;
    this.reason = list.get('x-understudy-reason') ?? '';
    const after = list.get('retry-after') ?? '';
    const pushback = list.get('grpc-retry-pushback-ms');
    this.forbidsRetry = pushback !== undefined && !DIGITS.test(pushback);
    this.waitMs = Math.max(wholeNumber(pushback ?? ''), wholeNumber(after) * 1000);
    // Dates begin with the day's name; `Date.parse` would make a year of any number.
    this.notBeforeMs = /^[A-Z]/.test(after) ? Date.parse(after) || 0 : 0;
  }

  /**
   * How long the upstream asks not to be called again, milliseconds: `grpc-retry-pushback-ms` (gRPC A6) or `retry-after`
   * in either form (RFC 9110, section 10.2.3). 0 when it asks for nothing, says so unreadably, or the time is over.
   */
  pushbackMs(unixNowMs: number): number {
    return this.notBeforeMs === 0 ? this.waitMs : Math.max(this.waitMs, this.notBeforeMs - unixNowMs);
  }

  static of(list: HeaderList): ResponseTraits {
    const known = list.memo;
    if (known instanceof ResponseTraits) return known;
    const traits = new ResponseTraits(list);
    list.memo = traits;
    return traits;
  }

  /**
   * The head with `x-understudy-served-by`, `-model-version` and, for other than the primary, `-reason`. `key` stands
   * for the combination (cluster and reason); the same key must always come with the same values.
   */
  decorate(key: number, servedBy: string, version: string, reason: string): HeaderList {
    if (key === this.lastKey) return this.lastDecorated!;
    let list = this.decorated?.get(key);
    if (list === undefined) {
      const names = ['x-understudy-served-by'];
      const values = [servedBy];
      if (version !== '') {
        names.push('x-understudy-model-version');
        values.push(version);
      }
      if (reason !== '') {
        names.push('x-understudy-reason');
        values.push(reason);
      }
      list = withFields(this.list, names, values);
      this.decorated ??= new Map();
      this.decorated.set(key, list);
    }
    this.lastKey = key;
    this.lastDecorated = list;
    return list;
  }
}

function wholeNumber(text: string): number {
  return DIGITS.test(text) ? Number(text) : 0;
}

/** The gRPC status of a complete answer, from its last header section or, without one, from its HTTP status. */
export function answerStatus(head: HeaderList, last: HeaderList | null, grpc: boolean, rest = false): number {
  if (last !== null) {
    const { grpcStatus } = ResponseTraits.of(last);
    if (grpcStatus >= 0) return grpcStatus;
  }
  const { httpStatus } = ResponseTraits.of(head);
  // Open Inference has no HTTP status for it and says 400, which would blame the caller.
  if (rest && ResponseTraits.of(head).reason === 'device_out_of_memory') return GrpcStatus.RESOURCE_EXHAUSTED;
  if (rest) return statusOfRest(httpStatus);
  if (!grpc) return httpStatus >= 500 ? GrpcStatus.UNAVAILABLE : GrpcStatus.OK;
  return grpcStatusForHttp(httpStatus);
}

/** The gRPC status a model API's REST answer stands for: the other way round of what its server maps. */
function statusOfRest(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return GrpcStatus.INVALID_ARGUMENT;
    case 401:
      return GrpcStatus.UNAUTHENTICATED;
    case 403:
      return GrpcStatus.PERMISSION_DENIED;
    case 404:
      return GrpcStatus.NOT_FOUND;
    case 409:
      return GrpcStatus.ABORTED;
    case 429:
      return GrpcStatus.RESOURCE_EXHAUSTED;
    case 499:
      return GrpcStatus.CANCELLED;
    case 501:
      return GrpcStatus.UNIMPLEMENTED;
    case 502:
    case 503:
      return GrpcStatus.UNAVAILABLE;
    case 504:
      return GrpcStatus.DEADLINE_EXCEEDED;
    default:
      if (httpStatus < 400) return GrpcStatus.OK;
      return httpStatus < 500 ? GrpcStatus.INVALID_ARGUMENT : GrpcStatus.INTERNAL;
  }
}

/** How long an answer asks its server not to be called again, in its head or its trailers (null for none), milliseconds. */
export function askedWaitMs(head: HeaderList, last: HeaderList | null): number {
  const unixMs = Date.now();
  const inHead = ResponseTraits.of(head).pushbackMs(unixMs);
  return last === null ? inHead : Math.max(inHead, ResponseTraits.of(last).pushbackMs(unixMs));
}
