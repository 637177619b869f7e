/**
 * ModelStreamInfer of a pipeline: the caller's stream, whose every message is a request of its own. They run side by side
 * and are answered in their order; who answered the steps of each is said in its answer's parameters. A message that fails
 * is answered with its error, and the stream goes on. How it is read and ends is in `model-stream/request-stream.ts`.
 *
 * Bounds: `OPEN_MESSAGES` unanswered (then the caller's window stays closed), `MAX_MESSAGES` at the very most,
 * `MAX_QUEUED_BYTES` of answers the caller does not take; each message is bounded like any request of the pipeline, and
 * all together count in the thread's memory budget.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { ProxyErrors } from '../../base/proxy-error.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { type BufferHolder, threadMemory } from '../../proto/io/memory-budget.ts';
import { ACCESS_FLAG_FALLBACK } from '../access-log.ts';
import type { MeshPipeline } from '../mesh.ts';
import { MAX_QUEUED_BYTES, RequestStream } from '../model-stream/request-stream.ts';
import { framedCopy } from '../model-stream/stream-answers.ts';
import type { DataPlane } from '../request/data-plane.ts';
import type { Exchange } from '../request/exchange.ts';
import { inflateFramed } from '../routing/inflate-framed.ts';
import { MemoryVerdict, ProcessSlot } from '../stats/slots.ts';
import { PipelineMessage } from './pipeline-message.ts';

/** Messages without an answer from which on the caller's window stays closed, and at which its stream ends. */
const OPEN_MESSAGES = 64;
const MAX_MESSAGES = 4096;
const TRAILERS_OK = HeaderList.of(['grpc-status', '0']);

export class PipelineStream extends RequestStream implements BufferHolder {
  readonly pipeline: MeshPipeline;
  readonly messages: PipelineMessage[] = [];
  /** Answers are going out: what ends meanwhile waits for its turn. */
  private answering = false;

  constructor(plane: DataPlane, exchange: Exchange, pipeline: MeshPipeline) {
    super(plane, exchange, MAX_MESSAGES, pipeline.plan.config.maxBytes, ProxyErrors.pipelineTooLarge);
    this.pipeline = pipeline;
  }

  override start(body: Buffer, length: number): void {
    const { plane, exchange } = this;
    threadMemory.register(this);
    if (exchange.deadlineMs > 0) plane.wheel.arm(this, exchange.deadlineMs);
    super.start(body, length);
  }

  // ---- the caller ----------------------------------------------------------------------------------------------

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

  /** Waiting answers count too: who does not take them is not read either. */
  protected get takesRequests(): boolean {
    return this.messages.length < OPEN_MESSAGES && this.down.queuedBytes <= MAX_QUEUED_BYTES;
  }

  protected take(): void {
    const { reader, exchange } = this;
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
    this.proceed();
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

  finish(): void {
    const { exchange } = this;
    this.sendHead();
    exchange.status = GrpcStatus.OK;
    exchange.httpStatus = 200;
    this.down.sendHeaders(TRAILERS_OK, true);
    this.end();
  }

  protected letGo(): void {
    threadMemory.forget(this);
    for (const message of this.messages) message.cancel();
    this.messages.length = 0;
  }
}
