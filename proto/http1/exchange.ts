/**
 * One request and its answer on an HTTP/1.1 connection, either role. It looks like an HTTP/2 stream on purpose, so that
 * what carries requests can hold either: the same header lists, the same sending with a queue behind it, the same credit.
 *
 * An exchange belongs to its connection, which alone writes to the socket. Bytes that cannot leave at once wait in
 * `queue` in order; the end and trailers wait behind them. The queue is bounded by whoever feeds it: a relay gives its
 * source credit only for bytes that left (`sendData`'s result and `onSent`). Received bytes are outstanding until
 * `consume`; above the window the connection stops reading, which is all the flow control HTTP/1.1 has.
 */
import { ErrorCode } from '../http2/frames.ts';
import type { HeaderList } from '../http2/header-list.ts';
import { SendQueue } from '../http2/send-queue.ts';
import type { ByteSocket } from '../io/byte-socket.ts';
import { type BufferHolder, threadMemory } from '../io/memory-budget.ts';
import type { Http1Connection } from './connection.ts';
import type { Http1Error } from './faults.ts';
import { sendBody, sendEnd } from './message-sender.ts';
import { Method } from './methods.ts';
import type { ParsedHead } from './parsed-head.ts';
import { SendMode } from './send-mode.ts';

/** Receives an exchange's events. Any may follow until the peer's message has ended, or `onReset`. */
export interface Http1Handler {
  /** The request's or answer's head; on a client also informational ones before (`exchange.headReceived` is false then). */
  onHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void;
  /** Body bytes `buffer[start..end)`, valid only during the call; may be empty when only `last` is news. */
  onData(exchange: Http1Exchange, buffer: Buffer, start: number, end: number, last: boolean): void;
  /** The message ended with these fields. */
  onTrailers(exchange: Http1Exchange, trailers: HeaderList): void;
  /** `bytes` that `sendData` had queued have left the queue. */
  onSent(exchange: Http1Exchange, bytes: number): void;
  /** The connection ended or broke the rules (`exchange.fault`); nothing follows. `errorCode` is one of HTTP/2's. */
  onReset(exchange: Http1Exchange, errorCode: number): void;
}

/** A connection that left HTTP: the socket, whose reader the taker sets at once, and what had been read of it. */
export interface TakenConnection {
  readonly io: ByteSocket;
  /** Bytes read and not part of any message; a copy, possibly empty. */
  readonly unread: Buffer;
}

export class Http1Exchange implements BufferHolder {
  readonly connection: Http1Connection;
  /** Counts the exchanges of a connection from 1. */
  readonly id: number;
  handler: Http1Handler;
  /** For the handler's own use. */
  context: unknown = null;
  /** Our message is complete and in the socket's hands. */
  localEnded = false;
  /** The peer's message is complete. */
  remoteEnded = false;
  /** Reset by either side, or the connection is gone. */
  dead = false;
  /** Client: no byte of the request has left this process. Safe to send elsewhere. */
  refused = false;
  /** Client: the connection ended before any byte of an answer, and sending the request again is harmless. */
  canRetry = false;
  /** Our final head has been written. */
  headSent = false;
  /** The final head (not 1xx) has arrived. */
  headReceived = false;
  /** What the peer did wrong, when that is why the exchange was reset. */
  fault: Http1Error | null = null;
  /** The request as parsed (server), or the final answer (client). */
  head: ParsedHead | null = null;
  /** Code of the request's method. */
  method: number = Method.OTHER;
  /** Server: the client waits for 100 (Continue) before it sends its body. */
  expectsContinue = false;
  /** Client: the request asked for another protocol. */
  upgradeAsked = false;
  /** Body bytes received and not consumed. */
  outstanding = 0;
  /** What waits to be sent; null until something has had to wait. */
  queue: SendQueue | null = null;
  sendMode: number = SendMode.UNDECIDED;
  /** Bytes of our declared length not yet sent. */
  sendLeft = 0;
  /** The connection can be used for another exchange after this one, as far as we have said. */
  persistent = true;
  /** The rest of the peer's body is read and dropped. */
  discarding = false;
  discardedBytes = 0;
  /** Informational heads received. */
  informational = 0;
  /** Client: the socket's `bytesOut` before the request was written. */
  sentMark = 0;

  constructor(connection: Http1Connection, id: number, handler: Http1Handler) {
    this.connection = connection;
    this.id = id;
    this.handler = handler;
  }

