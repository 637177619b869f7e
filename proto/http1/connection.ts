/**
 * What both ends of an HTTP/1.1 connection share: one exchange at a time, bytes in through heads and bodies, bytes out
 * with framing, back-pressure both ways, and the end in all its forms.
 *
 * Rules it keeps: a byte is read as part of exactly one message, or kept until its message's turn comes; nothing is read
 * after a fault; an exchange gets `onReset` at most once and nothing after it; the owner gets `onClosed` exactly once.
 */
import type { Clock } from '../../base/clock.ts';
import { ErrorCode } from '../http2/frames.ts';
import type { HeaderList } from '../http2/header-list.ts';
import type { ByteReader, ByteSocket } from '../io/byte-socket.ts';
import type { BufferHolder } from '../io/memory-budget.ts';
import { BodyReader } from './body-reader.ts';
import type { ChunkSink } from './chunked-decoder.ts';
import { Http1Counter, noCounters } from './counters.ts';
import type { Http1Exchange, TakenConnection } from './exchange.ts';
import { Http1Error } from './faults.ts';
import { HeadFinder } from './head-finder.ts';
import { FAULTY, type HeadParser } from './head-parser.ts';
import { HeldBytes } from './held-bytes.ts';
import type { Http1Limits } from './limits.ts';
import { sendQueued } from './message-sender.ts';
import { allowedMs, Phase, PhaseWatch } from './phase-watch.ts';
import { addToSweep, removeFromSweep } from './sweep.ts';

export interface Http1ConnectionOptions {
  /** Shared by the connections of a thread that have the same limits. */
  readonly parser: HeadParser;
  readonly clock: Clock;
  /** Slots of `Http1Counter`; shared by all connections of a listener or cluster. */
  readonly counters?: Float64Array;
  /** Whether the thread's sweep looks after timeouts (default), or the owner calls `checkTimeouts` itself. */
  readonly swept?: boolean;
}

export abstract class Http1Connection implements ByteReader, ChunkSink, BufferHolder {
  readonly io: ByteSocket;
  readonly parser: HeadParser;
  readonly limits: Http1Limits;
  readonly counters: Float64Array;
  /** For the owner's own use. */
  context: unknown = null;
  /** No more messages are read or written. */
  dead = false;
  /** No exchange begins after the current one. */
  draining = false;
  /** The socket was handed to somebody else. */
  takenOver = false;
  /** Exchanges begun. */
  exchanges = 0;
  /** The exchange in progress. */
  current: Http1Exchange | null = null;
  protected readonly clock: Clock;
  protected closeError: Error | null = null;
  protected readonly heads: HeadFinder;
  /** In a `read`: callbacks must not start another. */
  protected reading = false;
  protected readonly held = new HeldBytes(this);
  protected readonly body: BodyReader;
  private paused = false;
  /** The part of the buffer being read that no message has claimed. */
  private inBuffer: Buffer = EMPTY;
  private inAt = 0;
  private inEnd = 0;
  private readonly watch = new PhaseWatch();
  private closeReported = false;

  constructor(io: ByteSocket, options: Http1ConnectionOptions) {
    this.io = io;
    this.parser = options.parser;
    this.limits = options.parser.limits;
    this.clock = options.clock;
    this.counters = options.counters ?? noCounters();
    this.heads = new HeadFinder(options.parser);
    this.body = new BodyReader(options.parser, this);
    io.reader = this;
    if (options.swept !== false) addToSweep(this);
  }

  /** Reads heads at `at`; the index after what it used, or `at` when nothing can be used now. */
  protected abstract readHead(buffer: Buffer, at: number, end: number): number;
  /** Both messages of the exchange are complete. */
  protected abstract finish(exchange: Http1Exchange): void;
  /** The peer broke the rules. */
  protected abstract fail(fault: number): void;
  /** The peer will send no more, and no body ended by it. */
  protected abstract peerEnded(): void;
  /** The socket is gone or given away; `onClosed` of the owner. */
  protected abstract reportClosed(error: Error | null): void;
  abstract writeHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void;
  abstract writeContinue(exchange: Http1Exchange): void;
  /** Ends an exchange that is not complete. */
  abstract abandon(exchange: Http1Exchange, errorCode: number): void;

  // ---- bytes in ------------------------------------------------------------------------------------------------

  onBytes(buffer: Buffer, length: number): void {
    if (this.dead) return;
    if (this.held.length > 0) {
      this.held.append(buffer, 0, length);
      this.readHeld();
      return;
    }
    const at = this.read(buffer, 0, length);
    if (at < length && !this.dead) {
      this.held.append(buffer, at, length);
      this.updateReading();
    }
  }

