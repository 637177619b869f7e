/**
 * The client's end: one request at a time, its answer, and whether the connection may be used again.
 *
 * A connection is reused only when both messages ended by their own framing and nothing more had come: bytes that nobody
 * asked for must never become the answer to the next request. When the connection ends before a byte of the answer, the
 * exchange says whether sending the request elsewhere is harmless (`refused`, `canRetry`).
 */
import { ErrorCode } from '../http2/frames.ts';
import type { HeaderList } from '../http2/header-list.ts';
import type { ByteSocket } from '../io/byte-socket.ts';
import { Http1Connection, type Http1ConnectionOptions } from './connection.ts';
import { Http1Exchange, type Http1Handler } from './exchange.ts';
import { Fault } from './faults.ts';
import { FAULTY, INCOMPLETE } from './head-parser.ts';
import { planOf, Variant } from './head-plan.ts';
import { anticipatesBody, isIdempotent, Method } from './methods.ts';
import { Framing, type ParsedHead } from './parsed-head.ts';
import { Phase } from './phase-watch.ts';
import { SendMode } from './send-mode.ts';

/** What a client's connection tells its owner, usually a pool. */
export interface Http1ClientOwner {
  /** The exchange is complete and the connection takes another. */
  onIdle(connection: Http1ClientConnection): void;
  /** The connection is gone or taken over; an exchange in progress has had its `onReset`. */
  onClosed(connection: Http1ClientConnection, error: Error | null): void;
}

export interface Http1ClientConnectionOptions extends Http1ConnectionOptions {
  readonly owner: Http1ClientOwner;
}

export class Http1ClientConnection extends Http1Connection {
  readonly owner: Http1ClientOwner;
  /** The socket stands. Requests of a connection that never stood were never sent. */
  established: boolean;
  /** A byte of the current answer has come. */
  private answerBegan = false;

  constructor(io: ByteSocket, options: Http1ClientConnectionOptions) {
    super(io, options);
    this.owner = options.owner;
    this.established = io.socket !== null && !io.socket.connecting;
  }

  /** Whether `open` would succeed now for a list that can be sent. */
  get canOpen(): boolean {
    return this.current === null && !this.dead && !this.draining && !this.io.readEnded;
  }

  /**
   * Sends a request's head; `end` when no body follows. Null when the connection takes none now, or when the list has
   * no HTTP/1.1 octets (`isExpressible` tells before). Pseudo fields as in HTTP/2; `host` is made of `:authority`.
   */
  open(handler: Http1Handler, head: HeaderList, end: boolean): Http1Exchange | null {
    const plan = planOf(head);
    if (!this.canOpen || !plan.expressible || plan.status > 0) return null;
    const exchange = new Http1Exchange(this, this.exchanges + 1, handler);
    this.begin(exchange);
    this.answerBegan = false;
    exchange.method = plan.method;
    exchange.sentMark = this.io.bytesOut;
    this.writeHead(exchange, head, end);
    return exchange;
  }

  /** No more exchanges: ends when the current one has. */
  drain(): void {
    this.draining = true;
    if (this.current === null) this.close();
  }

  writeHead(exchange: Http1Exchange, list: HeaderList, end: boolean): void {
    const plan = planOf(list);
    let variant: number = Variant.PLAIN;
    exchange.headSent = true;
    exchange.upgradeAsked = plan.hasUpgrade;
    exchange.sendMode = SendMode.LENGTH;
    if (exchange.method === Method.CONNECT) variant = Variant.NO_LENGTH;
    else if (end) {
      const wrong = plan.contentLength > 0;
      if (anticipatesBody(exchange.method) && plan.contentLength < 0) variant = Variant.EMPTY;
      else if (wrong) variant = Variant.EMPTY;
    } else if (plan.contentLength >= 0) exchange.sendLeft = plan.contentLength;
    else {
      exchange.sendMode = SendMode.CHUNKED;
      variant = Variant.CHUNKED;
    }
    if (plan.hasUpgrade) variant |= Variant.UPGRADE;
    const bytes = plan.bytes(variant);
    this.io.write(bytes, 0, bytes.length);
    if (end) exchange.localEnded = true;
  }

  writeContinue(): void {}

