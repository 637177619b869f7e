// The client's end: requests out, answers in, reuse only when it is safe, and retries only when they are harmless.

import t from 'tap';
import { ErrorCode } from '../../../../proto/http2/frames.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { ClientHarness, pairs, type Recorder } from './support.ts';

const PSEUDO = (method: string, path = '/'): [string, string][] => [
  [':method', method],
  [':path', path],
  [':authority', 'a:1'],
  [':scheme', 'http'],
];

t.test('a request list becomes its octets', async (t) => {
  const cases: [[string, string][], boolean, string][] = [
    [[...PSEUDO('GET', '/x?y'), ['accept', '*/*']], true, 'GET /x?y HTTP/1.1\r\nhost: a:1\r\naccept: */*\r\n\r\n'],
    [PSEUDO('POST'), true, 'POST / HTTP/1.1\r\nhost: a:1\r\ncontent-length: 0\r\n\r\n'],
    [PSEUDO('POST'), false, 'POST / HTTP/1.1\r\nhost: a:1\r\ntransfer-encoding: chunked\r\n\r\n'],
    [[...PSEUDO('POST'), ['content-length', '3']], false, 'POST / HTTP/1.1\r\nhost: a:1\r\ncontent-length: 3\r\n\r\n'],
    [
      [...PSEUDO('GET'), ['te', 'trailers']],
      true,
      'GET / HTTP/1.1\r\nhost: a:1\r\nte: trailers\r\nconnection: te\r\n\r\n',
    ],
    [
      [...PSEUDO('GET'), ['upgrade', 'websocket']],
      true,
      'GET / HTTP/1.1\r\nhost: a:1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
    ],
    [
      [...PSEUDO('GET'), ['cookie', 'a=1'], ['x', 'y'], ['cookie', 'b=2']],
      true,
      'GET / HTTP/1.1\r\nhost: a:1\r\nx: y\r\ncookie: a=1; b=2\r\n\r\n',
    ],
    [
      [...PSEUDO('GET'), ['host', 'other'], ['connection', 'close'], ['transfer-encoding', 'gzip']],
      true,
      'GET / HTTP/1.1\r\nhost: a:1\r\n\r\n',
    ],
    [
      [
        [':method', 'GET'],
        [':path', '/'],
        [':scheme', 'http'],
        ['host', 'h'],
      ],
      true,
      'GET / HTTP/1.1\r\nhost: h\r\n\r\n',
    ],
    [
      [
        [':method', 'CONNECT'],
        [':authority', 'o:443'],
      ],
      true,
      'CONNECT o:443 HTTP/1.1\r\nhost: o:443\r\n\r\n',
    ],
  ];
  for (const [fields, end, wanted] of cases) {
    const client = new ClientHarness();
    t.not(client.request(fields, end).exchange, null);
    t.equal(client.socket.text(), wanted);
  }
});

t.test('a list that HTTP/1.1 cannot say is not sent: nothing can be injected through HTTP/2', async (t) => {
  const bad: [string, string][][] = [
    PSEUDO('GET', '/a HTTP/1.1'),
    PSEUDO('GET', '/a\r\nx: y'),
    PSEUDO('GET', 'a'),
    PSEUDO('GET', '/\xe9'),
    PSEUDO('G T'),
    PSEUDO(''),
    [
      [':method', 'GET'],
      [':path', '/'],
      [':authority', 'a b'],
      [':scheme', 'http'],
    ],
    [
      [':method', 'GET'],
      [':path', '/'],
      ['host', 'a\r\nx: y'],
    ],
    [...PSEUDO('GET'), ['x y', 'z']],
    [...PSEUDO('GET'), ['x', 'y\nz']],
    [...PSEUDO('GET'), ['x', 'y\0']],
    [[':status', '200']],
  ];
  for (const fields of bad) {
    const client = new ClientHarness();
    t.equal(client.request(fields).exchange, null, JSON.stringify(fields));
    t.equal(client.socket.text(), '');
  }
});

