/**
 * ModelStreamInfer: requests on one stream, answered one by one in their order. A request that fails is answered with its
 * message and the stream goes on. At most `MAX_IN_FLIGHT` requests are under way; beyond that, and while answers wait to be sent, the
 * stream's window is not opened, so a caller that does not read its answers stops being read.
 */
import type { Clock } from '../../../base/clock.ts';
import { GrpcStatus } from '../../../base/grpc-status.ts';
import { MessageReader, PREFIX_BYTES, writeMessagePrefix } from '../../../proto/grpc/message-framing.ts';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import type { HeaderList } from '../../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../../proto/http2/stream.ts';
import type { JsonOutput } from '../../../proto/tensor/json-tensor-writer.ts';
import { OipInferRequest, parseInferRequest } from '../../../proto/tensor/oip-infer-request.ts';
import { inferHead, OipMessageWriter } from '../../../proto/tensor/oip-response.ts';
import { REASON_PARAMETER, STATUS_PARAMETER, streamErrorAnswer } from '../../../proto/tensor/oip-stream-message.ts';
import { putVarint, varintBytes } from '../../../proto/tensor/wire-writer.ts';
import { EntryPoint } from '../../metrics/entry-points.ts';
import { WorkerError } from '../../worker-error.ts';
import { readCallHead } from '../call-head.ts';
import { failureHeaders, failureTrailers, REPLY_HEAD, TRAILERS_OK } from '../replies.ts';
import { asOipFailure } from './oip-failure.ts';
import { answersRaw, OIP_SERVICE_PATH, wantsRaw } from './oip-grpc.ts';
import type { OipInference, OipReceiver } from './oip-inference.ts';

export const STREAM_INFER_PATH = `${OIP_SERVICE_PATH}ModelStreamInfer`;

/** Requests of one stream under way at once. */
export const MAX_IN_FLIGHT = 256;
/** Bytes of answers waiting for the caller above which no further requests are read. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

/** What the streams of a server share. */
export interface OipStreamHost {
  readonly inference: OipInference;
  readonly clock: Clock;
  readonly maxMessageBytes: number;
  /** Streams open now; kept by the streams, for whoever ends them. */
  readonly open: Set<OipStream>;
}

const request = new OipInferRequest();
const writer = new OipMessageWriter();

export class OipStream implements StreamHandler {
  private readonly stream: Http2Stream;
  private readonly host: OipStreamHost;
  private readonly reader: MessageReader;
  private readonly priority: number;
  private readonly deadlineMs: number;
  /** Requests in their order; answered ones wait for those before them. */
  private readonly slots: StreamSlot[] = [];
  private headSent = false;
  private requestsEnded = false;
  private ended = false;
  private draining = false;
  /** Received bytes not yet given back as credit. */
  private unconsumed = 0;

  constructor(stream: Http2Stream, host: OipStreamHost, headers: HeaderList) {
    const head = readCallHead(headers);
    this.stream = stream;
    this.host = host;
    this.reader = new MessageReader(host.maxMessageBytes);
    this.priority = head.priority;
    this.deadlineMs = host.clock.nowMs() + head.timeoutMs;
    host.open.add(this);
    if (Number.isNaN(head.timeoutMs)) this.fail(GrpcStatus.INVALID_ARGUMENT, 'grpc-timeout is malformed');
  }

