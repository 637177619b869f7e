/**
 * Process entry: the application of `bench intercept`. Reads orders from standard input, one line of JSON each, and answers
 * each with a line: `LoadOrder` in, `LoadAnswer` out. One call at a time, so that a latency is the path's and no queue's.
 */
import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { createInterface } from 'node:readline';
import { quantile } from '../measure/statistics.ts';

export interface LoadOrder {
  readonly host: string;
  readonly port: number;
  /** Whether each call opens a connection of its own, whose making counts. */
  readonly fresh: boolean;
  readonly calls: number;
}

export interface LoadAnswer {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly failed: number;
}

/** A Predict of the model `m` with 256 bytes of input that nobody reads: model_spec { name: "m" }, inputs. */
const MESSAGE = Buffer.concat([Buffer.from([0x0a, 3, 0x0a, 1, 0x6d, 0x12, 0x80, 2]), inputEntry(256)]);
const REQUEST = Buffer.concat([Buffer.from([0, 0, 0, MESSAGE.length >> 8, MESSAGE.length & 255]), MESSAGE]);
const HEAD = {
  ':method': 'POST',
  ':path': '/tensorflow.serving.PredictionService/Predict',
  'content-type': 'application/grpc',
  te: 'trailers',
};

/** A map entry { key: "x", value: bytes in an unknown field } of exactly `size` bytes. */
function inputEntry(size: number): Buffer {
  const value = Buffer.alloc(size - 9, 1);
  const inner = Buffer.concat([Buffer.from([0x7a, (value.length & 127) | 128, value.length >> 7]), value]);
  const head = Buffer.from([0x0a, 1, 0x78, 0x12, (inner.length & 127) | 128, inner.length >> 7]);
  return Buffer.concat([head, inner]);
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(JSON.parse(line) as LoadOrder)));
}

async function run({ host, port, fresh, calls }: LoadOrder): Promise<LoadAnswer> {
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const latencies = new Float64Array(calls);
  let failed = 0;
  let session = fresh ? null : open(url);
  for (let i = 0; i < calls; i++) {
    const startMs = performance.now();
    session ??= open(url);
    if (!(await call(session))) failed++;
    latencies[i] = (performance.now() - startMs) * 1000;
    if (!fresh) continue;
    await close(session);
    session = null;
  }
  if (session !== null) await close(session);
  latencies.sort();
  return { p50Us: quantile(latencies, 0.5), p99Us: quantile(latencies, 0.99), failed };
}

function open(url: string): ClientHttp2Session {
  const session = connect(url);
  session.on('error', () => {});
  return session;
}

async function close(session: ClientHttp2Session): Promise<void> {
  const closed = session.destroyed ? null : once(session, 'close');
  session.destroy();
  await closed;
}

/** Whether the call was answered OK with a message. */
function call(session: ClientHttp2Session): Promise<boolean> {
  return new Promise((resolve) => {
    const stream = session.request(HEAD);
    let bytes = 0;
    let status: unknown;
    stream.on('response', (headers) => {
      status = headers['grpc-status'];
    });
    stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'];
    });
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on('error', () => {});
    stream.on('close', () => resolve(status === '0' && bytes > 5));
    stream.end(REQUEST);
  });
}