  protected readHead(buffer: Buffer, at: number, end: number): number {
    const exchange = this.current;
    if (exchange === null || (!this.answerBegan && this.io.bytesOut <= exchange.sentMark)) {
      // Nothing was asked, or nothing that could have been heard yet.
      this.fail(Fault.UNSOLICITED);
      return end;
    }
    this.answerBegan = true;
    if (this.heads.repeats(buffer, at, end)) {
      const last = this.heads.last!;
      const next = at + last.bytes!.length;
      this.claim(next);
      this.answer(exchange, last);
      return next;
    }
    const next = this.heads.find(buffer, at, end);
    if (next === INCOMPLETE) return at;
    if (next === FAULTY) {
      this.fail(this.parser.fault);
      return end;
    }
    const head = this.parser.parseResponse(buffer, at, next);
    if (head === null) {
      this.fail(this.parser.fault);
      return next;
    }
    if (head.bytes !== null) this.heads.last = head;
    this.claim(next);
    this.answer(exchange, head);
    return next;
  }

  private answer(exchange: Http1Exchange, head: ParsedHead): void {
    const { status } = head;
    if (status < 200) {
      this.inform(exchange, head);
      return;
    }
    exchange.head = head;
    exchange.headReceived = true;
    const tunnel = exchange.method === Method.CONNECT && status < 300;
    const bodiless = exchange.method === Method.HEAD || status === 204 || status === 304;
    const framing = tunnel || bodiless ? Framing.NONE : head.framing;
    const end = !tunnel && (bodiless || (framing === Framing.LENGTH && head.contentLength === 0));
    exchange.persistent = head.persistent && framing !== Framing.UNTIL_CLOSE && !tunnel;
    this.body.begin(framing, head.contentLength);
    exchange.remoteEnded = end;
    exchange.handler.onHead(exchange, head.list, end);
    if (tunnel && !this.takenOver && !exchange.dead) this.fail(Fault.UNEXPECTED_SWITCH);
    else if (end) this.settle(exchange);
  }

  private inform(exchange: Http1Exchange, head: ParsedHead): void {
    const switches = head.status === 101;
    if (switches && !exchange.upgradeAsked) this.fail(Fault.UNEXPECTED_SWITCH);
    else if (++exchange.informational > this.limits.maxInformational) this.fail(Fault.TOO_MANY_INFORMATIONAL);
    else {
      exchange.handler.onHead(exchange, head.list, false);
      if (switches && !this.takenOver && !exchange.dead) this.fail(Fault.UNEXPECTED_SWITCH);
    }
  }

  protected finish(exchange: Http1Exchange): void {
    if (this.hasUnread) this.fail(Fault.UNSOLICITED);
    else if (!exchange.persistent || this.draining || this.io.readEnded) this.destroy();
    else this.owner.onIdle(this);
  }

  abandon(exchange: Http1Exchange, _errorCode: number): void {
    this.judgeRetry(exchange);
    this.dead = true;
    this.held.clear();
    this.kill(exchange);
    this.io.destroy();
  }

  protected fail(fault: number): void {
    if (this.dead) return;
    const error = this.countFault(fault);
    const exchange = this.current;
    this.dead = true;
    this.held.clear();
    if (exchange !== null) {
      exchange.fault = error;
      this.judgeRetry(exchange);
      this.kill(exchange);
    }
    this.io.destroy();
    exchange?.handler.onReset(exchange, ErrorCode.PROTOCOL_ERROR);
  }

  protected override cut(errorCode: number): void {
    if (this.current !== null) this.judgeRetry(this.current);
    super.cut(errorCode);
  }

  private judgeRetry(exchange: Http1Exchange): void {
    exchange.refused = !this.established || this.io.bytesOut <= exchange.sentMark;
    exchange.canRetry = exchange.refused || (!this.answerBegan && isIdempotent(exchange.method));
  }

  protected peerEnded(): void {
    if (this.endBodyByClose() || this.dead) return;
    if (this.current !== null && this.answerBegan) this.fail(Fault.TRUNCATED);
    else this.destroy();
  }

  protected override timedOut(phase: number): void {
    // How long an answer may take is for the caller's deadline to say.
    if (phase !== Phase.HEAD && phase !== Phase.BODY) super.timedOut(phase);
    else if (this.current === null) this.close();
  }

  protected reportClosed(error: Error | null): void {
    this.owner.onClosed(this, error);
  }
}
