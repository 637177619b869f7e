/** One HTTP request with its whole body, and its one answer, as the REST and Open Inference APIs see it. */
import type { HeaderList } from '../../../proto/http2/header-list.ts';

export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly headers: HeaderList;
  /** The body is `[start, end)`, inflated; valid only during `handle`. */
  readonly body: Buffer;
  readonly start: number;
  readonly end: number;
}

/** Further header fields of an answer, names in lower case. */
export type ReplyFields = readonly (readonly [string, string])[];

export interface HttpCall {
  readonly request: HttpRequest;
  /** When the server gives up on the call, on its clock. */
  readonly deadlineMs: number;
  /** One of `Priority`. */
  readonly priority: number;
  /** Answered, or its caller has gone. */
  readonly ended: boolean;
  /** What to cancel when the caller goes away or the deadline passes. */
  cancellable: { cancel(): void } | null;
  /** Answers the call; `body` is copied. Does nothing once it has ended. */
  reply(status: number, contentType: string, body: Buffer, fields?: ReplyFields): void;
}

/** Answers the requests of some paths. */
export interface HttpApi {
  /**
   * Whether the path is one of this API's. If so the call is answered once, now or later; the body is not used after
   * this returns. Must not throw.
   */
  handle(call: HttpCall): boolean;
  /** The answer to a call that took longer than the server allows. */
  expire(call: HttpCall): void;
}

export const JSON_TYPE = 'application/json';
export const EMPTY_BODY: Buffer = Buffer.alloc(0);