  onHeaders(_stream: Http2Stream, _headers: HeaderList, endStream: boolean): void {
    if (endStream) this.endRequests();
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.ended) {
      stream.consume(end - start);
      return;
    }
    this.unconsumed += end - start;
    try {
      this.reader.feed(buffer, start, end);
      while (this.reader.next()) this.take();
    } catch (error) {
      // Framing is lost: nothing that follows can be read.
      const failure = asOipFailure(error);
      if (failure === null) throw error;
      this.fail(failure.code, failure.message);
    }
    this.credit();
    if (endStream) this.endRequests();
  }

  onSent(): void {
    this.credit();
  }

  onReset(): void {
    this.leave();
    this.cancelAll();
  }

  /** Answers what has been asked and ends the stream then, so that it does not hold up a server that is leaving. */
  drain(): void {
    this.draining = true;
    this.flush();
  }

  /** Sends the answers whose turn has come. */
  flush(): void {
    if (this.ended) return;
    while (this.slots.length > 0 && this.slots[0]!.message !== null) this.send(this.slots.shift()!.message!);
    if (this.slots.length > 0) this.credit();
    else if (this.requestsEnded) this.finish();
    else if (this.draining) this.fail(GrpcStatus.UNAVAILABLE, 'the server is shutting down');
    else this.credit();
  }

  private take(): void {
    const { buffer, start, end, compressed } = this.reader;
    const slot = new StreamSlot(this);
    this.slots.push(slot);
    try {
      if (compressed) throw new WorkerError(GrpcStatus.UNIMPLEMENTED, 'compressed messages are not read from streams');
      parseInferRequest(request, buffer, start, end);
      slot.accept(request);
      const options = { deadlineMs: this.deadlineMs, priority: this.priority, entry: EntryPoint.inferGrpc };
      slot.operation = this.host.inference.infer(request, buffer, options, slot);
    } catch (error) {
      const failure = asOipFailure(error);
      if (failure === null) throw error;
      slot.onFailure(failure);
    }
  }

  private send(message: Buffer): void {
    if (!this.headSent) this.stream.sendHeaders(REPLY_HEAD, false);
    this.headSent = true;
    this.stream.sendData(message, 0, message.length, false);
  }

  /** Opens the window again unless too much is under way. */
  private credit(): void {
    if (this.slots.length > MAX_IN_FLIGHT || this.stream.queuedBytes > MAX_QUEUED_BYTES) return;
    const { unconsumed } = this;
    this.unconsumed = 0;
    this.stream.consume(unconsumed);
  }

  private endRequests(): void {
    if (this.ended) return;
    this.requestsEnded = true;
    if (!this.reader.atBoundary) this.fail(GrpcStatus.INVALID_ARGUMENT, 'the stream ended inside a message');
    else this.flush();
  }

  private finish(): void {
    if (!this.headSent) this.stream.sendHeaders(REPLY_HEAD, false);
    this.leave();
    this.stream.sendHeaders(TRAILERS_OK, true);
  }

  private fail(code: number, message: string): void {
    if (this.ended) return;
    this.leave();
    this.cancelAll();
    this.stream.sendHeaders(this.headSent ? failureTrailers(code, message) : failureHeaders(code, message), true);
    if (!this.stream.remoteEnded) this.stream.reset(ErrorCode.NO_ERROR);
  }

  private leave(): void {
    this.ended = true;
    this.host.open.delete(this);
  }

  private cancelAll(): void {
    for (const slot of this.slots) slot.cancel();
    this.slots.length = 0;
  }
}

/** One request of a stream and, once it is there, its answer with the message prefix. */
class StreamSlot implements OipReceiver {
  message: Buffer | null = null;
  operation: { cancel(): void } | null = null;
  private readonly stream: OipStream;
  private id = '';
  private raw = false;

  constructor(stream: OipStream) {
    this.stream = stream;
  }

  accept(from: OipInferRequest): void {
    this.id = from.id;
    this.raw = wantsRaw(from);
  }

  cancel(): void {
    this.operation?.cancel();
  }

  onOutputs(model: string, version: string, outputs: readonly JsonOutput[]): void {
    writer.begin(inferHead(model, version, this.id), answersRaw(this.raw, outputs));
    for (const output of outputs) writer.add(output);
    const { byteLength } = writer;
    const head = 1 + varintBytes(byteLength);
    const message = Buffer.allocUnsafe(PREFIX_BYTES + head + byteLength);
    let offset = writeMessagePrefix(message, 0, head + byteLength, false);
    message[offset] = 2 * 8 + 2;
    offset = putVarint(message, offset + 1, byteLength);
    writer.write(message, offset);
    this.answer(message);
  }

  /** The answer tells which request it is for by its id, as far as it had one. */
  onFailure(error: WorkerError): void {
    const names = error.reason === undefined ? [STATUS_PARAMETER] : [STATUS_PARAMETER, REASON_PARAMETER];
    const values = error.reason === undefined ? [String(error.code)] : [String(error.code), error.reason];
    this.answer(streamErrorAnswer(error.message, this.id, names, values));
  }

  private answer(message: Buffer): void {
    this.message = message;
    this.operation = null;
    this.stream.flush();
  }
}
