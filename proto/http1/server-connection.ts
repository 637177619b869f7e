/**
 * The server's end: requests in, one after the other; answers out in the same order. What follows a request that is not
 * answered yet is kept within `maxPipelinedBytes` and read when its turn comes.
 */
import { ErrorCode } from '../http2/frames.ts';
import { HeaderList } from '../http2/header-list.ts';
import type { ByteSocket } from '../io/byte-socket.ts';
import { CR, LF } from './characters.ts';
import { Http1Connection, type Http1ConnectionOptions } from './connection.ts';
import { Http1Exchange, type Http1Handler } from './exchange.ts';
import { Fault, type Http1Error } from './faults.ts';
import { FAULTY, INCOMPLETE } from './head-parser.ts';
import { planOf, Variant } from './head-plan.ts';
import { Method } from './methods.ts';
import { Framing, type ParsedHead } from './parsed-head.ts';
import { Phase } from './phase-watch.ts';
import { reasonPhrase } from './reason-phrases.ts';
import { SendMode } from './send-mode.ts';

/** What a server's connection tells its owner. */
export interface Http1ServerOwner {
  /** A request begins; returns its handler, whose `onHead` follows at once. `exchange.head` and `method` are set. */
  acceptExchange(exchange: Http1Exchange): Http1Handler;
  /** The client broke the rules; it is being answered and the connection ends. For counting and logging. */
  onFault(connection: Http1ServerConnection, error: Http1Error): void;
  /** The connection is gone or taken over; an exchange in progress has had its `onReset`. */
  onClosed(connection: Http1ServerConnection, error: Error | null): void;
}

export interface Http1ServerConnectionOptions extends Http1ConnectionOptions {
  readonly owner: Http1ServerOwner;
  /**
   * Answer `expect: 100-continue` as soon as the handler has seen the head and not answered. Default true; a proxy that
   * forwards the expectation sets it false and relays the upstream's answer, or calls `sendContinue`.
   */
  readonly autoContinue?: boolean;
  /**
   * Go on answering a client that has closed its sending side. Default false: for HTTP a FIN during a request nearly
   * always means that the client is gone, and its request is cancelled.
   */
  readonly halfClose?: boolean;
}

const CONTINUE: Buffer = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');

export class Http1ServerConnection extends Http1Connection {
  readonly owner: Http1ServerOwner;
  private readonly autoContinue: boolean;
  private readonly halfClose: boolean;
  private emptyLineSeen = false;

  constructor(io: ByteSocket, options: Http1ServerConnectionOptions) {
    super(io, options);
    this.owner = options.owner;
    this.autoContinue = options.autoContinue ?? true;
    this.halfClose = options.halfClose ?? false;
  }

  /**
   * Graceful end: the next answer says `connection: close` and FIN follows it. A connection without a request waits
   * `drainIdleMs` for one that may be on its way.
   */
  drain(): void {
    this.draining = true;
  }

  protected readHead(buffer: Buffer, at: number, end: number): number {
    if (this.current !== null || !this.io.writable) return at;
    if (this.heads.repeats(buffer, at, end)) {
      const last = this.heads.last!;
      const next = at + last.bytes!.length;
      this.claim(next);
      this.beginExchange(last);
      return next;
    }
    if (buffer[at] === CR || buffer[at] === LF) return this.skipEmptyLine(buffer, at, end);
    const next = this.heads.find(buffer, at, end);
    if (next === INCOMPLETE) return at;
    if (next === FAULTY) {
      this.fail(this.parser.fault);
      return end;
    }
    const head = this.parser.parseRequest(buffer, at, next);
    if (head === null) {
      this.fail(this.parser.fault);
      return next;
    }
    this.heads.last = head.bytes === null ? null : head;
    this.claim(next);
    this.beginExchange(head);
    return next;
  }

  /** One empty line before a request is forgiven (RFC 9112, section 2.2). */
  private skipEmptyLine(buffer: Buffer, at: number, end: number): number {
    if (buffer[at] === CR && at + 1 === end) return at;
    if (buffer[at] === CR && buffer[at + 1] === LF && !this.emptyLineSeen) {
      this.emptyLineSeen = true;
      return at + 2;
    }
    this.fail(buffer[at] === LF ? Fault.BARE_LF : Fault.BAD_REQUEST_LINE);
    return end;
  }

  private beginExchange(head: ParsedHead): void {
    const exchange = new Http1Exchange(this, this.exchanges + 1, NOBODY);
    this.begin(exchange);
    this.emptyLineSeen = false;
    exchange.head = head;
    exchange.method = head.methodCode;
    exchange.headReceived = true;
    const end = head.framing === Framing.NONE || (head.framing === Framing.LENGTH && head.contentLength === 0);
    exchange.expectsContinue = head.expectsContinue && !end;
    this.body.begin(head.framing, head.contentLength);
    // The bytes after a CONNECT are the tunnel's; whoever answers it says whether there is one.
    exchange.remoteEnded = end;
    exchange.handler = this.owner.acceptExchange(exchange);
    exchange.handler.onHead(exchange, head.list, end);
    if (exchange.expectsContinue && this.autoContinue) exchange.sendContinue();
    if (end) this.settle(exchange);
  }

  writeContinue(exchange: Http1Exchange): void {
    exchange.expectsContinue = false;
    this.io.write(CONTINUE, 0, CONTINUE.length);
  }