  /** Reads on in what was kept, when its turn may have come. */
  protected readHeld(): void {
    const { held } = this;
    if (this.reading || held.length === 0 || this.dead) return;
    const { buffer } = held;
    const at = this.read(buffer, held.start, held.end);
    if (this.dead) held.clear();
    else held.dropUntil(at);
    this.updateReading();
  }

  private read(buffer: Buffer, at: number, end: number): number {
    this.reading = true;
    this.inBuffer = buffer;
    this.inEnd = end;
    while (at < end && !this.dead) {
      this.inAt = at;
      const next = this.body.active ? this.readBody(buffer, at, end) : this.readHead(buffer, at, end);
      if (next === at) break;
      at = next;
    }
    this.reading = false;
    this.inBuffer = EMPTY;
    this.inAt = 0;
    this.inEnd = 0;
    return at;
  }

  /** Whether bytes lie there that belong to no message yet. */
  protected get hasUnread(): boolean {
    return this.reading ? this.inAt < this.inEnd : this.held.length > 0;
  }

  /** Marks everything before `at` as read: for callbacks that ask what is left. */
  protected claim(at: number): void {
    this.inAt = at;
  }

  private readBody(buffer: Buffer, at: number, end: number): number {
    const next = this.body.read(buffer, at, end);
    if (next !== FAULTY) return next;
    this.fail(this.body.fault);
    return end;
  }

  // ChunkSink
  bodyBytes(buffer: Buffer, start: number, end: number, last: boolean): boolean {
    this.claim(this.body.position);
    this.deliver(buffer, start, end, last);
    return !this.dead;
  }

  // ChunkSink
  bodyEnd(trailers: HeaderList | null): void {
    this.claim(this.body.position);
    const exchange = this.current!;
    if (trailers === null || exchange.discarding) {
      this.deliver(EMPTY, 0, 0, true);
      return;
    }
    this.body.stop();
    exchange.remoteEnded = true;
    exchange.handler.onTrailers(exchange, trailers);
    this.settle(exchange);
  }

  private deliver(buffer: Buffer, start: number, end: number, last: boolean): void {
    const exchange = this.current!;
    if (last) {
      this.body.stop();
      exchange.remoteEnded = true;
    }
    if (exchange.discarding) {
      exchange.discardedBytes += end - start;
      if (exchange.discardedBytes > this.limits.maxDiscardBytes) {
        this.kill(exchange);
        this.close();
        return;
      }
    } else {
      exchange.outstanding += end - start;
      exchange.handler.onData(exchange, buffer, start, end, last);
      if (exchange.outstanding > this.limits.windowBytes || this.paused) this.updateReading();
    }
    if (last) this.settle(exchange);
  }

  /** A body that the connection's end delimits has ended; false when there is none. */
  protected endBodyByClose(): boolean {
    if (!this.body.endsByClose) return false;
    this.deliver(EMPTY, 0, 0, true);
    return true;
  }

  /** Moves on when both messages are complete. */
  settle(exchange: Http1Exchange): void {
    if (!exchange.localEnded || !exchange.remoteEnded || exchange.dead || this.current !== exchange) return;
    this.current = null;
    this.finish(exchange);
    if (this.dead) return;
    this.readHeld();
    if (this.paused) this.updateReading();
  }

  credit(exchange: Http1Exchange): void {
    if (this.paused && exchange === this.current) this.updateReading();
  }

  /** Reading pauses while a consumer is behind, or while too much is kept for later; it resumes well below the bound. */
  protected updateReading(): void {
    const { current, limits, held } = this;
    const behind = current !== null && !current.remoteEnded && !current.discarding ? current.outstanding : 0;
    const blocked = current?.remoteEnded === true || !this.io.writable;
    const waiting = blocked ? held.length : 0;
    if (!this.paused) {
      if (behind <= limits.windowBytes && waiting <= limits.maxPipelinedBytes) return;
      this.paused = true;
      this.io.pauseReading();
    } else if (behind <= limits.windowBytes >>> 1 && waiting <= limits.maxPipelinedBytes && !this.dead) {
      this.paused = false;
      this.io.resumeReading();
    }
  }

  // ---- bytes out -----------------------------------------------------------------------------------------------

  onDrained(): void {
    const exchange = this.current;
    if (exchange === null) {
      // Requests wait for the peer to read its answers.
      this.readHeld();
      return;
    }
    sendQueued(this, exchange);
  }

  // ---- the end -------------------------------------------------------------------------------------------------

  onEnd(): void {
    if (this.takenOver) return;
    if (this.dead) this.io.destroy();
    else this.peerEnded();
  }

