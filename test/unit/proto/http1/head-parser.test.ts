// What a head says once it is whole, and that it says the same however its bytes come.

import t from 'tap';
import { FAULTY, HeadParser, INCOMPLETE } from '../../../../proto/http1/head-parser.ts';
import { DEFAULT_HTTP1_LIMITS } from '../../../../proto/http1/limits.ts';
import { Method } from '../../../../proto/http1/methods.ts';
import { Framing, type ParsedHead } from '../../../../proto/http1/parsed-head.ts';
import { answer, pairs, type Recorder, ServerHarness } from './support.ts';

function parse(text: string, parser = new HeadParser(DEFAULT_HTTP1_LIMITS)): ParsedHead {
  const bytes = Buffer.from(text, 'latin1');
  const end = parser.scan(bytes, 0, bytes.length);
  if (end < 0) throw new Error(`scan: ${end}, fault ${parser.fault}`);
  const head = text.startsWith('HTTP/') ? parser.parseResponse(bytes, 0, end) : parser.parseRequest(bytes, 0, end);
  if (head === null) throw new Error(`fault ${parser.fault}`);
  return head;
}

const POST =
  'POST /v1/models/m:predict?x=%20 HTTP/1.1\r\nHost: model.example:8501\r\nContent-Type: application/json\r\n' +
  'X-Odd_Name.1:   spaced \t \r\nX-Empty:\r\nX-High: caf\xe9\r\nContent-Length: 12\r\n\r\n';

t.test('a request becomes pseudo fields, then its fields in order with lower-case names', async (t) => {
  const head = parse(POST);
  t.same(pairs(head.list), [
    [':method', 'POST'],
    [':path', '/v1/models/m:predict?x=%20'],
    [':authority', 'model.example:8501'],
    [':scheme', 'http'],
    ['content-type', 'application/json'],
    ['x-odd_name.1', 'spaced'],
    ['x-empty', ''],
    ['x-high', 'caf\xe9'],
    ['content-length', '12'],
  ]);
  t.equal(head.methodCode, Method.POST);
  t.equal(head.framing, Framing.LENGTH);
  t.equal(head.contentLength, 12);
  t.equal(head.persistent, true);
});

t.test('a response becomes :status and its fields; the reason may be missing with or without its space', async (t) => {
  for (const line of ['HTTP/1.1 207 Multi Status', 'HTTP/1.1 207 ', 'HTTP/1.1 207']) {
    const head = parse(`${line}\r\nServer: x\r\n\r\n`);
    t.same(pairs(head.list), [
      [':status', '207'],
      ['server', 'x'],
    ]);
    t.equal(head.framing, Framing.UNTIL_CLOSE);
  }
});

t.test('each form of target becomes what HTTP/2 says for it', async (t) => {
  const forms: [string, [string, string][]][] = [
    [
      'GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n',
      [
        [':method', 'GET'],
        [':path', '/a?b'],
        [':authority', 'h'],
        [':scheme', 'http'],
      ],
    ],
    [
      'GET http://o:1/a HTTP/1.1\r\nHost: h\r\n\r\n',
      [
        [':method', 'GET'],
        [':path', '/a'],
        [':authority', 'o:1'],
        [':scheme', 'http'],
      ],
    ],
    [
      'GET HTTPS://o HTTP/1.1\r\nHost: h\r\n\r\n',
      [
        [':method', 'GET'],
        [':path', '/'],
        [':authority', 'o'],
        [':scheme', 'https'],
      ],
    ],
    [
      'GET http://o?q HTTP/1.1\r\nHost: h\r\n\r\n',
      [
        [':method', 'GET'],
        [':path', '/?q'],
        [':authority', 'o'],
        [':scheme', 'http'],
      ],
    ],
    [
      'OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n',
      [
        [':method', 'OPTIONS'],
        [':path', '*'],
        [':authority', 'h'],
        [':scheme', 'http'],
      ],
    ],
    [
      'OPTIONS http://o HTTP/1.1\r\nHost: h\r\n\r\n',
      [
        [':method', 'OPTIONS'],
        [':path', '*'],
        [':authority', 'o'],
        [':scheme', 'http'],
      ],
    ],
    [
      'CONNECT o:443 HTTP/1.1\r\nHost: h\r\n\r\n',
      [
        [':method', 'CONNECT'],
        [':authority', 'o:443'],
      ],
    ],
    [
      'GET /a HTTP/1.0\r\n\r\n',
      [
        [':method', 'GET'],
        [':path', '/a'],
        [':scheme', 'http'],
      ],
    ],
    [
      'GET /a HTTP/1.1\r\nHost:\r\n\r\n',
      [
        [':method', 'GET'],
        [':path', '/a'],
        [':scheme', 'http'],
      ],
    ],
    [
      'GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n',
      [
        [':method', 'GET'],
        [':path', '/a'],
        [':authority', '[::1]:80'],
        [':scheme', 'http'],
      ],
    ],
  ];
  for (const [text, expected] of forms)
    t.same(pairs(parse(text).list), expected, JSON.stringify(text.split('\r\n')[0]));
});

t.test('persistence follows the version and the connection field', async (t) => {
  const cases: [string, string, boolean][] = [
    ['1.1', '', true],
    ['1.1', 'Connection: close\r\n', false],
    ['1.1', 'Connection: foo, CLOSE\r\n', false],
    ['1.1', 'Connection: keep-alive, close\r\n', false],
    ['1.1', 'Connection: x\r\nConnection: close\r\n', false],
    ['1.0', '', false],
    ['1.0', 'Connection: Keep-Alive\r\n', true],
  ];
  for (const [version, fields, persistent] of cases) {
    t.equal(parse(`GET / HTTP/${version}\r\nHost: h\r\n${fields}\r\n`).persistent, persistent, `${version} ${fields}`);
  }
});

