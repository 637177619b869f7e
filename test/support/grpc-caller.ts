/** A gRPC caller made of node:http2 that shows everything of an answer, and lets a test cut its request as it likes. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';
import type { Test } from 'tap';
import { decodeMessage, encodeMessage, type Message } from './proto-codecs.ts';
import { framed } from './scripted-upstream.ts';
import { floats, modelSpec } from './tfs-client.ts';

export const PREDICT = '/tensorflow.serving.PredictionService/Predict';

export interface Answer {
  /** gRPC status; -1 when none came. */
  readonly status: number;
  readonly message: string;
  /** Head; of a trailers-only answer everything. */
  readonly head: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  /** DATA bytes, prefix included. */
  readonly body: Buffer;
  /** Error code of a reset; 0 when the stream ended in order. */
  readonly resetCode: number;
  /** `x-understudy-*` fields without the prefix, wherever they came. */
  readonly served: Readonly<Record<string, string>>;
  /** From the call to its end, milliseconds. */
  readonly tookMs: number;
}

export class GrpcCaller {
  readonly session: ClientHttp2Session;

  /** `tls` for a server that speaks it. */
  constructor(address: string, tls: SecureClientSessionOptions | null = null) {
    const settings = { initialWindowSize: 1024 * 1024 };
    this.session = connect(`${tls === null ? 'http' : 'https'}://${address}`, { settings, ...tls });
    this.session.on('error', () => {});
  }

  /** A caller that closes with the test. */
  static to(test: Test, address: string, tls: SecureClientSessionOptions | null = null): GrpcCaller {
    const caller = new GrpcCaller(address, tls);
    test.teardown(() => caller.close());
    return caller;
  }

  /** One Predict of `model`; `headers` are added. */
  predict(model: string | object, headers: OutgoingHttpHeaders = {}): Promise<Answer> {
    return this.call(predictRequest(model), headers);
  }

  /** One call with these DATA bytes (prefix included), all at once or in pieces that go out one after the other. */
  call(body: Buffer | readonly Buffer[], headers: OutgoingHttpHeaders = {}): Promise<Answer> {
    const stream = this.open(headers);
    const answer = answerOf(stream);
    if (Buffer.isBuffer(body)) stream.end(body);
    else void writePieces(stream, body);
    return answer;
  }

  /** Opens the stream and sends the head only. */
  open(headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
    return this.session.request({
      ':method': 'POST',
      ':path': PREDICT,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
  }

  close(): void {
    this.session.destroy();
  }
}

/** Collects the answer of a stream; never rejects. */
export function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  const startedMs = performance.now();
  const chunks: Buffer[] = [];
  let head: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  stream.on('response', (headers) => {
    head = headers;
  });
  stream.on('trailers', (headers) => {
    trailers = headers;
  });
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => {});
  return new Promise((resolve) => {
    stream.on('close', () => {
      const all = { ...head, ...trailers };
      const served = Object.entries(all).filter(([name]) => name.startsWith('x-understudy-'));
      resolve({
        status: Number(all['grpc-status'] ?? '-1'),
        message: String(all['grpc-message'] ?? ''),
        head,
        trailers,
        body: Buffer.concat(chunks),
        resetCode: stream.rstCode ?? constants.NGHTTP2_NO_ERROR,
        served: Object.fromEntries(served.map(([name, value]) => [name.slice(13), String(value)])),
        tookMs: performance.now() - startedMs,
      });
    });
  });
}

/** A framed PredictRequest with one small input. `model` is a name or a whole model_spec. */
export function predictRequest(model: string | object, values: readonly number[] = [1, 2, 3]): Buffer {
  const spec = typeof model === 'string' ? modelSpec(model) : model;
  const request = { model_spec: spec, inputs: { x: floats([1, values.length], values) } };
  return framed(encodeMessage('tensorflow.serving.PredictRequest', request));
}

/** Which server answered a Predict, by its output `served_by`. */
export function servedBy(answer: Answer): string {
  const response: Message = decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5));
  return String(response.outputs.served_by.string_val[0]);
}

async function writePieces(stream: ClientHttp2Stream, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    stream.write(piece);
    // A turn of the loop between them, so that each makes a DATA frame of its own.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  stream.end();
}
