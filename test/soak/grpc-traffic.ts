/** gRPC callers of the soak, by node:http2: Predict of the model, and echoing streams that are no model calls. */
import http2 from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { resetSocket } from '../support/reset.ts';
import { predictMessage, prefixed, splitMessage, tensorEntry } from './predict-bytes.ts';
import type { Random } from './random.ts';
import type { End, Tally, WatchedCall } from './tally.ts';

/** Statuses the proxy or an upstream of the soak may answer with. */
const HONEST_FAILURES: readonly number[] = [4, 8, 13, 14];
/** A caller of traffic without deadlines gives up after this, milliseconds. */
const PATIENCE_MS = 4000;
/** From the end of an answer to the close of its stream, milliseconds: what is left of its request is not worth more. */
const END_TO_CLOSE_MS = 1000;

/** Makes connections and calls on them until `untilMs`. Some connections die in the middle of everything. */
export async function grpcCaller(address: string, random: Random, tally: Tally, untilMs: number): Promise<void> {
  while (performance.now() < untilMs) {
    // A small window makes the proxy wait for slow readers.
    const session = http2.connect(`http://${address}`, {
      settings: { initialWindowSize: random.chance(0.5) ? 65_535 : 1024 * 1024 },
    });
    session.on('error', () => {});
    session.once('connect', () => tally.connections++);
    const closed = new Promise<void>((resolve) => session.once('close', () => resolve()));
    const life = delay(random.between(200, 4000));
    let dead = false;
    const calls = Array.from({ length: random.between(1, 6) }, async () => {
      while (!dead && performance.now() < untilMs && !session.closed && !session.destroyed) {
        if (random.chance(0.85))
          await tally.watch('grpc', (watched) => predict(session, random, tally, () => dead, watched));
        else await tally.watch('stream', (watched) => talk(session, random, tally, () => dead, watched));
      }
    });
    await Promise.race([life, Promise.all(calls)]);
    dead = random.chance(0.5);
    if (!dead) session.close();
    else if (random.chance(0.5)) session.socket?.destroy();
    else if (session.socket !== undefined) resetSocket(session.socket);
    await Promise.all(calls);
    session.destroy();
    await closed;
  }
}

interface Outcome {
  readonly status: number;
  readonly body: Buffer;
  readonly servedBy: string;
  readonly code: number;
  readonly ended: boolean;
}

function outcomeOf(stream: http2.ClientHttp2Stream): Promise<Outcome> {
  const chunks: Buffer[] = [];
  let fields: http2.IncomingHttpHeaders = {};
  let ended = false;
  const merge = (more: http2.IncomingHttpHeaders) => {
    fields = { ...fields, ...more };
  };
  stream.on('response', merge);
  stream.on('trailers', merge);
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => {});
  return new Promise((resolve) => {
    const settle = () =>
      resolve({
        status: Number(fields['grpc-status'] ?? '-1'),
        body: Buffer.concat(chunks),
        servedBy: String(fields['x-understudy-served-by'] ?? ''),
        code: stream.rstCode ?? 0,
        ended,
      });
    stream.once('close', settle);
    stream.once('end', () => {
      ended = true;
      // A stream that is reset without error while its request is being written does not close by itself in node:http2.
      setTimeout(() => {
        settle();
        stream.destroy();
      }, END_TO_CLOSE_MS).unref();
    });
  });
}

/** What node:http2 knows of a stream, for one that does not close. */
function stateOf(stream: http2.ClientHttp2Stream, session: http2.ClientHttp2Session): string {
  const { id, pending, closed, destroyed, aborted, rstCode, readableEnded, readableFlowing, writableFinished } = stream;
  return JSON.stringify({
    ...{ id, pending, closed, destroyed, aborted, rstCode, readableEnded, readableFlowing, writableFinished },
    unread: stream.readableLength,
    unsent: stream.writableLength,
    session: { closed: session.closed, destroyed: session.destroyed, socket: session.socket?.destroyed },
  });
}

/**
 * Sends the body as the fate has it: at once, or in pieces with pauses. An answer that is complete before its request is,
 * and then a reset without error, ends the stream's writing side; node:http2 never closes a stream that was written to after
 * that.
 */
async function send(stream: http2.ClientHttp2Stream, body: Buffer, random: Random): Promise<void> {
  if (random.chance(0.75)) {
    stream.end(body);
    return;
  }
  const pieces = random.between(2, 5);
  const size = Math.ceil(body.length / pieces);
  for (let i = 0; i < pieces && stream.writable; i++) {
    stream.write(body.subarray(i * size, (i + 1) * size));
    await delay(random.between(0, 40));
  }
  if (stream.writable) stream.end();
}

