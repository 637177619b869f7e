/** What an HTTP/2 connection needs to know and whom it tells; its errors. */
import type { Clock } from '../../base/clock.ts';
import type { Http2Connection } from './connection.ts';
import type { Http2Limits } from './limits.ts';
import type { Http2Stream, StreamHandler } from './stream.ts';

/** What a connection tells its owner. */
export interface ConnectionOwner {
  /** Server: a request begins; returns the handler of its stream. `onHeaders` follows at once. */
  acceptStream(stream: Http2Stream): StreamHandler;
  /** The peer sent GOAWAY, or we did: no new streams. Open ones go on. */
  onDraining(connection: Http2Connection): void;
  /** Client: a stream may be opened that was not possible before. */
  onCapacity(connection: Http2Connection): void;
  /** The connection is gone; every open stream has had its `onReset`. */
  onClosed(connection: Http2Connection, error: Error | null): void;
}

export interface ConnectionOptions {
  readonly client: boolean;
  readonly limits: Http2Limits;
  readonly clock: Clock;
  readonly owner: ConnectionOwner;
  /** Slots of `Http2Counter`; shared by all connections of a listener or cluster. */
  readonly counters?: Float64Array;
}

/** An HTTP/2 failure that ended a connection. `errorCode` is RFC 9113's. */
export class Http2Error extends Error {
  override readonly name = 'Http2Error';
  readonly code = 'http2_error';
  readonly errorCode: number;

  constructor(errorCode: number, message: string) {
    super(message);
    this.errorCode = errorCode;
  }
}
