/** Builders for the HTTP/1.1 tests: a socket without a network, and handlers that write down what they hear. */

import {
  Http1ClientConnection as Client,
  type Http1ClientConnection,
} from '../../../../proto/http1/client-connection.ts';
import { HTTP1_COUNTER_SLOTS } from '../../../../proto/http1/counters.ts';
import type { Http1Exchange, Http1Handler } from '../../../../proto/http1/exchange.ts';
import type { Http1Error } from '../../../../proto/http1/faults.ts';
import { HeadParser } from '../../../../proto/http1/head-parser.ts';
import { DEFAULT_HTTP1_LIMITS, type Http1Limits } from '../../../../proto/http1/limits.ts';
import { Http1ServerConnection, type Http1ServerConnectionOptions } from '../../../../proto/http1/server-connection.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import type { ByteReader, ByteSocket } from '../../../../proto/io/byte-socket.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

/** What the engine uses of a ByteSocket, in memory. Everything written is in `text()`; `taking` simulates the kernel. */
export class MemorySocket {
  reader: ByteReader = { onBytes() {}, onEnd() {}, onDrained() {}, onClosed() {} };
  socket: unknown = null;
  closed = false;
  readEnded = false;
  ended = false;
  destroyed = false;
  wasReset = false;
  paused = false;
  bytesIn = 0;
  bytesOut = 0;
  /** Bytes taken before the socket stops being writable. */
  taking = Number.POSITIVE_INFINITY;
  private written: Buffer[] = [];
  private scratch = Buffer.alloc(65_536);

  get io(): ByteSocket {
    return this as unknown as ByteSocket;
  }
  get writable(): boolean {
    return !this.closed && this.bytesOut < this.taking;
  }
  get pendingBytes(): number {
    return Math.max(0, this.bytesOut - this.taking);
  }
  get takenBytes(): number {
    return Math.min(this.bytesOut, this.taking);
  }
  reserve(): Buffer {
    return this.scratch;
  }
  position(): number {
    return 0;
  }
  advance(size: number): void {
    this.write(this.scratch, 0, size);
  }
  write(buffer: Uint8Array, start: number, end: number): void {
    this.written.push(Buffer.from(buffer.subarray(start, end)));
    this.bytesOut += end - start;
  }
  pauseReading(): void {
    this.paused = true;
  }
  resumeReading(): void {
    this.paused = false;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.closed = true;
    this.reader.onClosed(null);
  }
  reset(): void {
    this.wasReset = true;
    this.destroy();
  }
  /** Bytes from the peer, read into a buffer that is overwritten afterwards, as the shared one is. */
  receive(data: string | Buffer): void {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : Buffer.from(data);
    this.bytesIn += bytes.length;
    this.reader.onBytes(bytes, bytes.length);
    bytes.fill(0x2e);
  }
  receiveEnd(): void {
    this.readEnded = true;
    this.reader.onEnd();
  }
  /** Takes `bytes` more, and says so. */
  drain(bytes: number): void {
    this.taking += bytes;
    if (this.writable) this.reader.onDrained();
  }
  text(): string {
    return Buffer.concat(this.written).toString('latin1');
  }
  take(): string {
    const text = this.text();
    this.written = [];
    return text;
  }
}

/** Writes down everything an exchange says. */
export class Recorder implements Http1Handler {
  exchange: Http1Exchange | null = null;
  heads: HeaderList[] = [];
  body = '';
  trailers: HeaderList | null = null;
  ended = false;
  resets: number[] = [];
  sent = 0;
  /** Consumes what it gets at once. */
  consuming = true;
  /** Called when the message has ended. */
  onEnded: (recorder: Recorder) => void = () => {};
  /** Called with each head. */
  onHeadSeen: (recorder: Recorder, end: boolean) => void = () => {};

  onHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    this.exchange = exchange;
    this.heads.push(head);
    this.onHeadSeen(this, end);
    if (end) this.finish();
  }
  onData(exchange: Http1Exchange, buffer: Buffer, start: number, end: number, last: boolean): void {
    this.body += buffer.toString('latin1', start, end);
    if (this.consuming) exchange.consume(end - start);
    if (last) this.finish();
  }
  onTrailers(_exchange: Http1Exchange, trailers: HeaderList): void {
    this.trailers = trailers;
    this.finish();
  }
  onSent(_exchange: Http1Exchange, bytes: number): void {
    this.sent += bytes;
  }
  onReset(exchange: Http1Exchange, errorCode: number): void {
    this.exchange = exchange;
    this.resets.push(errorCode);
  }
  get head(): HeaderList {
    return this.heads.at(-1)!;
  }
  private finish(): void {
    if (this.ended) throw new Error('ended twice');
    this.ended = true;
    this.onEnded(this);
  }
}

export class ServerHarness {
  readonly socket = new MemorySocket();
  readonly clock = new VirtualClock();
  readonly counters = new Float64Array(HTTP1_COUNTER_SLOTS);
  readonly requests: Recorder[] = [];
  readonly faults: Http1Error[] = [];
  closes = 0;
  readonly connection: Http1ServerConnection;

  /** `onEnded` and `onHead` are what the server does with a request. */
  constructor(
    options: {
      limits?: Partial<Http1Limits>;
      onEnded?: (recorder: Recorder) => void;
      onHead?: (recorder: Recorder, end: boolean) => void;
      connection?: Partial<Http1ServerConnectionOptions>;
      parser?: HeadParser;
    } = {},
  ) {
    this.connection = new Http1ServerConnection(this.socket.io, {
      parser: options.parser ?? new HeadParser({ ...DEFAULT_HTTP1_LIMITS, ...options.limits }),
      clock: this.clock,
      counters: this.counters,
      swept: false,
      ...options.connection,
      owner: {
        acceptExchange: () => {
          const recorder = new Recorder();
          if (options.onEnded !== undefined) recorder.onEnded = options.onEnded;
          if (options.onHead !== undefined) recorder.onHeadSeen = options.onHead;
          this.requests.push(recorder);
          return recorder;
        },
        onFault: (_connection, error) => this.faults.push(error),
        onClosed: () => this.closes++,
      },
    });
  }

  /** Lets time pass as the sweep would see it. */
  wait(ms: number): void {
    this.connection.checkTimeouts();
    this.clock.advance(ms);
    this.connection.checkTimeouts();
  }
}

export class ClientHarness {
  readonly socket = new MemorySocket();
  readonly clock = new VirtualClock();
  idles = 0;
  closes = 0;
  error: Error | null = null;
  readonly connection: Http1ClientConnection;

  constructor(limits: Partial<Http1Limits> = {}) {
    this.connection = new Client(this.socket.io, {
      parser: new HeadParser({ ...DEFAULT_HTTP1_LIMITS, ...limits }),
      clock: this.clock,
      swept: false,
      owner: {
        onIdle: () => this.idles++,
        onClosed: (_connection, error) => {
          this.closes++;
          this.error = error;
        },
      },
    });
    this.connection.established = true;
  }

  request(fields: [string, string][], end = true): Recorder {
    const recorder = new Recorder();
    recorder.exchange = this.connection.open(recorder, HeaderList.of(...fields), end);
    return recorder;
  }

  get(path = '/', ...more: [string, string][]): Recorder {
    return this.request([[':method', 'GET'], [':path', path], [':authority', 'a'], [':scheme', 'http'], ...more]);
  }
}

export const OK = HeaderList.of([':status', '200']);

/** Answers 200 with a text. */
export function answer(recorder: Recorder, text: string): void {
  const body = Buffer.from(text, 'latin1');
  recorder.exchange!.sendHead(HeaderList.of([':status', '200'], ['content-length', String(body.length)]), false);
  recorder.exchange!.sendData(body, 0, body.length, true);
}

/** `[name, value]` pairs of a list. */
export function pairs(list: HeaderList): [string, string][] {
  return list.names.map((name, i) => [name, list.values[i]!]);
}

/** A request without a body. */
export const GET = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n';

/** Answers 200 with the path that was asked for. */
export function echoPath(recorder: Recorder): void {
  answer(recorder, recorder.head.get(':path')!);
}
