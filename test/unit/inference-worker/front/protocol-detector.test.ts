/** Telling HTTP/2 from HTTP/1.1 by the first bytes, however they come. */
import t from 'tap';
import { TimerWheel } from '../../../../base/timer-wheel.ts';
import { DETECT_TIMEOUT_MS, ProtocolDetector } from '../../../../inference-worker/front/protocol-detector.ts';
import { type ByteReader, ByteSocket } from '../../../../proto/io/byte-socket.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

function detect(chunks: readonly string[]) {
  const clock = new VirtualClock();
  const timers = new TimerWheel(clock, false);
  const read: Buffer[] = [];
  let isHttp2: boolean | null = null;
  let gone = false;
  const connection: ByteReader = {
    onBytes: (buffer, length) => read.push(Buffer.from(buffer.subarray(0, length))),
    onEnd() {},
    onDrained() {},
    onClosed() {},
  };
  const detector = new ProtocolDetector(timers, clock, {
    detected(socket, http2) {
      isHttp2 = http2;
      socket.reader = connection;
    },
    gone: () => {
      gone = true;
    },
  });
  const io = new ByteSocket(detector);
  detector.io = io;
  for (const chunk of chunks) io.reader.onBytes(Buffer.from(chunk), chunk.length);
  return {
    clock,
    timers,
    io,
    isHttp2: isHttp2 as boolean | null,
    text: () => Buffer.concat(read).toString(),
    gone: () => gone,
  };
}

t.test('the preface is HTTP/2, whole or a byte at a time, and nothing of it is lost', async (t) => {
  for (const chunks of [[PREFACE], [...PREFACE], ['PR', 'I * HTTP/2.0\r\n\r\nSM\r\n\r\n'], ['P', 'RI']]) {
    const { isHttp2, text } = detect(chunks);
    if (chunks.join('').length < 4) t.equal(isHttp2, null);
    else t.same([isHttp2, text()], [true, chunks.join('')]);
  }
});

t.test('anything else is HTTP/1.1, whole or a byte at a time, also what begins alike', async (t) => {
  for (const start of [
    'GET / HTTP/1.1\r\n',
    'POST /v1 HTTP/1.1\r\n',
    'PRINT / HTTP/1.1\r\n',
    'PUT / HTTP/1.1\r\n',
    '\r\nGET /',
  ]) {
    for (const chunks of [[start], [...start]]) t.same([detect(chunks).isHttp2, detect(chunks).text()], [false, start]);
  }
});

t.test('a socket that says nothing is closed after a while, and its end is told', async (t) => {
  const { clock, timers, io, gone } = detect(['PR']);
  clock.advance(DETECT_TIMEOUT_MS - 100);
  timers.advance();
  t.notOk(io.closed);
  clock.advance(200);
  timers.advance();
  t.ok(io.closed);
  t.ok(gone());
});
