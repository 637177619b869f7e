/**
 * A stream of requests (ModelStreamInfer) as its caller sees it, whoever answers its messages: the DATA that comes is cut
 * into messages, the caller's window stays closed while too much is under way, and the stream ends. What becomes of a
 * message is its heir's: `ModelStream` (clusters of a model) and `PipelineStream` (runs of a pipeline).
 *
 * Rules: once `ended`, no message is taken and nothing more is sent; the exchange is finished exactly once, in `end` or in
 * `failWith`. Bounds: `maxMessages` without an answer, `maxMessageBytes` each; at either the stream ends with its error.
 */
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { WheelTimer } from '../../base/timer-wheel.ts';
import { MessageReader } from '../../proto/grpc/message-framing.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { ACCESS_FLAG_CANCELLED } from '../access-log.ts';
import type { DataPlane } from '../request/data-plane.ts';
import type { Exchange } from '../request/exchange.ts';
import { RequestEnd } from '../stats/slots.ts';

/** Bytes waiting to leave on one stream above which nothing is read that would add to them. */
export const MAX_QUEUED_BYTES: number = 1024 * 1024;

export abstract class RequestStream extends WheelTimer implements StreamHandler {
  readonly plane: DataPlane;
  readonly exchange: Exchange;
  /** The caller has sent its last message. */
  requestsEnded = false;
  ended = false;
  protected readonly down: Http2Stream;
  protected readonly reader: MessageReader;
  private readonly maxMessages: number;
  private readonly tooLarge: ProxyError;
  /** Messages without an answer that has gone out, in their order. */
  abstract readonly messages: readonly unknown[];

  /** `tooLarge` is how a message of more than `maxMessageBytes` ends the stream. */
  constructor(
    plane: DataPlane,
    exchange: Exchange,
    maxMessages: number,
    maxMessageBytes: number,
    tooLarge: ProxyError,
  ) {
    super();
    this.plane = plane;
    this.exchange = exchange;
    this.down = exchange.down as Http2Stream;
    this.reader = new MessageReader(maxMessageBytes);
    this.maxMessages = maxMessages;
    this.tooLarge = tooLarge;
  }

  /** Begins with what had come before it was known who answers. */
  start(body: Buffer, length: number): void {
    this.read(body, 0, length);
    if (this.exchange.bodyEnded) this.endRequests();
    this.credit();
  }

  onHeaders(_stream: Http2Stream, _headers: HeaderList, endStream: boolean): void {
    if (endStream) this.endRequests();
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.ended) {
      stream.consume(end - start);
      return;
    }
    this.exchange.bodyBytes += end - start;
    this.read(buffer, start, end);
    if (endStream) this.endRequests();
    this.credit();
  }

  onSent(): void {
    this.credit();
  }

  onReset(): void {
    if (this.ended) return;
    this.exchange.flag = ACCESS_FLAG_CANCELLED;
    this.exchange.end = RequestEnd.CANCELLED;
    this.end();
  }

  /** Opens the caller's window again unless enough is under way. */
  credit(): void {
    const { down } = this;
    if (this.ended || down.outstanding === 0 || !this.takesRequests) return;
    down.consume(down.outstanding);
  }

  /** Ends the stream with an error of ours. */
  failWith(error: ProxyError): void {
    if (this.ended) return;
    this.close();
    this.plane.fail(this.exchange, error);
  }

  // ---- what its heir says --------------------------------------------------------------------------------------

  /** Whether more may be under way than is. */
  protected abstract get takesRequests(): boolean;

  /** The message in `reader` is complete; its bytes are valid only during the call. */
  protected abstract take(): void;

  /** All messages have come, whole; those in `messages` are still to be answered. */
  protected requestsOver(): void {}

  /** Everything asked is answered: says so to the caller and ends. */
  abstract finish(): void;

  /** Lets go of what is under way: the stream is over. */
  protected abstract letGo(): void;

  // ---- what it may use -----------------------------------------------------------------------------------------

  /** An answer has gone out: the end, when it was the last, or room for more. */
  protected proceed(): void {
    if (this.requestsEnded && this.messages.length === 0) this.finish();
    else this.credit();
  }

  /** The caller has heard all, or has gone. */
  protected end(): void {
    if (this.ended) return;
    this.close();
    this.plane.finish(this.exchange);
  }

  private close(): void {
    this.ended = true;
    this.plane.wheel.disarm(this);
    this.letGo();
  }

  private read(buffer: Buffer, start: number, end: number): void {
    const { reader } = this;
    try {
      reader.feed(buffer, start, end);
      while (!this.ended && reader.next()) {
        if (this.messages.length >= this.maxMessages) this.failWith(ProxyErrors.streamOverflow);
        else this.take();
      }
    } catch (error) {
      // Framing is lost: nothing that follows can be read.
      if (!(error instanceof WireError)) throw error;
      this.failWith(error.reason === 'too_large' ? this.tooLarge : ProxyErrors.badRequest);
    }
  }

  private endRequests(): void {
    if (this.ended || this.requestsEnded) return;
    this.requestsEnded = true;
    this.exchange.bodyEnded = true;
    if (!this.reader.atBoundary) {
      this.failWith(ProxyErrors.badRequest);
      return;
    }
    this.requestsOver();
    if (this.messages.length === 0) this.finish();
  }
}