t.test('answers of every framing end where they end, and the connection is used again', async (t) => {
  const client = new ClientHarness();
  const answers: [string, string][] = [
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'hello'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n', 'hello'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', ''],
    ['HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n', ''],
    ['HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n', ''],
    ['HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', 'ok'],
    ['HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok', 'ok'],
  ];
  let idles = 0;
  for (const [text, body] of answers) {
    for (const step of [1000, 1]) {
      const recorder = client.get();
      for (let i = 0; i < text.length; i += step) client.socket.receive(text.slice(i, i + step));
      t.equal(recorder.body, body);
      t.equal(recorder.ended, true);
      t.equal(client.idles, ++idles);
    }
  }
  const head = client.request(PSEUDO('HEAD'));
  client.socket.receive('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n');
  t.equal(head.ended, true);
  t.equal(client.connection.canOpen, true);
});

t.test('an answer without framing ends with the connection, which is not used again', async (t) => {
  const client = new ClientHarness();
  const recorder = client.get();
  client.socket.receive('HTTP/1.1 200 OK\r\n\r\nsome');
  client.socket.receive(' bytes');
  t.equal(recorder.ended, false);
  client.socket.receiveEnd();
  t.equal(recorder.ended, true);
  t.equal(recorder.body, 'some bytes');
  t.equal(client.idles, 0);
  t.equal(client.closes, 1);
});

t.test('an answer that says close, or HTTP/1.0, ends the connection behind it', async (t) => {
  for (const text of [
    'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n',
  ]) {
    const client = new ClientHarness();
    const recorder = client.get();
    client.socket.receive(text);
    t.equal(recorder.ended, true);
    t.equal(client.idles, 0);
    t.equal(client.socket.destroyed, true);
  }
});

t.test('trailers of an answer arrive', async (t) => {
  const client = new ClientHarness();
  const recorder = client.get();
  client.socket.receive('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nGrpc-Status: 0\r\n\r\n');
  t.same(pairs(recorder.trailers!), [['grpc-status', '0']]);
  t.equal(client.idles, 1);
});

t.test('informational heads are handed on before the head, within their bound', async (t) => {
  const client = new ClientHarness({ maxInformational: 2 });
  const recorder = client.request([...PSEUDO('PUT'), ['expect', '100-continue'], ['content-length', '2']], false);
  client.socket.receive('HTTP/1.1 100 Continue\r\n\r\n');
  t.equal(recorder.head.get(':status'), '100');
  t.equal(recorder.exchange!.headReceived, false);
  recorder.exchange!.sendData(Buffer.from('ok'), 0, 2, true);
  client.socket.receive('HTTP/1.1 102 P\r\n\r\n');
  client.socket.receive('HTTP/1.1 102 P\r\n\r\n');
  t.equal(recorder.exchange!.fault?.reason, 'too_many_informational');
});

t.test('bytes that nobody asked for never become an answer', async (t) => {
  const reply = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
  const idle = new ClientHarness();
  idle.socket.receive(reply);
  t.equal(idle.socket.destroyed, true);
  t.match(idle.error, { reason: 'unsolicited' });
  const behind = new ClientHarness();
  const recorder = behind.get();
  behind.socket.receive(reply + reply);
  t.equal(recorder.ended, true);
  t.equal(behind.idles, 0);
  t.equal(behind.socket.destroyed, true);
  const early = new ClientHarness();
  early.socket.write = () => {};
  const unsent = early.get();
  early.socket.receive(reply);
  t.equal(unsent.exchange!.fault?.reason, 'unsolicited');
  t.equal(unsent.exchange!.refused, true);
});

