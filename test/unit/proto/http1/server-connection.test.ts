// The server's end: order, persistence, framing of answers, back-pressure, and every way a connection ends.

import t from 'tap';
import { ErrorCode } from '../../../../proto/http2/frames.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { threadMemory } from '../../../../proto/io/memory-budget.ts';
import { answer, OK, pairs, type Recorder, ServerHarness } from './support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n';
const echoPath = (recorder: Recorder) => answer(recorder, recorder.head.get(':path')!);

t.test('pipelined requests are answered in order, one at a time', async (t) => {
  const server = new ServerHarness();
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;
  server.socket.receive(get('/1') + get('/2') + get('/3').slice(0, 9));
  t.equal(server.requests.length, 1);
  server.socket.receive(get('/3').slice(9));
  answer(server.requests[0]!, 'one');
  t.equal(server.requests.length, 2);
  answer(server.requests[1]!, 'two');
  t.equal(server.requests.length, 3);
  answer(server.requests[2]!, 'three');
  t.match(server.socket.text(), /one.*two.*three/s);
  t.equal(server.socket.ended, false);
});

t.test('requests answered at once are all read in one go, bodies included', async (t) => {
  const server = new ServerHarness({ onEnded: (recorder) => answer(recorder, recorder.body) });
  const one = 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc';
  const two = 'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n';
  server.socket.receive((one + two).repeat(50));
  t.equal(server.requests.length, 100);
  t.match(server.socket.text(), /^(HTTP[^\n]*\n[^\n]*\n\r\nabcHTTP[^\n]*\n[^\n]*\n\r\ndef){50}$/);
});

t.test('pipelined bytes are kept up to their bound, then reading pauses until the answer', async (t) => {
  const server = new ServerHarness({ limits: { maxPipelinedBytes: 100 } });
  server.socket.receive(GET);
  server.socket.receive(GET.repeat(3));
  t.equal(server.socket.paused, false);
  server.socket.receive(GET.repeat(3));
  t.equal(server.socket.paused, true);
  while (server.requests.some((request) => !request.exchange!.localEnded)) answer(server.requests.at(-1)!, '');
  t.equal(server.requests.length, 7);
  t.equal(server.socket.paused, false);
});

t.test('a client that reads no answers gets no more requests read', async (t) => {
  const server = new ServerHarness({ onEnded: echoPath });
  server.socket.taking = 200;
  server.socket.receive(GET.repeat(50));
  const begun = server.requests.length;
  t.ok(begun < 10, `${begun}`);
  server.socket.drain(1e6);
  t.equal(server.requests.length, 50);
});

t.test('an answer is framed by what its list says and by whom it is for', async (t) => {
  const cases: [string, [string, string][], boolean, string, string][] = [
    ['GET / HTTP/1.1', [['content-length', '2']], false, 'hi', 'content-length: 2\r\n\r\nhi'],
    ['GET / HTTP/1.1', [], false, 'hi', 'transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n'],
    ['GET / HTTP/1.1', [], true, '', 'content-length: 0\r\n\r\n'],
    ['GET / HTTP/1.1', [['content-length', '9']], true, '', 'content-length: 0\r\n\r\n'],
    ['HEAD / HTTP/1.1', [['content-length', '2']], false, 'hi', 'content-length: 2\r\n\r\n'],
    ['HEAD / HTTP/1.1', [['content-length', '2']], true, '', 'content-length: 2\r\n\r\n'],
    ['GET / HTTP/1.0', [], false, 'hi', 'connection: close\r\n\r\nhi'],
    ['GET / HTTP/1.0\r\nConnection: keep-alive', [], false, 'hi', 'connection: close\r\n\r\nhi'],
    [
      'GET / HTTP/1.0\r\nConnection: keep-alive',
      [['content-length', '2']],
      false,
      'hi',
      'content-length: 2\r\nconnection: keep-alive\r\n\r\nhi',
    ],
    [
      'GET / HTTP/1.1\r\nConnection: close',
      [['content-length', '2']],
      false,
      'hi',
      'content-length: 2\r\nconnection: close\r\n\r\nhi',
    ],
    [
      'GET / HTTP/1.1',
      [
        ['connection', 'x'],
        ['transfer-encoding', 'gzip'],
        ['keep-alive', 'y'],
        ['upgrade', 'z'],
      ],
      true,
      '',
      'content-length: 0\r\n\r\n',
    ],
    [
      'GET / HTTP/1.1',
      [['content-length', 'two']],
      false,
      'hi',
      'transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
    ],
  ];
  for (const [request, fields, end, body, wanted] of cases) {
    const server = new ServerHarness();
    server.socket.receive(`${request}\r\nHost: h\r\n\r\n`);
    const exchange = server.requests[0]!.exchange!;
    exchange.sendHead(HeaderList.of([':status', '200'], ...fields), end);
    if (!end) exchange.sendData(Buffer.from(body), 0, body.length, true);
    t.equal(server.socket.text(), `HTTP/1.1 200 OK\r\n${wanted}`, request);
    t.equal(server.socket.ended, wanted.includes('close'), request);
  }
});

