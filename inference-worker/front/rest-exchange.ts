/**
 * One HTTP/1.1 request: collects its body within the bounds, inflates it where it says so, hands it to the API whose path
 * it is, and sends the one answer. A body that comes whole in one piece is read where it lies.
 */
import { WheelTimer } from '../../base/timer-wheel.ts';
import { inflateMessage, parseEncoding } from '../../proto/grpc/compression.ts';
import type { Http1Exchange, Http1Handler } from '../../proto/http1/exchange.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { restErrorView } from '../../proto/tensor/rest-error.ts';
import { SHADOW_HEADER } from '../api/call-head.ts';
import {
  EMPTY_BODY,
  type HttpApi,
  type HttpCall,
  type HttpRequest,
  JSON_TYPE,
  type ReplyFields,
} from '../api/rest/http-call.ts';
import { Priority } from '../batching/batcher.ts';
import type { RestHost } from './rest-host.ts';

/** As for gRPC: a small body may inflate to this, a larger one to so many times its size. */
const FREE_BYTES = 1024 * 1024;
const MAX_RATIO = 100;
const FIRST_ROOM_BYTES = 4096;

export class RestExchange extends WheelTimer implements Http1Handler, HttpCall, HttpRequest {
  readonly exchange: Http1Exchange;
  method = '';
  path = '';
  headers: HeaderList = NO_HEADERS;
  body: Buffer = EMPTY_BODY;
  start = 0;
  end = 0;
  deadlineMs = Number.POSITIVE_INFINITY;
  priority: number = Priority.primary;
  ended = false;
  cancellable: { cancel(): void } | null = null;
  private readonly host: RestHost;
  private api: HttpApi | null = null;
  private room: Buffer = EMPTY_BODY;
  private kept = 0;
  /** Bytes counted in the host's sum. */
  private held = 0;

  constructor(exchange: Http1Exchange, host: RestHost) {
    super();
    this.exchange = exchange;
    this.host = host;
  }

  get request(): HttpRequest {
    return this;
  }

  onHead(_exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    const target = head.get(':path') ?? '';
    const query = target.indexOf('?');
    this.method = head.get(':method') ?? '';
    this.path = query < 0 ? target : target.slice(0, query);
    this.headers = head;
    if (head.get(SHADOW_HEADER) !== undefined) this.priority = Priority.shadow;
    const { host } = this;
    this.deadlineMs = host.clock.nowMs() + host.timeoutMs;
    const declared = Number(head.get('content-length') ?? 0);
    if (declared > host.maxBodyBytes)
      this.refuse(413, `a body of ${declared} bytes is larger than the ${host.maxBodyBytes} allowed`);
    else if (parseEncoding(head.get('content-encoding')) === null) {
      this.refuse(415, `Content-Encoding '${head.get('content-encoding')}' is not supported: gzip and deflate are`);
    } else if (end) this.receive(EMPTY_BODY, 0, 0);
  }

  onData(exchange: Http1Exchange, buffer: Buffer, start: number, end: number, last: boolean): void {
    if (!this.ended) {
      if (last && this.kept === 0) this.receive(buffer, start, end);
      else this.keep(buffer, start, end, last);
    }
    exchange.consume(end - start);
  }

  onTrailers(): void {
    if (!this.ended) this.receive(this.room, 0, this.kept);
  }

  onSent(): void {}

  onReset(): void {
    this.finish();
    this.cancellable?.cancel();
    this.cancellable = null;
  }

  /** The server gives up: the caller is told, and the task leaves its queue. */
  onExpire(): void {
    if (this.ended) return;
    if (this.api !== null) this.api.expire(this);
    else this.refuse(504, 'Timed out reading the request');
    this.cancellable?.cancel();
    this.cancellable = null;
  }

  reply(status: number, contentType: string, body: Buffer, fields: ReplyFields = []): void {
    if (this.ended) return;
    this.finish();
    const { exchange } = this;
    exchange.sendHead(this.host.replyHead(status, contentType, body.length, fields), body.length === 0);
    if (body.length > 0) exchange.sendData(body, 0, body.length, true);
    if (!exchange.remoteEnded) exchange.reset(0);
  }

  private refuse(status: number, message: string): void {
    this.reply(status, JSON_TYPE, restErrorView(message));
  }

  private keep(buffer: Buffer, start: number, end: number, last: boolean): void {
    const { host } = this;
    const needed = this.kept + end - start;
    if (needed > host.maxBodyBytes) {
      this.refuse(413, `the body is larger than the ${host.maxBodyBytes} bytes allowed`);
      return;
    }
    if (!this.hold(end - start)) return;
    if (needed > this.room.length) this.grow(needed);
    buffer.copy(this.room, this.kept, start, end);
    this.kept = needed;
    if (last) this.receive(this.room, 0, needed);
  }

  private hold(bytes: number): boolean {
    const { host } = this;
    this.held += bytes;
    host.pendingBytes += bytes;
    if (host.pendingBytes <= host.maxPendingBytes) return true;
    this.refuse(429, `requests in progress hold more than ${host.maxPendingBytes} bytes`);
    return false;
  }

  /** Doubles, but never beyond the length the request declares. */
  private grow(needed: number): void {
    const declared = Number(this.headers.get('content-length') ?? 0);
    let size = Math.max(FIRST_ROOM_BYTES, this.room.length * 2);
    if (declared >= needed) size = Math.min(size, declared);
    const larger = Buffer.allocUnsafe(Math.max(size, needed));
    this.room.copy(larger, 0, 0, this.kept);
    this.room = larger;
  }

  /** The whole body has come. */
  private receive(buffer: Buffer, start: number, end: number): void {
    const { host } = this;
    if (host.timeoutMs !== Number.POSITIVE_INFINITY) host.timers.arm(this, this.deadlineMs);
    const encoding = parseEncoding(this.headers.get('content-encoding'));
    if (encoding === '' || encoding === null || start === end) {
      this.deliver(buffer, start, end);
      return;
    }
    // The bytes are ours only during this call.
    const copy = buffer === this.room ? buffer.subarray(start, end) : Buffer.from(buffer.subarray(start, end));
    const bounds = { maxBytes: host.maxBodyBytes, maxRatio: Math.max(MAX_RATIO, FREE_BYTES / copy.length) };
    if (!this.hold(copy.length)) return;
    inflateMessage(encoding, copy, 0, copy.length, bounds, (error, bytes) => {
      if (this.ended) return;
      if (bytes !== null) this.deliver(bytes, 0, bytes.length);
      else this.refuse(error!.reason === 'too_large' ? 413 : 400, error!.message);
    });
  }

  private deliver(buffer: Buffer, start: number, end: number): void {
    const { host } = this;
    this.body = buffer;
    this.start = start;
    this.end = end;
    this.release();
    const { apis } = host;
    for (let i = 0; i < apis.length; i++) {
      this.api = apis[i]!;
      if (!this.api.handle(this)) continue;
      this.letGo();
      return;
    }
    this.api = null;
    this.refuse(404, 'Not Found');
  }

  private finish(): void {
    this.ended = true;
    this.host.timers.disarm(this);
    this.release();
    this.letGo();
  }

  /** Nothing of the body is used any more. */
  private letGo(): void {
    this.body = EMPTY_BODY;
    this.room = EMPTY_BODY;
    this.kept = 0;
  }

  private release(): void {
    this.host.pendingBytes -= this.held;
    this.held = 0;
  }
}

const NO_HEADERS = HeaderList.of();
