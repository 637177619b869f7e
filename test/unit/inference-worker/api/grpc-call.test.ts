import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import { connect as connectTo } from 'node:net';
import { deflateSync, gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { decodeMessage, encodeMessage } from '../../../support/proto-codecs.ts';
import { floats, modelSpec } from '../../../support/tfs-client.ts';
import { type Front, openFront } from './support.ts';

const PREDICT = '/tensorflow.serving.PredictionService/Predict';
const REQUEST = encodeMessage('tensorflow.serving.PredictRequest', {
  model_spec: modelSpec('m', 1),
  inputs: { x: floats([1, 2], [5, 6]) },
});

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Trailers, or the headers of an answer without a body. */
  readonly end: IncomingHttpHeaders;
  readonly rstCode: number | undefined;
}

function open(t: Test, front: Front): ClientHttp2Session {
  const session = connect('http://front', { createConnection: () => connectTo(front.path) });
  session.on('error', () => {});
  t.teardown(() => session.destroy());
  return session;
}

/** Sends chunks, each in a turn of its own, and collects the answer. */
async function exchange(
  session: ClientHttp2Session,
  chunks: readonly Buffer[],
  headers: OutgoingHttpHeaders = {},
  finish = true,
): Promise<Answer> {
  const stream = session.request({
    ':method': 'POST',
    ':path': PREDICT,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => {});
  const parts: Uint8Array[] = [];
  let head: IncomingHttpHeaders = {};
  let end: IncomingHttpHeaders | null = null;
  stream.on('response', (received) => {
    head = received;
  });
  stream.on('trailers', (received) => {
    end = received;
  });
  stream.on('data', (chunk: Buffer) => parts.push(chunk));
  const closed = new Promise<void>((resolve) => stream.on('close', () => resolve()));
  for (const chunk of chunks) {
    if (stream.destroyed || stream.closed) break;
    await new Promise<void>((resolve) => stream.write(chunk, () => resolve()));
  }
  if (finish) stream.end();
  await closed;
  return { headers: head, body: Buffer.concat(parts), end: end ?? head, rstCode: stream.rstCode };
}

function framed(message: Buffer, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function assertAnswered(t: Test, answer: Answer, what: string): void {
  t.equal(answer.end['grpc-status'], '0', what);
  const reply = decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5));
  t.equal(reply.model_spec.version.value, '1', what);
}

t.test('a message arrives however it is cut', async (t) => {
  const session = open(t, await openFront(t));
  const whole = framed(REQUEST);
  assertAnswered(t, await exchange(session, [whole]), 'whole');
  for (const cut of [1, 4, 5, 6, whole.length - 1]) {
    assertAnswered(t, await exchange(session, [whole.subarray(0, cut), whole.subarray(cut)]), `cut at ${cut}`);
  }
  assertAnswered(
    t,
    await exchange(
      session,
      Array.from(whole, (byte) => Buffer.of(byte)),
    ),
    'byte by byte',
  );
});

t.test('gzip and deflate requests are inflated', async (t) => {
  const session = open(t, await openFront(t));
  const gzip = await exchange(session, [framed(gzipSync(REQUEST), 1)], { 'grpc-encoding': 'gzip' });
  assertAnswered(t, gzip, 'gzip');
  const deflate = await exchange(session, [framed(deflateSync(REQUEST), 1)], { 'grpc-encoding': 'deflate' });
  assertAnswered(t, deflate, 'deflate');
  const plain = await exchange(session, [framed(REQUEST, 0)], { 'grpc-encoding': 'gzip' });
  assertAnswered(t, plain, 'an encoding that this message does not use');
});

t.test('a bomb is RESOURCE_EXHAUSTED and corrupt bytes are the caller’s mistake', async (t) => {
  const session = open(t, await openFront(t, 100_000));
  const bomb = gzipSync(Buffer.alloc(5_000_000));
  t.match((await exchange(session, [framed(bomb, 1)], { 'grpc-encoding': 'gzip' })).end, { 'grpc-status': '8' });
  const corrupt = Buffer.from('not gzip at all');
  t.match((await exchange(session, [framed(corrupt, 1)], { 'grpc-encoding': 'gzip' })).end, { 'grpc-status': '3' });
  const untold = await exchange(session, [framed(gzipSync(REQUEST), 1)]);
  t.match(untold.end, { 'grpc-status': '13' }, 'compressed without saying how');
  assertAnswered(t, await exchange(session, [framed(REQUEST)]), 'the next call');
});