t.test('upgrade and expectation are recognised only where they mean something', async (t) => {
  const upgrade = 'Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n';
  t.equal(parse(`GET / HTTP/1.1\r\nHost: h\r\n${upgrade}\r\n`).upgrade, true);
  t.equal(parse('GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n').upgrade, false);
  t.equal(parse(`GET / HTTP/1.0\r\nHost: h\r\n${upgrade}\r\n`).upgrade, false);
  const expect = 'Expect: 100-Continue\r\nContent-Length: 1\r\n';
  t.equal(parse(`PUT / HTTP/1.1\r\nHost: h\r\n${expect}\r\n`).expectsContinue, true);
  t.equal(parse(`PUT / HTTP/1.0\r\nHost: h\r\n${expect}\r\n`).expectsContinue, false);
});

t.test('the same octets give the same list; other octets give another', async (t) => {
  const parser = new HeadParser(DEFAULT_HTTP1_LIMITS);
  const first = parse(POST, parser);
  t.equal(parse(POST, parser), first);
  t.equal(parser.cacheHits, 1);
  const other = parse(POST.replace('Length: 12', 'Length: 13'), parser);
  t.not(other, first);
  t.equal(other.contentLength, 13);
  t.equal(parse(POST.replace('POST', 'PUT '.trim()), parser).methodCode, Method.PUT);
});

t.test('remembered lines are not mixed up between names, values and messages', async (t) => {
  const parser = new HeadParser(DEFAULT_HTTP1_LIMITS);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 3000; i++) {
      const head = parse(`GET /${i % 700} HTTP/1.1\r\nHost: h${i % 300}\r\nX-${i % 900}: ${i}\r\n\r\n`, parser);
      if (head.list.get(':path') !== `/${i % 700}` || head.list.get(`x-${i % 900}`) !== String(i)) t.fail(`at ${i}`);
    }
  }
});

t.test('a head cut at every byte, and one byte at a time, reads like a whole one', async (t) => {
  const body = 'hello, world';
  const expected = pairs(parse(POST).list);
  const parser = new HeadParser(DEFAULT_HTTP1_LIMITS);
  function check(request: Recorder, what: string): void {
    if (!request.ended || request.body !== body) t.fail(what);
    t.same(pairs(request.head), expected, what, { diagnostic: false });
  }
  for (let cut = 1; cut < POST.length + body.length; cut++) {
    const server = new ServerHarness({ parser });
    server.socket.receive((POST + body).slice(0, cut));
    server.socket.receive((POST + body).slice(cut));
    check(server.requests[0]!, `cut at ${cut}`);
  }
  const server = new ServerHarness({ parser, onEnded: (request) => answer(request, '') });
  for (let round = 0; round < 3; round++) {
    for (const c of POST + body) server.socket.receive(c);
    check(server.requests[round]!, 'byte by byte');
  }
});

t.test('what no later byte can mend is refused before the head is complete', async (t) => {
  const parser = new HeadParser(DEFAULT_HTTP1_LIMITS);
  const hopeless = [
    'GET / HTTP/1.1\n',
    'GET / HTTP/1.1\r\r',
    'GET\0',
    '\x16\x03\x01',
    'GET / HTTP/1.1\r\nA: b\r\n c',
    ' GET',
  ];
  for (const text of hopeless)
    t.equal(parser.scan(Buffer.from(text, 'latin1'), 0, text.length), FAULTY, JSON.stringify(text));
  const open = ['G', 'GET / HTTP/1.1\r', 'GET / HTTP/1.1\r\nHost: h\r\n\r'];
  for (const text of open) t.equal(parser.scan(Buffer.from(text), 0, text.length), INCOMPLETE, JSON.stringify(text));
});

t.test('every bound holds at its edge, for whole heads and for heads without end', async (t) => {
  const limits = {
    ...DEFAULT_HTTP1_LIMITS,
    maxStartLineBytes: 40,
    maxFieldLineBytes: 30,
    maxHeadBytes: 200,
    maxFields: 4,
  };
  const line = (bytes: number) => `GET /${'a'.repeat(bytes - 14)} HTTP/1.1`;
  const field = (bytes: number) => `x: ${'v'.repeat(bytes - 3)}`;
  const cases: [string, number][] = [
    [`${line(40)}\r\nhost: h\r\n\r\n`, 0],
    [`${line(41)}\r\nhost: h\r\n\r\n`, 414],
    [line(200), 414],
    [`${line(20)}\r\nhost: h\r\n${field(30)}\r\n\r\n`, 0],
    [`${line(20)}\r\nhost: h\r\n${field(31)}\r\n\r\n`, 431],
    [`${line(20)}\r\nhost: h\r\n${field(32)}`, 431],
    [`${line(20)}\r\nhost: h\r\na: 1\r\nb: 1\r\nc: 1\r\n\r\n`, 0],
    [`${line(20)}\r\nhost: h\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\n\r\n`, 431],
  ];
  for (const [text, status] of cases) {
    for (const step of [text.length, 1]) {
      const server = new ServerHarness({ limits });
      for (let i = 0; i < text.length && !server.connection.dead; i += step)
        server.socket.receive(text.slice(i, i + step));
      t.equal(server.faults[0]?.status ?? 0, status, `${JSON.stringify(text.slice(0, 60))} by ${step}`);
    }
  }
  const wide = new ServerHarness({ limits: { ...limits, maxFields: 100 } });
  wide.socket.receive(`${line(20)}\r\nhost: h\r\n${`${field(30)}\r\n`.repeat(6)}\r\n`);
  t.equal(wide.faults[0]?.reason, 'head_too_large');
});
