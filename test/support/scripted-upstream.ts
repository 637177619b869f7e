/**
 * A model server that does as it is told, made of node:http2: answers, fails in the head or in the trailers, resets,
 * refuses, hangs, answers slowly or half, sends GOAWAY. It remembers what it was asked, byte for byte.
 */
import {
  constants,
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { TlsOptions } from 'node:tls';
import type { Test } from 'tap';
import { decodeMessage, encodeMessage, type Message } from './proto-codecs.ts';

/** What to do with one call. Runs when the head is there; `call.body` waits for the rest. */
export type Script = (call: UpstreamCall) => void | Promise<void>;

const GRPC_HEAD = { ':status': 200, 'content-type': 'application/grpc' };

export class UpstreamCall {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  /** The request's bytes, prefix included; resolves at its end, or with what came when it was cut. */
  readonly body: Promise<Buffer>;
  /** Error code the caller reset it with; null while it has not. */
  resetCode: number | null = null;
  /** Milliseconds of `performance.now()`. */
  resetAtMs = 0;
  ended = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.stream = stream;
    this.headers = headers;
    const chunks: Buffer[] = [];
    this.body = new Promise((resolve) => {
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        // A reset ends the readable side as well.
        this.ended = !stream.aborted && (stream.rstCode ?? 0) === 0;
        resolve(Buffer.concat(chunks));
      });
      stream.on('close', () => resolve(Buffer.concat(chunks)));
    });
    stream.on('error', () => {});
    stream.on('aborted', () => {
      this.resetCode = stream.rstCode ?? 0;
      this.resetAtMs = performance.now();
    });
  }

  /** The request decoded. */
  async request(type = 'tensorflow.serving.PredictRequest'): Promise<Message> {
    return decodeMessage(type, (await this.body).subarray(5));
  }

  /** Answers with one message and OK. */
  answer(message: Buffer, trailers: Readonly<Record<string, string>> = {}): void {
    if (this.stream.destroyed) return;
    this.stream.respond(GRPC_HEAD, { waitForTrailers: true });
    this.stream.on('wantTrailers', () => this.stream.sendTrailers({ 'grpc-status': '0', ...trailers }));
    this.stream.end(framed(message));
  }

  /** A status in the only header section. */
  failInHead(status: number, message = '', more: Readonly<Record<string, string>> = {}): void {
    if (this.stream.destroyed) return;
    this.stream.respond(
      { ...GRPC_HEAD, 'grpc-status': String(status), 'grpc-message': message, ...more },
      { endStream: true },
    );
  }

  /** A head, some bytes of a message, then a status. */
  failInTrailers(status: number, message = '', more: Readonly<Record<string, string>> = {}): void {
    this.answer(Buffer.from('half an answer'), { 'grpc-status': String(status), 'grpc-message': message, ...more });
  }

  reset(code: number = constants.NGHTTP2_INTERNAL_ERROR): void {
    this.stream.close(code);
  }

  /** Promises that it was not processed. */
  refuse(): void {
    this.stream.close(constants.NGHTTP2_REFUSED_STREAM);
  }

  /** Begins to answer, then cuts the connection. */
  async answerHalf(bytes = 100_000): Promise<void> {
    this.stream.respond(GRPC_HEAD);
    const head = Buffer.alloc(5);
    head.writeUInt32BE(10_000_000, 1);
    this.stream.write(head);
    this.stream.write(Buffer.alloc(bytes));
    await delay(20);
    this.stream.session?.destroy();
  }
}

export interface UpstreamOptions {
  readonly script?: Script;
  /** Fixed port; 0 when absent. */
  readonly port?: number;
  /** SETTINGS_MAX_CONCURRENT_STREAMS. */
  readonly maxConcurrentStreams?: number;
  /** Speaks TLS. */
  readonly tls?: TlsOptions;
  /** Do not keep calls: for load. */
  readonly forget?: boolean;
}

/** What the proxy's readiness asks of workers; no call of a test, so it is neither recorded nor scripted. */
const READINESS_PATH = '/tensorflow.serving.ModelService/GetModelStatus';
const READINESS_AUTHORITY = 'worker';