  onClosed(error: Error | null): void {
    if (this.takenOver) return;
    this.dead = true;
    this.held.clear();
    this.cut(ErrorCode.CANCEL);
    this.reportOnce(error ?? this.closeError);
  }

  /** Ends the connection now; an exchange in progress is reset. */
  destroy(): void {
    this.dead = true;
    this.held.clear();
    this.cut(ErrorCode.CANCEL);
    this.io.destroy();
  }

  /** Sends FIN behind what was written, and waits a little for the peer's. */
  protected close(): void {
    if (this.dead) return;
    this.dead = true;
    this.held.clear();
    this.io.end();
    if (this.paused) this.io.resumeReading();
  }

  /** Resets the exchange in progress. */
  protected cut(errorCode: number): void {
    const exchange = this.current;
    if (exchange === null) return;
    this.current = null;
    this.kill(exchange);
    this.counters[Http1Counter.CUT]!++;
    if (!exchange.discarding) exchange.handler.onReset(exchange, errorCode);
  }

  protected kill(exchange: Http1Exchange): void {
    exchange.dead = true;
    exchange.clearQueue();
    if (this.current === exchange) this.current = null;
    this.body.stop();
  }

  /** The thread holds too much, and this exchange's peer takes too little. */
  shedExchange(exchange: Http1Exchange): void {
    if (exchange.dead) return;
    this.counters[Http1Counter.MEMORY_SHEDS]!++;
    this.abandon(exchange, ErrorCode.ENHANCE_YOUR_CALM);
    exchange.handler.onReset(exchange, ErrorCode.ENHANCE_YOUR_CALM);
  }

  /** Bytes kept for later (`MemoryBudget`). */
  get heldBytes(): number {
    return this.held.length;
  }

  shed(): void {
    this.counters[Http1Counter.MEMORY_SHEDS]!++;
    this.destroy();
  }

  protected countFault(fault: number): Http1Error {
    this.counters[Http1Counter.FAULTS + fault]!++;
    const error = new Http1Error(fault);
    this.closeError ??= error;
    return error;
  }

  takeOver(exchange: Http1Exchange): TakenConnection {
    const unread = this.reading
      ? Buffer.from(this.inBuffer.subarray(this.inAt, this.inEnd))
      : Buffer.from(this.held.buffer.subarray(this.held.start, this.held.end));
    this.held.clear();
    this.dead = true;
    this.takenOver = true;
    this.kill(exchange);
    if (this.paused) this.io.resumeReading();
    this.reportOnce(null);
    return { io: this.io, unread };
  }

  private reportOnce(error: Error | null): void {
    if (this.closeReported) return;
    this.closeReported = true;
    removeFromSweep(this);
    this.reportClosed(error);
  }

  // ---- timeouts ------------------------------------------------------------------------------------------------

  /** Ends what has waited too long. Called by the sweep, a few times a second. */
  checkTimeouts(): void {
    const phase = this.phaseNow();
    const waitedMs = this.watch.waitedMs(phase, this.markOf(phase), this.clock.nowMs());
    if (waitedMs >= allowedMs(this.limits, phase, this.draining, this.held.length > 0)) this.timedOut(phase);
  }

  private phaseNow(): number {
    if (this.dead) return this.io.pendingBytes > 0 ? Phase.SENDING : Phase.LINGERING;
    const { current } = this;
    if (!this.io.writable) return Phase.SENDING;
    if (current === null) return this.held.length > 0 || this.exchanges === 0 ? Phase.HEAD : Phase.IDLE;
    return current.remoteEnded || this.paused ? Phase.ANSWER : Phase.BODY;
  }

  /** Something that changes when the phase makes progress. Bytes of a head are none: it has one deadline. */
  private markOf(phase: number): number {
    if (phase === Phase.BODY) return this.io.bytesIn;
    if (phase === Phase.SENDING) return this.io.takenBytes;
    return this.exchanges;
  }

  protected timedOut(phase: number): void {
    switch (phase) {
      case Phase.IDLE:
        this.counters[Http1Counter.IDLE_TIMEOUTS]!++;
        this.close();
        return;
      case Phase.SENDING:
        this.counters[Http1Counter.SEND_TIMEOUTS]!++;
        this.destroy();
        return;
      case Phase.LINGERING:
        this.io.destroy();
        return;
      default:
    }
  }

  protected begin(exchange: Http1Exchange): void {
    this.current = exchange;
    this.exchanges++;
    this.counters[Http1Counter.EXCHANGES]!++;
  }
}

const EMPTY = Buffer.alloc(0);
