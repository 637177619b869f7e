/**
 * One gRPC call with one request message: its stream, its deadline, and exactly one end. Request bytes are credited back
 * as they come, so a large message is bounded by its own limit and by the server's limit for all messages in progress,
 * not by the flow-control window.
 */
import type { Clock } from '../../base/clock.ts';
import { GrpcStatus } from '../../base/grpc-status.ts';
import { MessageReader, PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { cutMessage, WorkerError } from '../worker-error.ts';
import { type CallHead, readCallHead } from './call-head.ts';
import { failureHeaders, failureTrailers, NOT_GRPC, REPLY_HEAD, TRAILERS_OK, unknownEncoding } from './replies.ts';
import { inflateRequest } from './request-inflation.ts';
import { type TaskTiming, timingTrailers } from './task-timing.ts';

/** What answers the calls of one path. */
export interface GrpcMethod {
  /** `/package.Service/Method`. */
  readonly path: string;
  /**
   * Takes the request message, valid only during the call. Leads to exactly one `finishReply`, `fail` or `end` of the
   * call, now or later, unless the caller goes away first. May throw WireError or WorkerError.
   */
  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void;
}

/** What calls share: the server they arrived at. */
export interface CallHost {
  readonly clock: Clock;
  readonly methods: ReadonlyMap<string, GrpcMethod>;
  readonly maxMessageBytes: number;
  /** Most bytes of incomplete and inflating messages at once. */
  readonly maxPendingBytes: number;
  /** Gauge kept by the calls. */
  pendingBytes: number;
}

/** Work that can be told that nobody waits for it any more. */
export interface Cancellable {
  cancel(): void;
}

/** Answers up to this size are written into one shared buffer. */
const SCRATCH_BYTES = 65_536;
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

export class GrpcCall implements StreamHandler {
  readonly stream: Http2Stream;
  /** When the caller stops waiting, on the host's clock; Infinity when it never does. */
  deadlineMs = Number.POSITIVE_INFINITY;
  /** What to cancel when the caller goes away. */
  cancellable: Cancellable | null = null;
  /** The call has ended: answered, failed, or abandoned by its caller. */
  ended = false;
  private readonly host: CallHost;
  private callHead: CallHead | null = null;
  private method: GrpcMethod | null = null;
  private reader: MessageReader | null = null;
  /** The request message is complete; what follows it can only be a mistake. */
  private received = false;
  private pendingBytes = 0;
  private headSent = false;

  constructor(stream: Http2Stream, host: CallHost) {
    this.stream = stream;
    this.host = host;
  }

  /** The request's headers, read. Only once they have arrived, which is before any method sees the call. */
  get head(): CallHead {
    return this.callHead!;
  }

  onHeaders(_stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.callHead === null) this.begin(headers);
    // A second section is the request's trailers, which say nothing to us.
    if (endStream && !this.received && !this.ended) this.failWithoutMessage();
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.ended) {
      stream.consume(end - start);
      return;
    }
    try {
      if (this.received) this.refuseSecondMessage(start, end);
      else if (this.reader === null && isWholeMessage(buffer, start, end, this.host.maxMessageBytes)) {
        this.receive(buffer, start + PREFIX_BYTES, end, buffer[start] === 1);
      } else this.readMore(buffer, start, end);
    } catch (error) {
      this.failWith(error);
    }
    stream.consume(end - start);
    if (endStream && !this.received && !this.ended) this.failWithoutMessage();
  }

  onSent(): void {}

  onReset(): void {
    this.finish();
    this.cancellable?.cancel();
    this.cancellable = null;
  }

  /** A buffer with the prefix of an answer of `messageBytes` written; the message goes behind it, at `PREFIX_BYTES`. */
  beginReply(messageBytes: number): Buffer {
    const size = PREFIX_BYTES + messageBytes;
    const buf = size <= SCRATCH_BYTES ? scratch : Buffer.allocUnsafe(size);
    writeMessagePrefix(buf, 0, messageBytes, false);
    return buf;
  }

  /** Sends what `beginReply` gave as the one answer of the call and ends it with OK, telling `timing` if it asked. */
  finishReply(buf: Buffer, messageBytes: number, timing: TaskTiming | null = null): void {
    if (this.ended) return;
    this.streamReply(buf, messageBytes);
    const tells = timing !== null && this.head.wantsTiming;
    this.stream.sendHeaders(tells ? timingTrailers(timing) : TRAILERS_OK, true);
    this.finish();
  }

  /** Sends what `beginReply` gave as one of several answers. */
  streamReply(buf: Buffer, messageBytes: number): void {
    if (this.ended) return;
    if (!this.headSent) this.stream.sendHeaders(REPLY_HEAD, false);
    this.headSent = true;
    this.stream.sendData(buf, 0, PREFIX_BYTES + messageBytes, false);
  }

  /** Answers with a ready message and ends the call. */
  reply(message: Buffer, timing: TaskTiming | null = null): void {
    const buf = this.beginReply(message.length);
    message.copy(buf, PREFIX_BYTES);
    this.finishReply(buf, message.length, timing);
  }

  /** Ends the call with a failure. Does nothing once it has ended. */
  fail(error: WorkerError): void {
    this.failStatus(error.code, error.message, error.reason);
  }

  failStatus(code: number, message: string, reason = ''): void {
    if (this.headSent) this.end(failureTrailers(code, cutMessage(message)));
    else this.end(failureHeaders(code, cutMessage(message), reason));
  }

  /** Ends the call with a header section. A caller still sending is told to stop. */
  end(headers: HeaderList): void {
    if (this.ended) return;
    this.stream.sendHeaders(headers, true);
    this.finish();
    if (!this.stream.remoteEnded && !this.received) this.stream.reset(ErrorCode.NO_ERROR);
  }

  /** Hands the complete, uncompressed message to its method. */
  deliver(buffer: Buffer, start: number, end: number): void {
    if (this.ended) return;
    try {
      this.method!.handle(this, buffer, start, end);
    } catch (error) {
      this.failWith(error);
    }
  }

  /** Ends the call with whatever was thrown while reading it. Anything but an operating error is thrown on. */
  failWith(error: unknown): void {
    if (error instanceof WorkerError) this.fail(error);
    else if (error instanceof WireError) this.failStatus(wireErrorStatus(error), error.message);
    else throw error;
  }

  /** Counts bytes that this call keeps in the host's sum of pending bytes. */
  hold(bytes: number): void {
    this.pendingBytes += bytes;
    this.host.pendingBytes += bytes;
  }

  /** Takes what was held out of the sum. */
  release(): void {
    this.host.pendingBytes -= this.pendingBytes;
    this.pendingBytes = 0;
  }

  private begin(headers: HeaderList): void {
    const head = readCallHead(headers);
    this.callHead = head;
    if (!head.isGrpc) {
      this.end(NOT_GRPC);
      return;
    }
    this.method = this.host.methods.get(head.path) ?? null;
    if (this.method === null) {
      this.failStatus(GrpcStatus.UNIMPLEMENTED, `${head.path} is not served here`);
    } else if (head.encoding === null) {
      this.end(unknownEncoding(head.encodingName));
    } else if (Number.isNaN(head.timeoutMs)) {
      this.failStatus(GrpcStatus.INVALID_ARGUMENT, 'grpc-timeout is malformed');
    } else if (head.timeoutMs !== Number.POSITIVE_INFINITY) {
      this.deadlineMs = this.host.clock.nowMs() + head.timeoutMs;
    }
  }

  private receive(buffer: Buffer, start: number, end: number, compressed: boolean): void {
    this.received = true;
    if (!compressed) this.method!.handle(this, buffer, start, end);
    else inflateRequest(this, this.host.maxMessageBytes, buffer, start, end);
  }

  /** A message spread over chunks: keeps what has come, within both bounds. */
  private readMore(buffer: Buffer, start: number, end: number): void {
    this.reader ??= new MessageReader(this.host.maxMessageBytes);
    this.reader.feed(buffer, start, end);
    if (this.reader.next()) {
      const { buffer: whole, start: from, end: to, compressed } = this.reader;
      this.release();
      this.receive(whole, from, to, compressed);
      if (!this.ended && this.reader.next()) this.refuseSecondMessage(0, 1);
      this.reader = null;
      return;
    }
    this.hold(end - start);
    if (this.host.pendingBytes <= this.host.maxPendingBytes) return;
    const message = `requests in progress hold more than ${this.host.maxPendingBytes} bytes`;
    this.failStatus(GrpcStatus.RESOURCE_EXHAUSTED, message);
  }

  private refuseSecondMessage(start: number, end: number): void {
    if (end <= start) return;
    this.cancellable?.cancel();
    this.cancellable = null;
    this.failStatus(GrpcStatus.INVALID_ARGUMENT, 'a unary call has one request message, more came');
  }

  private failWithoutMessage(): void {
    this.failStatus(GrpcStatus.INVALID_ARGUMENT, 'the request ended before its message did');
  }

  private finish(): void {
    this.ended = true;
    this.reader = null;
    this.release();
  }
}

/** Whether a chunk is exactly one message of a legal length. Everything else takes the slower way. */
function isWholeMessage(buffer: Buffer, start: number, end: number, maxBytes: number): boolean {
  const length = end - start - PREFIX_BYTES;
  if (length < 0 || length > maxBytes || buffer[start]! > 1) return false;
  const claimed =
    buffer[start + 1]! * 16_777_216 + (buffer[start + 2]! << 16) + (buffer[start + 3]! << 8) + buffer[start + 4]!;
  return claimed === length;
}

/** Bytes that are no message are the caller's mistake: it must not count against the model. */
function wireErrorStatus(error: WireError): number {
  return error.reason === 'too_large' ? GrpcStatus.RESOURCE_EXHAUSTED : GrpcStatus.INVALID_ARGUMENT;
}