export class ScriptedUpstream {
  readonly name: string;
  /** Every call so far, in order of their heads. */
  readonly calls: UpstreamCall[] = [];
  /** How many calls there were. */
  count = 0;
  script: Script;
  readonly sessions = new Set<ServerHttp2Session>();
  /** Sessions so far. */
  sessionCount = 0;
  readonly server: Http2Server | Http2SecureServer;
  private readonly options: UpstreamOptions;

  constructor(name: string, options: UpstreamOptions = {}) {
    this.name = name;
    this.options = options;
    this.script = options.script ?? answers(name);
    const { maxConcurrentStreams } = options;
    const settings = maxConcurrentStreams === undefined ? {} : { settings: { maxConcurrentStreams } };
    const all = { ...settings, streamResetBurst: 100_000, streamResetRate: 100_000 };
    this.server = options.tls === undefined ? createServer(all) : createSecureServer({ ...all, ...options.tls });
    this.server.on('session', (session) => {
      this.sessionCount++;
      this.sessions.add(session);
      session.on('error', () => {});
      session.on('close', () => this.sessions.delete(session));
      session.setLocalWindowSize(1024 * 1024);
    });
    this.server.on('sessionError', () => {});
    this.server.on('stream', (stream, headers) => this.take(stream as ServerHttp2Stream, headers));
  }

  /** Starts it and ends it with the test. */
  static async start(test: Test, name: string, options: UpstreamOptions = {}): Promise<ScriptedUpstream> {
    const upstream = new ScriptedUpstream(name, options);
    await upstream.listen(options.port ?? 0);
    test.teardown(() => upstream.close());
    return upstream;
  }

  listen(port: number, host = '127.0.0.1'): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, host, () => resolve());
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** `host:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.server.listening) this.server.close(() => resolve());
      else resolve();
    });
    for (const session of this.sessions) session.destroy();
    await closed;
  }

  /** Cuts all connections without a word. */
  cut(): void {
    for (const session of this.sessions) session.socket.destroy();
  }

  /** Ends all connections as a server that restarts does: GOAWAY, then what is open finishes. */
  goaway(): void {
    for (const session of this.sessions) session.close();
  }

  private take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    if (headers[':path'] === READINESS_PATH && headers[':authority'] === READINESS_AUTHORITY) {
      stream.resume();
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true });
      return;
    }
    const call = new UpstreamCall(stream, headers);
    this.count++;
    if (!this.options.forget) this.calls.push(call);
    void this.script(call);
  }
}

/** Answers Predict with the server's name in the output `served_by` and the model spec it was asked for. */
export function answers(name: string): Script {
  return async (call) => {
    const body = await call.body;
    if (!call.ended) return;
    call.answer(predictResponse(name, body));
  };
}

/** The same after a while. */
export function answersAfter(name: string, ms: number): Script {
  return async (call) => {
    const body = await call.body;
    await delay(ms);
    if (call.ended) call.answer(predictResponse(name, body));
  };
}

/** Takes the request and never answers. */
export const hangs: Script = () => {};

/** A PredictResponse of `served_by` (string) and `scores` (floats) for a framed, uncompressed PredictRequest. */
export function predictResponse(name: string, body: Buffer, scores: readonly number[] = [0.25, 0.75]): Buffer {
  let spec: Message = null;
  try {
    spec = decodeMessage('tensorflow.serving.PredictRequest', body.subarray(5)).model_spec;
  } catch {
    // Not a request we can read: answered all the same.
  }
  return encodeMessage('tensorflow.serving.PredictResponse', {
    model_spec: spec,
    outputs: {
      served_by: { dtype: 7, tensor_shape: { dim: [{ size: 1 }] }, string_val: [Buffer.from(name)] },
      scores: { dtype: 1, tensor_shape: { dim: [{ size: 1 }, { size: scores.length }] }, float_val: scores },
    },
  });
}

/** A gRPC message with its prefix. */
export function framed(message: Buffer, compressed = false): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed ? 1 : 0;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