t.test('an unknown encoding is UNIMPLEMENTED and names the known ones', async (t) => {
  const session = open(t, await openFront(t));
  const { end } = await exchange(session, [framed(REQUEST, 1)], { 'grpc-encoding': 'br' });
  t.match(end, { 'grpc-status': '12', 'grpc-accept-encoding': 'identity,deflate,gzip' });
});

t.test('a length prefix of 2 GB is refused at once and holds nothing', async (t) => {
  const front = await openFront(t);
  const session = open(t, front);
  const prefix = Buffer.of(0, 0x80, 0, 0, 0);
  const before = process.memoryUsage().arrayBuffers;
  // The request is not ended: the refusal does not wait for the bytes that were announced.
  const { end } = await exchange(session, [prefix], {}, false);
  t.match(end, { 'grpc-status': '8' });
  t.ok(process.memoryUsage().arrayBuffers - before < 10_000_000);
  t.equal(front.server.pendingBytes, 0);
  assertAnswered(t, await exchange(session, [framed(REQUEST)]), 'the next call');
});

t.test('an announced message holds only what has arrived, and a caller that leaves gives it back', async (t) => {
  const front = await openFront(t);
  const session = open(t, front);
  const stream = session.request({ ':method': 'POST', ':path': PREDICT, 'content-type': 'application/grpc' });
  stream.on('error', () => {});
  stream.write(Buffer.concat([Buffer.of(0, 0, 0x0f, 0, 0), Buffer.alloc(1000)]));
  while (front.server.pendingBytes === 0) await new Promise(setImmediate);
  t.equal(front.server.pendingBytes, 1005);
  stream.close(8);
  while (front.server.pendingBytes > 0) await new Promise(setImmediate);
  t.pass();
});

t.test('messages in progress together are bounded', async (t) => {
  const front = await openFront(t, 20_000);
  const session = open(t, front);
  const chunk = Buffer.concat([Buffer.of(0, 0, 0, 0x4e, 0x20), Buffer.alloc(15_000)]);
  const answers = Array.from({ length: 6 }, () => exchange(session, [chunk], {}, false));
  const first = await Promise.race(answers);
  t.match(first.end, { 'grpc-status': '8', 'grpc-message': /requests in progress hold more than 80000 bytes/ });
});

t.test('requests that are no unary gRPC call are refused and harm nobody', async (t) => {
  const session = open(t, await openFront(t));
  const of = async (chunks: Buffer[], headers: OutgoingHttpHeaders = {}) =>
    (await exchange(session, chunks, headers)).end;
  t.match(await of([framed(REQUEST)], { ':path': '/a.B/C' }), { 'grpc-status': '12' });
  t.match(await of([framed(REQUEST)], { 'content-type': 'application/json' }), { ':status': 415 });
  t.match(await of([framed(REQUEST)], { 'content-type': 'application/grpc-web' }), { ':status': 415 });
  t.match(await of([], {}), { 'grpc-status': '3' }, 'no message');
  t.match(await of([framed(REQUEST).subarray(0, 20)]), { 'grpc-status': '3' }, 'half a message');
  t.match(await of([framed(REQUEST, 7)]), { 'grpc-status': '3' }, 'an unknown flag');
  t.match(await of([framed(Buffer.from('junk'))]), { 'grpc-status': '3' }, 'not protobuf');
  t.match(await of([framed(REQUEST)], { 'grpc-timeout': 'soon' }), { 'grpc-status': '3' });
  t.match(await of([Buffer.concat([framed(REQUEST), framed(REQUEST)])]), { 'grpc-status': '3' }, 'two messages');
  assertAnswered(t, await exchange(session, [framed(REQUEST)]), 'the next call');
});

t.test('callers that vanish at every byte leave nothing behind', async (t) => {
  const front = await openFront(t);
  const whole = framed(REQUEST);
  for (let cut = 0; cut <= whole.length; cut += 3) {
    const session = connect('http://front', { createConnection: () => connectTo(front.path) });
    session.on('error', () => {});
    const stream = session.request({ ':method': 'POST', ':path': PREDICT, 'content-type': 'application/grpc' });
    stream.on('error', () => {});
    await new Promise<void>((resolve) => stream.write(whole.subarray(0, cut), () => resolve()));
    session.destroy();
  }
  assertAnswered(t, await exchange(open(t, front), [whole]), 'afterwards');
  t.equal(front.server.pendingBytes, 0);
});