/** Reads nothing for a while, from the answer's head on. */
function readSlowly(stream: http2.ClientHttp2Stream, random: Random): void {
  const wait = random.between(20, 500);
  stream.once('response', () => {
    stream.pause();
    setTimeout(() => stream.resume(), wait);
  });
}

async function predict(
  session: http2.ClientHttp2Session,
  random: Random,
  tally: Tally,
  isDead: () => boolean,
  watched: WatchedCall,
): Promise<End> {
  const entry = tensorEntry(random.bytes(random.size()));
  const body = prefixed(predictMessage('m', entry));
  const stream = session.request({
    ':method': 'POST',
    ':path': '/tensorflow.serving.PredictionService/Predict',
    'content-type': 'application/grpc',
    te: 'trailers',
    'x-soak-crc': String(crc32(entry)),
    ...(random.chance(0.5) ? { 'grpc-timeout': `${random.between(20, 1500)}m` } : {}),
  });
  watched.describe = () => stateOf(stream, session);
  const outcome = outcomeOf(stream);
  if (random.chance(0.1)) readSlowly(stream, random);
  let cancelled = false;
  if (random.chance(0.1)) {
    const cancel = () => {
      cancelled = true;
      stream.close(http2.constants.NGHTTP2_CANCEL);
    };
    // Before the head is out, anywhere in the call, or in the middle of the answer.
    const when = random.next();
    if (when < 0.2) cancel();
    else if (when < 0.8) setTimeout(cancel, random.between(0, 100));
    else stream.once('data', cancel);
  }
  void send(stream, body, random);
  const { status, code, servedBy, body: answer, ended } = await outcome;
  tally.bytes += body.length + answer.length;
  if (status === 0 && code === 0 && ended && !cancelled) {
    const echoed = splitMessage(answer.subarray(5));
    if (echoed === null || !echoed.first.equals(entry) || answer.readUInt32BE(1) !== answer.length - 5) {
      tally.wrong(`gRPC: ${answer.length} bytes that are not the echo of ${body.length}`);
    } else if (servedBy === '') {
      tally.wrong('gRPC: an answer that does not say who served it');
    } else {
      const spec = specOf(echoed.second);
      // Another model's answer keeps the name that was asked for, and has no version of it.
      const expected = servedBy.startsWith('m@') ? servedBy : 'm@-1';
      if (spec !== expected) tally.wrong(`gRPC: ${spec} in the answer of ${servedBy}, not ${expected}`);
    }
    return 'ok';
  }
  if (cancelled || isDead() || session.destroyed) return 'gone';
  if (status < 0 || code !== 0) {
    tally.failure(`grpc reset ${code}`);
    return status < 0 ? 'cut' : 'failed';
  }
  tally.failure(`grpc status ${status}`);
  if (!HONEST_FAILURES.includes(status)) tally.wrong(`gRPC: status ${status}, which nothing here answers`);
  return 'failed';
}

/** Name and version (-1: none) of an encoded ModelSpec as the proxy writes it. */
function specOf(spec: Buffer): string {
  const length = spec[1]!;
  return `${spec.toString('latin1', 2, 2 + length)}@${spec[2 + length + 3] ?? -1}`;
}

async function talk(
  session: http2.ClientHttp2Session,
  random: Random,
  tally: Tally,
  isDead: () => boolean,
  watched: WatchedCall,
): Promise<End> {
  const sent = random.bytes(random.size());
  const stream = session.request({
    ':method': 'POST',
    ':path': '/soak.Echo/Talk',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  watched.describe = () => stateOf(stream, session);
  const outcome = outcomeOf(stream);
  if (random.chance(0.15)) readSlowly(stream, random);
  let cancelled = false;
  const cancel = () => {
    cancelled = true;
    stream.close(http2.constants.NGHTTP2_CANCEL);
  };
  const timer = setTimeout(cancel, random.chance(0.1) ? random.between(0, 100) : PATIENCE_MS);
  void send(stream, sent, random);
  const { status, body, code, ended } = await outcome;
  clearTimeout(timer);
  tally.bytes += sent.length + body.length;
  // What came of the echo must be its beginning, also when it was cut.
  if (!body.equals(sent.subarray(0, body.length)) && status !== 13) {
    tally.wrong(`stream: ${body.length} bytes that are not what was sent (status ${status})`);
  }
  if (status === 0 && code === 0 && ended && !cancelled) {
    if (body.length !== sent.length) tally.wrong(`stream: ${body.length} of ${sent.length} bytes and yet OK`);
    return 'ok';
  }
  if (cancelled || isDead() || session.destroyed) return 'gone';
  tally.failure(status < 0 ? `stream reset ${code}` : `stream status ${status}`);
  return status < 0 ? 'cut' : 'failed';
}
