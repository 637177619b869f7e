// How the server frames its answers: lengths, chunks, trailers, bodies that may not be, and informational answers.
import t from 'tap';
import { ErrorCode } from '../../../../proto/http2/frames.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { answer, GET, OK, ServerHarness } from './support.ts';

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