t.test('204 and 304 have no body, and 204 no length', async (t) => {
  for (const status of ['204', '304']) {
    const server = new ServerHarness();
    server.socket.receive(GET);
    const exchange = server.requests[0]!.exchange!;
    exchange.sendHead(HeaderList.of([':status', status], ['content-length', '5']), false);
    exchange.sendData(Buffer.from('hello'), 0, 5, true);
    t.equal(server.socket.text().includes('content-length'), status === '304');
    t.notMatch(server.socket.text(), /hello/);
    server.socket.receive(GET);
    t.equal(server.requests.length, 2);
  }
});

t.test('an answer that breaks its own content-length cuts the connection', async (t) => {
  for (const bytes of [3, 7]) {
    const server = new ServerHarness();
    server.socket.receive(GET);
    const exchange = server.requests[0]!.exchange!;
    exchange.sendHead(HeaderList.of([':status', '200'], ['content-length', '5']), false);
    exchange.sendData(Buffer.alloc(bytes), 0, bytes, true);
    t.equal(server.socket.destroyed, true);
    t.same(server.requests[0]!.resets, [ErrorCode.INTERNAL_ERROR]);
  }
});

t.test('an answer that has no octets becomes 502 instead of another header line', async (t) => {
  const server = new ServerHarness();
  server.socket.receive(GET);
  server.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '200'], ['x', 'a\r\nset-cookie: b']), true);
  t.equal(server.socket.text(), 'HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n');
});

t.test('trailers go out behind chunks and are dropped behind a length', async (t) => {
  const trailers = HeaderList.of(['x-sum', '1'], ['content-length', '9'], ['grpc-status', '0']);
  for (const length of [true, false]) {
    const server = new ServerHarness();
    server.socket.receive(GET);
    const exchange = server.requests[0]!.exchange!;
    exchange.sendHeaders(length ? HeaderList.of([':status', '200'], ['content-length', '2']) : OK, false);
    exchange.sendData(Buffer.from('hi'), 0, 2, false);
    exchange.sendHeaders(trailers, true);
    t.match(server.socket.text(), length ? /\r\n\r\nhi$/ : /2\r\nhi\r\n0\r\nx-sum: 1\r\ngrpc-status: 0\r\n\r\n$/);
    t.equal(exchange.closed, true);
  }
});

t.test('trailers come in behind chunks, whole and byte by byte', async (t) => {
  const text =
    'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nY: z\r\n\r\n';
  for (const step of [1000, 1, 7]) {
    const server = new ServerHarness({ onEnded: (recorder) => answer(recorder, '') });
    const twice = text + text;
    for (let i = 0; i < twice.length; i += step) server.socket.receive(twice.slice(i, i + step));
    t.equal(server.requests.length, 2);
    for (const request of server.requests) {
      t.equal(request.body, 'abc');
      t.same(pairs(request.trailers!), [
        ['x-sum', '1'],
        ['y', 'z'],
      ]);
    }
  }
});

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

t.test('100-continue is sent when the head was taken without an answer', async (t) => {
  const text = 'PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n';
  const server = new ServerHarness({ onEnded: (recorder) => answer(recorder, recorder.body) });
  server.socket.receive(text);
  t.equal(server.socket.take(), 'HTTP/1.1 100 Continue\r\n\r\n');
  server.socket.receive('hi');
  t.match(server.socket.take(), /^HTTP\/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi$/);
});

