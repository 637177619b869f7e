// What the server does when either side lags: reading stops, output is queued, and what is held has a bound.
import t from 'tap';
import { ErrorCode } from '../../../../proto/http2/frames.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { threadMemory } from '../../../../proto/io/memory-budget.ts';
import { answer, GET, OK, ServerHarness } from './support.ts';

t.test('a consumer that lags stops the reading, and starts it again at half the window', async (t) => {
  const server = new ServerHarness({
    limits: { windowBytes: 1000 },
    onHead: (recorder) => (recorder.consuming = false),
  });
  server.socket.receive('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n');
  server.socket.receive('x'.repeat(1000));
  t.equal(server.socket.paused, false);
  server.socket.receive('x');
  t.equal(server.socket.paused, true);
  const exchange = server.requests[0]!.exchange!;
  exchange.consume(500);
  t.equal(server.socket.paused, true);
  exchange.consume(1);
  t.equal(server.socket.paused, false);
  server.socket.receive('x'.repeat(3999));
  t.equal(server.requests[0]!.ended, true);
  answer(server.requests[0]!, '');
  t.equal(server.socket.paused, false, 'what is not consumed of an ended message stops nothing');
  server.socket.receive(GET);
  t.equal(server.requests.length, 2);
});

t.test('what the socket does not take is queued, reported when it goes, and ends behind it', async (t) => {
  for (const chunked of [true, false]) {
    const server = new ServerHarness();
    server.socket.receive(GET + GET);
    const recorder = server.requests[0]!;
    const exchange = recorder.exchange!;
    exchange.sendHead(chunked ? OK : HeaderList.of([':status', '200'], ['content-length', '300000']), false);
    server.socket.taking = 100_000;
    const body = Buffer.alloc(300_000, 'x');
    const sent = exchange.sendData(body, 0, 200_000, false);
    t.ok(sent >= 98_000 && sent < 200_000, `${sent}`);
    t.equal(exchange.sendData(body, 200_000, 300_000, false), 0);
    exchange.sendEnd(HeaderList.of(['x', 'y']));
    t.equal(exchange.localEnded, false);
    t.equal(server.requests.length, 1);
    for (let i = 0; i < 20 && !exchange.localEnded; i++) server.socket.drain(50_000);
    t.equal(recorder.sent + sent, 300_000);
    t.equal(exchange.localEnded, true);
    t.equal(server.socket.text().replaceAll(/[^x]/g, '').length, chunked ? 300_001 : 300_000);
    server.socket.drain(1e6);
    t.equal(server.requests.length, 2);
  }
});

t.test('what is held for slow peers counts, and the heaviest are given up when it is too much', async (t) => {
  const before = threadMemory.heldBytes;
  const limit = threadMemory.limitBytes;
  const slow = new ServerHarness();
  slow.socket.receive(GET);
  slow.requests[0]!.exchange!.sendHead(OK, false);
  slow.socket.taking = 0;
  slow.requests[0]!.exchange!.sendData(Buffer.alloc(5000), 0, 5000, false);
  const partial = new ServerHarness();
  partial.socket.receive(`GET / HTTP/1.1\r\nx: ${'y'.repeat(1000)}`);
  const light = new ServerHarness();
  light.socket.receive('GET');
  t.equal(threadMemory.heldBytes - before, 5000 + 1019 + 3);
  threadMemory.limitBytes = before + 100;
  threadMemory.enforce();
  threadMemory.limitBytes = limit;
  t.same(slow.requests[0]!.resets, [ErrorCode.ENHANCE_YOUR_CALM]);
  t.equal(partial.closes, 1);
  t.equal(light.closes, 0);
  t.equal(threadMemory.heldBytes - before, 3);
  light.socket.receive(' / HTTP/1.1\r\nHost: h\r\n\r\n');
  t.equal(light.requests.length, 1);
  t.equal(threadMemory.heldBytes, before);
});

/**
 * Scenario: a peer sends half a head, or requests behind one that is not answered yet, and its connection breaks.
 * Mechanism: what had come before its turn stayed counted, and its connection listed among the holders. Consequence: every
 * such peer cost its connection's memory for good, and took from the bound what honest ones may have held.
 */
t.test('a peer that goes away leaves nothing held', async (t) => {
  const bytes = threadMemory.heldBytes;
  const holders = threadMemory.holderCount;
  for (const sent of ['GET / HTTP/1.1\r\nHost: h\r\nx: half', GET + GET + GET]) {
    for (const leave of ['broken', 'destroyed'] as const) {
      const server = new ServerHarness();
      server.socket.receive(sent);
      t.ok(threadMemory.heldBytes > bytes && threadMemory.holderCount > holders, 'something is held');
      if (leave === 'destroyed') server.connection.destroy();
      else server.socket.reader.onClosed(new Error('read ECONNRESET'));
      t.equal(threadMemory.heldBytes, bytes);
      t.equal(threadMemory.holderCount, holders);
    }
  }
});