  get closed(): boolean {
    return this.dead || (this.localEnded && this.remoteEnded);
  }

  /** HTTP/1.1 peers announce no bound on sections. */
  takesSection(_headers: HeaderList): boolean {
    return true;
  }

  /** Bytes that wait for the socket. */
  get queuedBytes(): number {
    return this.queue === null ? 0 : this.queue.bytes;
  }

  /** Our message's end waits behind queued bytes. */
  get endQueued(): boolean {
    return this.queue?.end === true;
  }

  /** Server: sends an informational head, or the final one; `end` when no body follows. Ignored when too late. */
  sendHead(head: HeaderList, end: boolean): void {
    if (this.dead || this.headSent) return;
    this.connection.writeHead(this, head, end);
  }

  /** The HTTP/2 stream's way: the head first, then trailers. */
  sendHeaders(headers: HeaderList, end: boolean): void {
    if (!this.headSent) this.sendHead(headers, end);
    else if (end) this.sendEnd(headers);
  }

  /**
   * Sends a copy of `buffer[start..end)`. Returns how many bytes are off our hands at once; the rest is queued and
   * reported by `onSent`. On an exchange that can send no more the bytes are dropped and count as sent.
   */
  sendData(buffer: Buffer, start: number, end: number, last: boolean): number {
    if (this.dead || this.localEnded || this.endQueued || !this.headSent) return end - start;
    let sent = 0;
    if (this.queuedBytes === 0) {
      sent = sendBody(this.connection, this, buffer, start, end, last);
      if (start + sent === end) return sent;
    }
    this.enqueue(buffer, start + sent, end, last);
    return sent;
  }

  /** Sends copies of `first[0..firstEnd)` and, behind it, `rest[start..end)`. */
  sendParts(first: Buffer, firstEnd: number, rest: Buffer, start: number, end: number, last: boolean): void {
    this.sendData(first, 0, firstEnd, false);
    this.sendData(rest, start, end, last);
  }

  /** Ends our message now, or behind what is queued. Trailers go only where the framing has a place for them. */
  sendEnd(trailers: HeaderList | null = null): void {
    if (this.dead || this.localEnded || this.endQueued || !this.headSent) return;
    const { queue } = this;
    if (queue !== null && queue.bytes > 0) {
      queue.end = true;
      queue.trailers = trailers;
    } else sendEnd(this.connection, this, trailers);
  }

  /** Server: tells a client that waits to go on. Does nothing when it does not wait. */
  sendContinue(): void {
    if (this.dead || this.headSent || !this.expectsContinue) return;
    this.connection.writeContinue(this);
  }

  /**
   * Gives the exchange up. After a complete answer that means the rest of the request: it is read and dropped within a
   * bound. Otherwise the connection ends, since HTTP/1.1 has no other way to say it. The handler hears no more.
   */
  reset(errorCode: number): void {
    if (this.closed) return;
    this.connection.abandon(this, errorCode);
  }

  /** Cancels with the code that fits a caller who lost interest. */
  cancel(): void {
    this.reset(ErrorCode.CANCEL);
  }

  /** Gives the peer credit for `bytes` of its body that have been dealt with; never more than is outstanding. */
  consume(bytes: number): void {
    this.outstanding -= Math.min(bytes, this.outstanding);
    if (!this.dead) this.connection.credit(this);
  }

  /**
   * Leaves HTTP: after a 101 or a successful CONNECT has been sent or received, and before either side's message goes
   * on. The connection's owner gets its `onClosed`, the handler hears no more, and the socket belongs to the caller, who
   * sets its reader in the same turn.
   */
  takeOver(): TakenConnection {
    return this.connection.takeOver(this);
  }

  /** Bytes this exchange holds for a peer that does not take them (`MemoryBudget`). */
  get heldBytes(): number {
    return this.queuedBytes;
  }

  shed(): void {
    this.connection.shedExchange(this);
  }

  /** Drops what waits. */
  clearQueue(): void {
    const { queue } = this;
    if (queue === null) return;
    if (queue.bytes > 0) threadMemory.forget(this);
    queue.clear();
  }

  private enqueue(buffer: Buffer, start: number, end: number, last: boolean): void {
    this.queue ??= new SendQueue();
    if (end > start) {
      if (this.queue.bytes === 0) threadMemory.register(this);
      this.queue.append(buffer, start, end);
    }
    if (last) this.queue.end = true;
  }
}