  writeHead(exchange: Http1Exchange, list: HeaderList, end: boolean): void {
    const plan = planOf(list);
    const { status } = plan;
    const request = exchange.head!;
    if (!plan.expressible || status === 0) {
      this.writeHead(exchange, BAD_ANSWER, true);
      return;
    }
    if (status < 200 && status !== 101) {
      // HTTP/1.0 knows no informational answers (RFC 9110, section 15.2).
      if (request.minor === 0) return;
      if (status === 100) exchange.expectsContinue = false;
      this.writeBytes(plan.bytes(Variant.NO_LENGTH));
      return;
    }
    exchange.headSent = true;
    if (status === 101 || (exchange.method === Method.CONNECT && status < 300)) {
      exchange.sendMode = SendMode.UNTIL_CLOSE;
      exchange.persistent = false;
      this.writeBytes(plan.bytes(Variant.NO_LENGTH | (status === 101 ? Variant.UPGRADE : 0)));
      return;
    }
    let variant: number = Variant.PLAIN;
    // A client that still waits for 100 may send its body or not: what comes next cannot be told apart.
    let close = !request.persistent || this.draining || exchange.expectsContinue;
    const bodiless = exchange.method === Method.HEAD || status === 204 || status === 304;
    if (bodiless) {
      exchange.sendMode = SendMode.DROPPED;
      if (status === 204) variant = Variant.NO_LENGTH;
    } else if (plan.contentLength >= 0 && !(end && plan.contentLength > 0)) {
      exchange.sendMode = SendMode.LENGTH;
      exchange.sendLeft = plan.contentLength;
    } else if (end) {
      exchange.sendMode = SendMode.LENGTH;
      variant = Variant.EMPTY;
    } else if (request.minor === 1) {
      exchange.sendMode = SendMode.CHUNKED;
      variant = Variant.CHUNKED;
    } else {
      exchange.sendMode = SendMode.UNTIL_CLOSE;
      variant = Variant.NO_LENGTH;
      close = true;
    }
    if (close) variant |= Variant.CLOSE;
    else if (request.minor === 0) variant |= Variant.KEEP_ALIVE;
    exchange.persistent = !close;
    this.writeBytes(plan.bytes(variant));
    if (end) {
      exchange.localEnded = true;
      this.settle(exchange);
    }
  }

  private writeBytes(bytes: Buffer): void {
    this.io.write(bytes, 0, bytes.length);
  }

  protected finish(exchange: Http1Exchange): void {
    const over = this.io.readEnded && this.held.length === 0;
    if (!exchange.persistent || over) this.close();
  }

  abandon(exchange: Http1Exchange, _errorCode: number): void {
    if (exchange.localEnded && !exchange.remoteEnded && !this.dead) {
      exchange.discarding = true;
      if (!exchange.persistent) {
        this.kill(exchange);
        this.close();
      } else this.updateReading();
      return;
    }
    this.dead = true;
    this.held.clear();
    this.kill(exchange);
    // A body that ends with the connection must not look complete.
    if (exchange.sendMode === SendMode.UNTIL_CLOSE) this.io.reset();
    else this.io.destroy();
  }

  protected fail(fault: number): void {
    if (this.dead) return;
    const error = this.countFault(fault);
    const exchange = this.current;
    const answerable = exchange === null || !exchange.headSent;
    const answered = exchange?.localEnded === true;
    if (exchange !== null) {
      exchange.fault = error;
      this.kill(exchange);
    }
    if (answerable) this.writeBytes(faultAnswer(error));
    if (answerable || answered) this.close();
    else {
      this.dead = true;
      this.io.destroy();
    }
    if (exchange !== null && !exchange.discarding) exchange.handler.onReset(exchange, ErrorCode.PROTOCOL_ERROR);
    this.owner.onFault(this, error);
  }

  protected peerEnded(): void {
    const exchange = this.current;
    if (exchange === null) {
      this.close();
      return;
    }
    // What is only waiting for the socket still goes out.
    const complete = exchange.remoteEnded && (this.halfClose || exchange.endQueued);
    if (complete) this.draining = this.draining || this.held.length === 0;
    else this.destroy();
  }

  protected override timedOut(phase: number): void {
    if (phase === Phase.HEAD && this.held.length > 0) this.fail(Fault.HEAD_TIMEOUT);
    else if (phase === Phase.HEAD) this.close();
    else if (phase === Phase.BODY) this.fail(Fault.BODY_TIMEOUT);
    else super.timedOut(phase);
  }

  protected reportClosed(error: Error | null): void {
    this.owner.onClosed(this, error);
  }
}

/** The answer to a request that broke the rules. */
function faultAnswer(error: Http1Error): Buffer {
  const body = `${error.message}\n`;
  const head = `HTTP/1.1 ${error.status} ${reasonPhrase(error.status)}\r\ncontent-type: text/plain\r\n`;
  return Buffer.from(`${head}content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`, 'latin1');
}

/** Instead of an answer that HTTP/1.1 has no octets for. */
const BAD_ANSWER = HeaderList.of([':status', '502']);

/** Handler of an exchange until its owner has named one. */
const NOBODY: Http1Handler = {
  onHead(): void {},
  onData(): void {},
  onTrailers(): void {},
  onSent(): void {},
  onReset(): void {},
};
