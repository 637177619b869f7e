// Every way that a connection of the server ends: early answers, resets, malformed bodies, FIN, drain and timeouts.
import t from 'tap';
import { ErrorCode } from '../../../../proto/http2/frames.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { answer, echoPath, GET, OK, ServerHarness } from './support.ts';

t.test('the rest of a body after an early answer is dropped within a bound and the connection kept', async (t) => {
  const server = new ServerHarness({ limits: { maxDiscardBytes: 100 } });
  server.socket.receive('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 90\r\n\r\n');
  const exchange = server.requests[0]!.exchange!;
  exchange.sendHead(HeaderList.of([':status', '413']), true);
  exchange.reset(ErrorCode.NO_ERROR);
  server.socket.receive(`${'x'.repeat(90)}${GET}`);
  t.equal(server.requests[0]!.body, '');
  t.equal(server.requests.length, 2);
  t.equal(server.closes, 0);
});

t.test('the rest of a body beyond the bound ends the connection behind the answer', async (t) => {
  const server = new ServerHarness({ limits: { maxDiscardBytes: 100 } });
  server.socket.receive('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n');
  const exchange = server.requests[0]!.exchange!;
  exchange.sendHead(HeaderList.of([':status', '413']), true);
  exchange.reset(ErrorCode.NO_ERROR);
  server.socket.receive('x'.repeat(500));
  t.equal(server.socket.ended, true);
  t.same(server.requests[0]!.resets, []);
});

t.test(
  "resetting an unfinished answer cuts the connection, by RST where its end would look like the body's",
  async (t) => {
    for (const version of ['1.1', '1.0']) {
      const server = new ServerHarness();
      server.socket.receive(`GET / HTTP/${version}\r\nHost: h\r\n\r\n`);
      const exchange = server.requests[0]!.exchange!;
      exchange.sendHead(OK, false);
      exchange.sendData(Buffer.from('half'), 0, 4, false);
      exchange.reset(ErrorCode.INTERNAL_ERROR);
      t.equal(server.socket.destroyed, true);
      t.equal(server.socket.wasReset, version === '1.0');
      t.same(server.requests[0]!.resets, []);
    }
  },
);

t.test('a malformed body behind a begun answer cuts the connection without a second answer', async (t) => {
  const server = new ServerHarness({ onHead: (recorder) => recorder.exchange!.sendHead(OK, false) });
  server.socket.receive('POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n');
  t.equal(server.socket.destroyed, true);
  t.same(server.requests[0]!.resets, [ErrorCode.PROTOCOL_ERROR]);
  t.equal(server.requests[0]!.exchange!.fault?.reason, 'bad_chunk_size');
  t.equal(server.socket.text().match(/HTTP\/1.1/g)?.length, 1);
});

t.test('FIN during a request cancels it; with halfClose it is answered', async (t) => {
  const gone = new ServerHarness();
  gone.socket.receive(GET);
  gone.socket.receiveEnd();
  t.same(gone.requests[0]!.resets, [ErrorCode.CANCEL]);
  t.equal(gone.socket.destroyed, true);
  const half = new ServerHarness({ connection: { halfClose: true } });
  half.socket.receive(GET + GET);
  half.socket.receiveEnd();
  answer(half.requests[0]!, 'one');
  answer(half.requests[1]!, 'two');
  t.match(half.socket.text(), /one.*two/s);
  t.equal(half.socket.ended, true);
});

t.test('FIN in the middle of a body cancels the request in either case', async (t) => {
  for (const halfClose of [true, false]) {
    const server = new ServerHarness({ connection: { halfClose } });
    server.socket.receive('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc');
    server.socket.receiveEnd();
    t.same(server.requests[0]!.resets, [ErrorCode.CANCEL]);
    t.equal(server.closes, 1);
  }
});

t.test('the death of the socket reaches the handler once', async (t) => {
  const server = new ServerHarness();
  server.socket.receive(GET);
  server.socket.destroy();
  server.socket.destroy();
  t.same(server.requests[0]!.resets, [ErrorCode.CANCEL]);
  t.equal(server.closes, 1);
  const exchange = server.requests[0]!.exchange!;
  exchange.sendHead(OK, false);
  t.equal(exchange.sendData(Buffer.from('x'), 0, 1, true), 1);
  exchange.reset(ErrorCode.CANCEL);
  t.equal(server.socket.text(), '');
});

t.test('drain closes behind the next answer, and without a request after a pause', async (t) => {
  const busy = new ServerHarness();
  busy.socket.receive(GET);
  busy.connection.drain();
  answer(busy.requests[0]!, 'last');
  t.match(busy.socket.text(), /connection: close\r\n\r\nlast/);
  t.equal(busy.socket.ended, true);
  const late = new ServerHarness({ onEnded: echoPath });
  late.connection.drain();
  t.equal(late.socket.ended, false);
  late.socket.receive(GET);
  t.match(late.socket.text(), /connection: close/);
  const idle = new ServerHarness();
  idle.connection.drain();
  idle.wait(499);
  t.equal(idle.socket.ended, false);
  idle.wait(1);
  t.equal(idle.socket.ended, true);
});

t.test('each wait has its timeout and its verdict', async (t) => {
  const silent = new ServerHarness();
  silent.wait(10_000);
  t.equal(silent.socket.text(), '');
  t.equal(silent.socket.ended, true);
  const slow = new ServerHarness();
  slow.socket.receive('GET / HT');
  slow.wait(5000);
  slow.socket.receive('TP');
  slow.wait(5000);
  t.match(slow.socket.text(), /^HTTP\/1.1 408 .*connection: close/s);
  const idle = new ServerHarness({ onEnded: echoPath });
  idle.socket.receive(GET);
  idle.socket.take();
  idle.wait(74_999);
  t.equal(idle.socket.ended, false);
  idle.wait(1);
  t.equal(idle.socket.ended, true);
  t.equal(idle.socket.text(), '');
  const body = new ServerHarness();
  body.socket.receive('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n');
  body.wait(59_000);
  body.socket.receive('x');
  body.wait(59_000);
  t.equal(body.faults.length, 0);
  body.wait(60_000);
  t.equal(body.faults[0]?.status, 408);
  const busy = new ServerHarness();
  busy.socket.receive(GET);
  busy.wait(1e7);
  t.equal(busy.closes, 0, 'how long an answer takes is not for the connection to say');
  const unread = new ServerHarness({ onEnded: echoPath });
  unread.socket.taking = 10;
  unread.socket.receive(GET);
  unread.wait(60_000);
  t.equal(unread.socket.destroyed, true);
});

t.test('after FIN the peer has a while to close, then the socket goes', async (t) => {
  const server = new ServerHarness({ onEnded: echoPath });
  server.socket.receive('GET / HTTP/1.0\r\n\r\n');
  t.equal(server.socket.ended, true);
  server.socket.receive('more that nobody reads');
  t.equal(server.requests.length, 1);
  server.wait(2000);
  t.equal(server.socket.destroyed, true);
  t.equal(server.closes, 1);
});
