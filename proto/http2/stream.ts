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
import type { SendQueue } from './send-queue.ts';

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
  /** The final head (not 1xx) has been written. */
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
  /** Client: the answer has no content whatever its head says (HEAD). */
  bodyless = false;
  /** Looks of the connection watch since DATA last came; see `bodyTimeoutMs`. */
  bodyLooks = 0;
  /** What waits to be sent; null until something has had to wait. */
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

  /** No more frames either way: both sides have ended, or either reset. */
  get closed(): boolean {
    return this.dead || (this.localEnded && this.remoteEnded);
  }

  /** Whether the peer takes a section of this size (SETTINGS_MAX_HEADER_LIST_SIZE); sending a larger one is in vain. */
  takesSection(headers: HeaderList): boolean {
    return headers.listSize <= this.connection.peer.maxHeaderListSize;
  }

  /** Bytes that wait for flow control or the socket. */
  get queuedBytes(): number {
    return this.queue === null ? 0 : this.queue.bytes;
  }

  /** Our end of the stream waits behind queued bytes. */
  get endQueued(): boolean {
    return this.queue?.end === true;
  }

  /** Sends a header section: 1xx or head first, then trailers (which wait behind queued data). Ignored once we ended. */
  sendHeaders(headers: HeaderList, endStream: boolean): void {
    if (this.dead || this.localEnded) return;
    const { queue } = this;
    if (queue === null || queue.bytes === 0) {
      this.connection.writeHeaders(this, headers, endStream);
    } else if (!queue.end) {
      // After DATA there can only be trailers, and trailers end the stream.
      queue.end = true;
      queue.trailers = headers;
    }
  }

  /**
   * Sends a copy of `buffer[start..end)`. Returns how many bytes are off our hands at once; the rest is queued and
   * reported by `onSent`. On a stream that can send no more the bytes are dropped and count as sent.
   */
  sendData(buffer: Buffer, start: number, end: number, endStream: boolean): number {
    if (this.dead || this.localEnded) return end - start;
    const { queue, connection } = this;
    let sent = 0;
    if (queue === null || queue.bytes === 0) {
      sent = connection.send.write(this, buffer, start, end, endStream);
      if (start + sent === end) return sent;
    } else if (queue.end) {
      return end - start;
    }
    connection.send.queue(this, buffer, start + sent, end, endStream);
    return sent;
  }

  /** Sends copies of `first[0..firstEnd)` and, behind it, `rest[start..end)`: in one frame where that is possible. */
  sendParts(first: Buffer, firstEnd: number, rest: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.dead || this.localEnded) return;
    const { queue, connection } = this;
    const isFree = queue === null || queue.bytes === 0;
    if (isFree && connection.send.writeParts(this, first, firstEnd, rest, start, end, endStream)) return;
    this.sendData(first, 0, firstEnd, false);
    this.sendData(rest, start, end, endStream);
  }

  /** Ends the stream now (or behind what is queued) without trailers. */
  sendEnd(): void {
    this.sendData(EMPTY, 0, 0, true);
  }

  /**
   * Ends the stream in both directions with RST_STREAM; queued bytes are dropped, and what was received counts as
   * consumed. On a closed stream only the latter.
   */
  reset(errorCode: number): void {
    if (this.closed) this.connection.receive.release(this);
    else this.connection.resetStream(this, errorCode);
  }

  /** Gives the peer credit for `bytes` of DATA that have been dealt with; never more than is outstanding. */
  consume(bytes: number): void {
    if (!this.dead) this.connection.receive.consumed(this, bytes);
  }

  /** Cancels with the code that fits a caller who lost interest. */
  cancel(): void {
    this.reset(ErrorCode.CANCEL);
  }

  /** Bytes this stream holds for a peer that does not take them (`MemoryBudget`). */
  get heldBytes(): number {
    return this.queuedBytes;
  }

  shed(): void {
    this.connection.shedStream(this);
  }
}

const EMPTY = Buffer.alloc(0);
