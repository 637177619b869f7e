/**
 * One HTTP/2 stream (RFC 9113, section 5.1): its two half-states, its windows, and what waits to be sent.
 *
 * A stream belongs to its connection, which alone writes frames. Bytes that cannot leave at once (flow control, or a
 * socket that is not writable) wait in `queue` in order; END_STREAM and trailers wait behind them. The queue is bounded
 * by whoever feeds it: a relay gives its source credit only for bytes that left (`sendData`'s result and `onSent`).
 *
 * Credit: DATA received counts as outstanding until `consume` is called for it. A reset returns everything outstanding
 * to the connection's window by itself, so a consumer may simply forget a reset stream.
 */
import type { Http2Connection } from './connection.ts';
import { ErrorCode } from './frames.ts';
import type { HeaderList } from './header-list.ts';
import { SendQueue } from './send-queue.ts';

/** Receives a stream's events. Every method may be called again until the stream is closed both ways, or `onReset`. */
export interface StreamHandler {
  /** A header section: informational (`stream.headReceived` is false), the head, or trailers (`endStream`, head seen before). */
  onHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void;
  /** DATA bytes `buffer[start..end)`, valid only during the call; may be empty when only `endStream` is news. */
  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void;
  /** `bytes` that `sendData` had queued have left the queue. */
  onSent(stream: Http2Stream, bytes: number): void;
  /** The peer reset the stream or the connection ended; nothing follows. `stream.refused` says it was never processed. */
  onReset(stream: Http2Stream, errorCode: number): void;
}

export class Http2Stream {
  readonly connection: Http2Connection;
  readonly id: number;
  handler: StreamHandler;
  /** For the handler's own use. */
  context: unknown = null;
  /** We sent END_STREAM. */
  localEnded = false;
  /** The peer sent END_STREAM. */
  remoteEnded = false;
  /** Reset by either side, or the connection is gone. */
  dead = false;
  /** The peer promises not to have processed it: REFUSED_STREAM, or above GOAWAY's last stream. Safe to send elsewhere. */
  refused = false;
  headSent = false;
  /** The final head (not 1xx) has arrived. */
  headReceived = false;
  sendWindow: number;
  receiveWindow: number;
  /** DATA bytes received and not consumed. */
  outstanding = 0;
  /** Consumed bytes not yet given back by WINDOW_UPDATE. */
  uncredited = 0;
  /** Bytes of content-length still to come; -1 when none was declared (RFC 9113, section 8.1.1). */
  contentLeft = -1;
  /** Bytes in `queue`. */
  queuedBytes = 0;
  endQueued = false;
  trailersQueued: HeaderList | null = null;
  /** In the connection's list of streams waiting for its window or its socket. */
  inBlockedList = false;
  queue: SendQueue | null = null;

  constructor(
    connection: Http2Connection,
    id: number,
    handler: StreamHandler,
    sendWindow: number,
    receiveWindow: number,
  ) {
    this.connection = connection;
    this.id = id;
    this.handler = handler;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  get closed(): boolean {
    return this.dead || (this.localEnded && this.remoteEnded);
  }

  /** Sends a header section: 1xx or head first, then trailers (which wait behind queued data). Ignored once we ended. */
  sendHeaders(headers: HeaderList, endStream: boolean): void {
    if (this.dead || this.localEnded || this.endQueued) return;
    if (this.queuedBytes > 0) {
      this.endQueued = endStream;
      this.trailersQueued = headers;
      return;
    }
    this.connection.writeHeaders(this, headers, endStream);
  }

  /**
   * Sends a copy of `buffer[start..end)`. Returns how many bytes are off our hands at once; the rest is queued and
   * reported by `onSent`. On a stream that can send no more the bytes are dropped and count as sent.
   */
  sendData(buffer: Buffer, start: number, end: number, endStream: boolean): number {
    if (this.dead || this.localEnded || this.endQueued) return end - start;
    let sent = 0;
    if (this.queuedBytes === 0) {
      sent = this.connection.writeData(this, buffer, start, end, endStream);
      if (start + sent === end) return sent;
    }
    this.enqueue(buffer, start + sent, end, endStream);
    return sent;
  }

  /** Ends the stream now (or behind what is queued) without trailers. */
  sendEnd(): void {
    this.sendData(EMPTY, 0, 0, true);
  }

  /** Ends the stream in both directions with RST_STREAM; queued bytes are dropped. Does nothing on a closed stream. */
  reset(errorCode: number): void {
    if (this.closed) return;
    this.connection.resetStream(this, errorCode);
  }

  /** Gives the peer credit for `bytes` of DATA that have been dealt with. */
  consume(bytes: number): void {
    if (this.dead || bytes === 0) return;
    this.connection.creditStream(this, bytes);
  }

  /** Cancels with the code that fits a caller who lost interest. */
  cancel(): void {
    this.reset(ErrorCode.CANCEL);
  }

  private enqueue(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (end > start) {
      this.queue ??= new SendQueue();
      this.queue.append(buffer, start, end);
      this.queuedBytes += end - start;
    }
    if (endStream) this.endQueued = true;
    this.connection.block(this);
  }
}

const EMPTY = Buffer.alloc(0);
