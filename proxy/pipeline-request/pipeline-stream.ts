/**
 * ModelStreamInfer of a pipeline: the caller's stream, whose every message is a request of its own. They run side by side
 * and are answered in their order; who answered the steps of each is said in its answer's parameters. A message that fails
 * is answered with its error, and the stream goes on.
 *
 * Rule: the stream ends exactly once, in `end`. Bounds: `OPEN_MESSAGES` unanswered (then the caller's window stays closed),
 * `MAX_MESSAGES` at the very most, `MAX_QUEUED_BYTES` of answers the caller does not take; each message is bounded like any
 * request of the pipeline, and all together count in the thread's memory budget.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { WheelTimer } from '../../base/timer-wheel.ts';
import { MessageReader, PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import { type BufferHolder, threadMemory } from '../../proto/io/memory-budget.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { ACCESS_FLAG_CANCELLED, ACCESS_FLAG_FALLBACK } from '../access-log.ts';
import type { MeshPipeline } from '../mesh.ts';
import { framedCopy } from '../model-stream/stream-answers.ts';
import type { DataPlane } from '../request/data-plane.ts';
import type { Exchange } from '../request/exchange.ts';
import { inflateFramed } from '../routing/inflate-framed.ts';
import { MemoryVerdict, ProcessSlot, RequestEnd } from '../stats/slots.ts';
import { PipelineMessage } from './pipeline-message.ts';

/** Messages without an answer from which on the caller's window stays closed, and at which its stream ends. */
const OPEN_MESSAGES = 64;
const MAX_MESSAGES = 4096;
/** Answer bytes waiting for the caller above which its requests are not read. */
const MAX_QUEUED_BYTES = 1024 * 1024;

const TRAILERS_OK = HeaderList.of(['grpc-status', '0']);

export class PipelineStream extends WheelTimer implements StreamHandler, BufferHolder {
  readonly plane: DataPlane;
  readonly exchange: Exchange;
  readonly pipeline: MeshPipeline;
  private readonly down: Http2Stream;
  private readonly reader: MessageReader;
  /** Messages without an answer that has gone out, in their order. */
  private readonly messages: PipelineMessage[] = [];
  private requestsEnded = false;
  private ended = false;
  /** Answers are going out: what ends meanwhile waits for its turn. */
  private answering = false;

  constructor(plane: DataPlane, exchange: Exchange, pipeline: MeshPipeline) {
    super();
    this.plane = plane;
    this.exchange = exchange;
    this.pipeline = pipeline;
    this.down = exchange.down as Http2Stream;
    this.reader = new MessageReader(pipeline.plan.config.maxBytes);
  }

  /** Begins with what had come before the pipeline was known. */
  start(body: Buffer, length: number): void {
    const { plane, exchange } = this;
    threadMemory.register(this);
    if (exchange.deadlineMs > 0) plane.wheel.arm(this, exchange.deadlineMs);
    this.read(body, 0, length);
    if (exchange.bodyEnded) this.endRequests();
    this.credit();
  }

  // ---- the caller ----------------------------------------------------------------------------------------------

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
    this.plane.finish(this.exchange);
  }

  onExpire(): void {
    if (!this.ended)
      this.failWith(this.messages.length > 0 ? ProxyErrors.deadlineUpstream : ProxyErrors.deadlineCaller);
  }

  get heldBytes(): number {
    return this.messages.reduce((sum, message) => sum + message.heldBytes, 0);
  }

  shed(): void {
    if (this.ended) return;
    this.plane.cells[ProcessSlot.MEMORY_VERDICTS + MemoryVerdict.REQUEST_REFUSED]! += 1;
    this.failWith(ProxyErrors.memoryOverflow);
  }

  private read(buffer: Buffer, start: number, end: number): void {
    const { reader } = this;
    try {
      reader.feed(buffer, start, end);
      while (!this.ended && reader.next()) this.take();
    } catch (error) {
      // Framing is lost: nothing that follows can be read.
      if (!(error instanceof WireError)) throw error;
      this.failWith(error.reason === 'too_large' ? ProxyErrors.pipelineTooLarge : ProxyErrors.badRequest);
    }
  }

  /** One message of the caller's is complete. */
  private take(): void {
    const { reader, exchange } = this;
    if (this.messages.length >= MAX_MESSAGES) {
      this.failWith(ProxyErrors.streamOverflow);
      return;
    }
    let { buffer, start, end } = reader;
    if (reader.compressed) {
      const framed = framedCopy(buffer, start, end, true);
      const plain = inflateFramed(framed, framed.length, exchange.traits!.encoding);
      if (typeof plain === 'number') {
        this.failWith(ProxyErrors.badRequest);
        return;
      }
      buffer = plain;
      start = PREFIX_BYTES;
      end = plain.length;
    }
    const message = new PipelineMessage(this);
    this.messages.push(message);
    message.start(buffer, start, end);
  }

  private endRequests(): void {
    if (this.ended || this.requestsEnded) return;
    this.requestsEnded = true;
    this.exchange.bodyEnded = true;
    if (!this.reader.atBoundary) this.failWith(ProxyErrors.badRequest);
    else if (this.messages.length === 0) this.finish();
  }

  /** The caller may send as much as has been dealt with. */
  private credit(): void {
    const { down } = this;
    if (this.ended || this.messages.length >= OPEN_MESSAGES || down.queuedBytes > MAX_QUEUED_BYTES) return;
    if (down.outstanding > 0) down.consume(down.outstanding);
  }

  // ---- answers -------------------------------------------------------------------------------------------------

  /** A message has its answer: it goes out, with those that waited for it, when all before it have gone. */
  answered(): void {
    if (this.ended || this.answering) return;
    this.answering = true;
    const { messages, down, exchange } = this;
    let count = 0;
    while (count < messages.length && messages[count]!.answer !== null) {
      const message = messages[count++]!;
      const answer = message.answer!;
      this.sendHead();
      if (message.isDegraded) exchange.flag = ACCESS_FLAG_FALLBACK;
      exchange.answerBytes += answer.length;
      down.sendData(answer, 0, answer.length, false);
      message.drop();
    }
    messages.splice(0, count);
    this.answering = false;
    if (this.requestsEnded && messages.length === 0) this.finish();
    else this.credit();
  }

  private sendHead(): void {
    if (this.exchange.committed) return;
    this.exchange.committed = true;
    const { name, version } = this.pipeline.plan.config;
    const head = HeaderList.of(
      [':status', '200'],
      ['content-type', 'application/grpc'],
      ['x-understudy-served-by', name],
      ['x-understudy-model-version', version],
    );
    this.down.sendHeaders(head, false);
  }

  /** Everything asked is answered. */
  private finish(): void {
    const { exchange } = this;
    this.sendHead();
    exchange.status = GrpcStatus.OK;
    exchange.httpStatus = 200;
    this.down.sendHeaders(TRAILERS_OK, true);
    this.end();
    this.plane.finish(exchange);
  }

  private failWith(error: ProxyError): void {
    this.end();
    this.plane.fail(this.exchange, error);
  }

  private end(): void {
    this.ended = true;
    this.plane.wheel.disarm(this);
    threadMemory.forget(this);
    for (const message of this.messages) message.cancel();
    this.messages.length = 0;
  }
}