t.test('a connection that ends before the answer says whether the request may be sent again', async (t) => {
  const cases: [string, boolean][] = [
    ['GET', true],
    ['HEAD', true],
    ['PUT', true],
    ['DELETE', true],
    ['OPTIONS', true],
    ['POST', false],
    ['PATCH', false],
    ['FOO', false],
  ];
  for (const [method, harmless] of cases) {
    const client = new ClientHarness();
    const recorder = client.request(PSEUDO(method));
    client.socket.receiveEnd();
    t.same(recorder.resets, [ErrorCode.CANCEL]);
    t.equal(recorder.exchange!.refused, false);
    t.equal(recorder.exchange!.canRetry, harmless, method);
  }
  const unsent = new ClientHarness();
  unsent.connection.established = false;
  const post = unsent.request(PSEUDO('POST'));
  unsent.socket.destroy();
  t.equal(post.exchange!.refused, true);
  t.equal(post.exchange!.canRetry, true);
  const begun = new ClientHarness();
  const get = begun.get();
  begun.socket.receive('H');
  begun.socket.receiveEnd();
  t.equal(get.exchange!.canRetry, false);
  t.equal(get.exchange!.fault?.reason, 'truncated');
});

t.test('an answer that stops early is truncated, whatever its framing', async (t) => {
  for (const text of [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n',
  ]) {
    const client = new ClientHarness();
    const recorder = client.get();
    client.socket.receive(text);
    client.socket.receiveEnd();
    t.equal(recorder.ended, false);
    t.equal(recorder.exchange!.fault?.reason, 'truncated');
    t.equal(recorder.resets.length, 1);
  }
});

t.test('one exchange at a time; the next may begin in onIdle', async (t) => {
  const client = new ClientHarness();
  const first = client.get();
  t.equal(client.get().exchange, null);
  client.socket.receive('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  t.equal(first.ended, true);
  t.not(client.get().exchange, null);
});

t.test('cancelling closes the connection and the handler hears nothing', async (t) => {
  const client = new ClientHarness();
  const recorder = client.get();
  recorder.exchange!.cancel();
  t.equal(client.socket.destroyed, true);
  t.same(recorder.resets, []);
  t.equal(client.closes, 1);
});

t.test('an early answer leaves the request to be finished before the connection is used again', async (t) => {
  const client = new ClientHarness();
  const recorder = client.request(PSEUDO('POST'), false);
  client.socket.receive('HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n');
  t.equal(recorder.ended, true);
  t.equal(client.idles, 0);
  recorder.exchange!.sendEnd();
  t.equal(client.idles, 1);
});

t.test('drain ends an idle connection at once and a busy one behind its answer', async (t) => {
  const idle = new ClientHarness();
  idle.connection.drain();
  t.equal(idle.socket.ended, true);
  const busy = new ClientHarness();
  const recorder = busy.get();
  busy.connection.drain();
  busy.socket.receive('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  t.equal(recorder.ended, true);
  t.equal(busy.idles, 0);
  t.equal(busy.closes, 1);
});

t.test('a switch of protocols hands over the socket and what came behind the head', async (t) => {
  for (const [request, text] of [
    [[...PSEUDO('GET'), ['upgrade', 'websocket']], 'HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\nframes'],
    [
      [
        [':method', 'CONNECT'],
        [':authority', 'o:1'],
      ],
      'HTTP/1.1 200 Fine\r\n\r\nframes',
    ],
  ] as [[string, string][], string][]) {
    const client = new ClientHarness();
    const recorder = client.request(request);
    let unread = '';
    recorder.onHeadSeen = () => {
      unread = recorder.exchange!.takeOver().unread.toString();
    };
    client.socket.receive(text);
    t.equal(unread, 'frames');
    t.equal(client.closes, 1);
    t.equal(client.socket.destroyed, false);
  }
});

t.test('a lagging consumer of an answer stops the reading', async (t) => {
  const client = new ClientHarness({ windowBytes: 10 });
  const recorder = client.get();
  recorder.consuming = false;
  client.socket.receive('HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n12345678901');
  t.equal(client.socket.paused, true);
  recorder.exchange!.consume(11);
  t.equal(client.socket.paused, false);
});

t.test('a repeated answer head is the same list', async (t) => {
  const client = new ClientHarness();
  const recorders: Recorder[] = [];
  for (let i = 0; i < 3; i++) {
    recorders.push(client.get());
    client.socket.receive('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: y\r\n\r\n');
  }
  t.equal(recorders[1]!.head, recorders[2]!.head);
  t.ok(recorders[0]!.head instanceof HeaderList);
});