t.test('a proxy relays the expectation: its 100 goes out once, and an early refusal closes', async (t) => {
  const text = 'PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n';
  const server = new ServerHarness({ connection: { autoContinue: false } });
  server.socket.receive(text);
  t.equal(server.socket.take(), '');
  const exchange = server.requests[0]!.exchange!;
  t.equal(exchange.expectsContinue, true);
  exchange.sendHead(HeaderList.of([':status', '100']), false);
  exchange.sendContinue();
  exchange.sendHead(HeaderList.of([':status', '103'], ['link', 'x']), false);
  t.equal(server.socket.take(), 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n');
  server.socket.receive('hi');
  answer(server.requests[0]!, 'ok');
  t.equal(server.socket.ended, false);
  const refused = new ServerHarness({ connection: { autoContinue: false } });
  refused.socket.receive(text);
  const early = refused.requests[0]!.exchange!;
  early.sendHead(HeaderList.of([':status', '403']), true);
  t.match(refused.socket.text(), /connection: close/);
  early.reset(ErrorCode.NO_ERROR);
  t.equal(refused.socket.ended, true);
  t.equal(refused.socket.destroyed, false);
});

t.test('HTTP/1.0 gets no informational answers', async (t) => {
  const server = new ServerHarness();
  server.socket.receive('GET / HTTP/1.0\r\n\r\n');
  server.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '103']), false);
  t.equal(server.socket.text(), '');
});

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

t.test('a malformed pipelined request is answered behind the earlier ones', async (t) => {
  const server = new ServerHarness();
  server.socket.receive(`${GET}GET / HTTP/1.1\n\n`);
  t.equal(server.faults.length, 0);
  answer(server.requests[0]!, 'first');
  t.match(server.socket.text(), /first.*400 Bad Request/s);
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

t.test('an upgrade hands over the socket and the bytes behind the request', async (t) => {
  const text = 'GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  const now = new ServerHarness({
    onHead: (recorder) => {
      recorder.exchange!.sendHead(HeaderList.of([':status', '101'], ['upgrade', 'websocket'], ['x', 'y']), false);
      const taken = recorder.exchange!.takeOver();
      t.equal(taken.unread.toString(), 'frames');
      t.equal(taken.io, now.socket.io);
    },
  });
  now.socket.receive(`${text}frames`);
  t.equal(
    now.socket.text(),
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nx: y\r\nconnection: upgrade\r\n\r\n',
  );
  t.equal(now.closes, 1);
  t.equal(now.socket.destroyed, false);
  const later = new ServerHarness();
  later.socket.receive(`${text}fra`);
  later.socket.receive('mes');
  t.equal(later.requests[0]!.exchange!.head!.upgrade, true);
  later.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '101'], ['upgrade', 'websocket']), false);
  t.equal(later.requests[0]!.exchange!.takeOver().unread.toString(), 'frames');
});

t.test('CONNECT is told apart and can become a tunnel or be refused', async (t) => {
  const text = 'CONNECT o:443 HTTP/1.1\r\nHost: o:443\r\n\r\n';
  const tunnel = new ServerHarness();
  tunnel.socket.receive(`${text}hello`);
  tunnel.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '200'], ['content-length', '3']), false);
  t.equal(tunnel.socket.text(), 'HTTP/1.1 200 OK\r\n\r\n');
  t.equal(tunnel.requests[0]!.exchange!.takeOver().unread.toString(), 'hello');
  const refused = new ServerHarness();
  refused.socket.receive(text);
  refused.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '405']), true);
  t.equal(refused.socket.text(), 'HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n');
  refused.socket.receive(GET);
  t.equal(refused.requests.length, 2);
});

t.test('an empty line before a request is forgiven once', async (t) => {
  const server = new ServerHarness({ onEnded: echoPath });
  server.socket.receive(`\r\n${GET}`);
  server.socket.receive('\r');
  server.socket.receive('\n');
  server.socket.receive(GET);
  t.equal(server.requests.length, 2);
  t.equal(server.faults.length, 0);
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
