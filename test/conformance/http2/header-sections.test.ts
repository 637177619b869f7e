import t from 'tap';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import { HeaderList } from '../../../proto/http2/header-list.ts';
import {
  data,
  END_HEADERS,
  END_STREAM,
  type Fields,
  FramePeer,
  FrameServer,
  headers,
  REQUEST,
  RESPONSE,
} from '../../support/frame-peer.ts';
import { CALL, dial, OK, RecordedCall, serve } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const WHOLE = END_HEADERS | END_STREAM;
const WITHOUT_PATH = REQUEST.filter(([name]) => name !== ':path');
const WITHOUT_AUTHORITY = REQUEST.filter(([name]) => name !== ':authority');
const pathed = (path: string, method = 'GET'): Fields => [
  [':method', method],
  [':scheme', 'http'],
  [':path', path],
  [':authority', 'a'],
];

t.test('malformed requests are reset as stream errors, and the connection serves the next', async (t) => {
  const cases: [string, Fields][] = [
    ['no :path', WITHOUT_PATH],
    ['no :method', REQUEST.slice(1)],
    ['no :scheme', REQUEST.filter(([name]) => name !== ':scheme')],
    ['neither :authority nor host', WITHOUT_AUTHORITY],
    ['an empty :path', [...WITHOUT_PATH, [':path', '']]],
    ['a :path not from the root', pathed('a/b')],
    ['a :path with a space', pathed('/a b')],
    ['* for a GET', pathed('*')],
    ['a doubled pseudo-field', [...REQUEST, [':path', '/b']]],
    ['an unknown pseudo-field', [...REQUEST, [':protocol', 'websocket']]],
    ['a response’s pseudo-field', [...REQUEST, [':status', '200']]],
    ['a pseudo-field behind a field', [...WITHOUT_PATH, ['a', 'b'], [':path', '/']]],
    ['an upper-case name', [...REQUEST, ['X-A', 'b']]],
    ['a name with a space', [...REQUEST, ['x a', 'b']]],
    ['a name with a colon', [...REQUEST, ['x:a', 'b']]],
    ['an empty name', [...REQUEST, ['', 'b']]],
    ['a value with LF', [...REQUEST, ['x-a', 'a\nb']]],
    ['a value with CR', [...REQUEST, ['x-a', 'a\rb']]],
    ['a value with NUL', [...REQUEST, ['x-a', 'a\0b']]],
    ['a value that begins with a space', [...REQUEST, ['x-a', ' b']]],
    ['a value that ends with a tab', [...REQUEST, ['x-a', 'b\t']]],
    ['connection', [...REQUEST, ['connection', 'close']]],
    ['keep-alive', [...REQUEST, ['keep-alive', '1']]],
    ['proxy-connection', [...REQUEST, ['proxy-connection', 'close']]],
    ['transfer-encoding', [...REQUEST, ['transfer-encoding', 'chunked']]],
    ['upgrade', [...REQUEST, ['upgrade', 'h2c']]],
    ['te other than trailers', [...REQUEST, ['te', 'gzip']]],
    ['a method that is no token', [[':method', 'GE T'], ...REQUEST.slice(1)]],
    ['an authority with a user', [...WITHOUT_AUTHORITY, [':authority', 'user@a']]],
    ['an empty authority', [...WITHOUT_AUTHORITY, [':authority', '']]],
    ['host against :authority', [...REQUEST, ['host', 'other.test']]],
    ['two hosts', [...WITHOUT_AUTHORITY, ['host', 'a'], ['host', 'a']]],
    [
      'CONNECT with a path',
      [
        [':method', 'CONNECT'],
        [':authority', 'a:1'],
        [':path', '/'],
      ],
    ],
    ['a content-length that is no number', [...REQUEST, ['content-length', '1x']]],
    ['a negative content-length', [...REQUEST, ['content-length', '-1']]],
    ['two content-lengths that differ', [...REQUEST, ['content-length', '1'], ['content-length', '2']]],
  ];
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  let id = 1;
  for (const [what, fields] of cases) {
    peer.send(headers(id, fields, END_HEADERS));
    t.equal(await peer.reset(id), ErrorCode.PROTOCOL_ERROR, what);
    id += 2;
  }
  t.equal(lab.calls.length, 0, 'none reached a handler');
  peer.send(headers(id, REQUEST, WHOLE));
  t.same((await peer.response(id))[0], [':status', '200']);
});

t.test('unusual but well-formed requests are served', async (t) => {
  const cases: [string, Fields][] = [
    ['host instead of :authority', [...WITHOUT_AUTHORITY, ['host', 'a']]],
    ['host that agrees', [...REQUEST, ['host', 'MODEL.test']]],
    ['OPTIONS *', pathed('*', 'OPTIONS')],
    [
      'CONNECT',
      [
        [':method', 'CONNECT'],
        [':authority', 'a:1'],
      ],
    ],
    ['te: trailers', [...REQUEST, ['te', 'trailers']]],
    ['an empty value', [...REQUEST, ['x-a', '']]],
    ['latin1 in a value', [...REQUEST, ['x-a', 'caf\xe9']]],
    [
      'another scheme',
      [
        [':method', 'GET'],
        [':scheme', 'unix'],
        [':path', 'anything'],
      ],
    ],
    ['the same content-length twice', [...REQUEST, ['content-length', '0'], ['content-length', '0']]],
  ];
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  let id = 1;
  for (const [what, fields] of cases) {
    peer.send(headers(id, fields, WHOLE));
    t.same((await peer.response(id))[0], [':status', '200'], what);
    t.same(
      lab.calls.at(-1)!.sections[0]!.names,
      fields.map(([name]) => name),
      `${what}: nothing is lost`,
    );
    id += 2;
  }
});

t.test('a section’s verdict does not depend on where its bytes came first', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const trailers: Fields = [['x-checksum', '17']];
  // Trailers as a head are malformed; the same bytes as trailers are fine, and the other way round.
  peer.send(headers(1, trailers));
  t.equal(await peer.reset(1), ErrorCode.PROTOCOL_ERROR);
  peer.send(headers(3, REQUEST), headers(3, trailers, WHOLE));
  await peer.response(3);
  peer.send(headers(5, REQUEST), headers(5, REQUEST, WHOLE));
  t.equal(await peer.reset(5), ErrorCode.PROTOCOL_ERROR, 'pseudo-fields in trailers');
  peer.send(headers(7, REQUEST, WHOLE));
  await peer.response(7);
});

t.test('content-length is held to: more, less and none', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const sized: Fields = [...REQUEST, ['content-length', '10']];
  const bad: Buffer[][] = [
    [headers(1, sized), data(1, 11)],
    [headers(3, sized), data(3, 9, END_STREAM)],
    [headers(5, sized, WHOLE)],
    [headers(7, sized), data(7, 9), headers(7, [['a', 'b']], WHOLE)],
    [headers(9, sized), data(9, 6), data(9, 6)],
  ];
  for (const [i, parts] of bad.entries()) {
    peer.send(...parts);
    t.equal(await peer.reset(i * 2 + 1), ErrorCode.PROTOCOL_ERROR);
  }
  peer.send(headers(21, sized), data(21, 4), data(21, 6), headers(21, [['a', 'b']], WHOLE));
  await peer.settle();
  t.ok(lab.calls.at(-1)!.ended);
});

t.test('trailers must end the stream', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST), data(1, 1), headers(1, [['a', 'b']], END_HEADERS));
  t.equal(await peer.reset(1), ErrorCode.PROTOCOL_ERROR);
  t.equal(lab.calls[0]!.resetCode, ErrorCode.PROTOCOL_ERROR);
});

t.test('1xx heads pass, do not count as the head, and must not end the stream', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const calls = [0, 1, 2].map(() => new RecordedCall());
  for (const call of calls) client.connection.openStream(call, CALL, true);
  const peer = await server.greet();
  peer.send(
    headers(1, [[':status', '100']]),
    headers(1, [
      [':status', '103'],
      ['link', '</a>'],
    ]),
    headers(1, RESPONSE),
    headers(1, [['grpc-status', '0']], WHOLE),
    headers(3, [[':status', '103']], WHOLE),
    headers(5, [[':status', '101']]),
  );
  t.equal(await peer.reset(3), ErrorCode.PROTOCOL_ERROR);
  t.equal(await peer.reset(5), ErrorCode.PROTOCOL_ERROR, '101 does not exist in HTTP/2');
  await until(() => calls[0]!.ended);
  t.same(
    calls[0]!.sections.map((s) => s.values[0]),
    ['100', '103', '200', '0'],
  );
});

t.test('a server may send 1xx before its head', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event !== 'headers') return;
    call.stream!.sendHeaders(HeaderList.of([':status', '100']), false);
    t.equal(call.stream!.headSent, false, 'the head is still to come');
    call.stream!.sendHeaders(OK, true);
    t.equal(call.stream!.headSent, true);
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST));
  t.same(await peer.response(1), [[':status', '100']]);
  t.same((await peer.response(1))[0], [':status', '200']);
});

t.test('answers without content may declare a length: HEAD, 204 and 304', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const head = HeaderList.of([':method', 'HEAD'], [':scheme', 'http'], [':path', '/'], [':authority', 'a']);
  const calls = [head, head, CALL, CALL, CALL, CALL].map((list) => {
    const call = new RecordedCall();
    client.connection.openStream(call, list, true);
    return call;
  });
  const peer = await server.greet();
  const sized = (status: string): Fields => [
    [':status', status],
    ['content-length', '5'],
  ];
  peer.send(
    headers(1, sized('200'), WHOLE),
    headers(3, sized('200')),
    data(3, 0, END_STREAM),
    headers(5, sized('304')),
    data(5, 0, END_STREAM),
    headers(7, sized('200'), WHOLE),
    headers(9, sized('200')),
    data(9, 0, END_STREAM),
    headers(11, sized('304')),
    data(11, 1, END_STREAM),
  );
  for (const id of [7, 9, 11]) t.equal(await peer.reset(id), ErrorCode.PROTOCOL_ERROR, `stream ${id}`);
  await peer.settle();
  t.same(
    calls.map((call) => call.ended),
    [true, true, true, false, false, false],
  );
});

t.test('malformed answers are reset', async (t) => {
  const cases: Fields[] = [
    [],
    [['grpc-status', '0']],
    [[':status', '20']],
    [[':status', '2000']],
    [[':status', 'abc']],
    [
      [':status', '200'],
      [':status', '200'],
    ],
    [
      [':status', '200'],
      [':path', '/'],
    ],
    [
      [':status', '200'],
      ['Server', 'x'],
    ],
    [
      [':status', '200'],
      ['connection', 'close'],
    ],
    [
      [':status', '200'],
      ['content-length', 'five'],
    ],
  ];
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  for (const _ of cases) client.connection.openStream(new RecordedCall(), CALL, true);
  const peer = await server.greet();
  for (const [i, fields] of cases.entries()) {
    peer.send(headers(i * 2 + 1, fields));
    t.equal(await peer.reset(i * 2 + 1), ErrorCode.PROTOCOL_ERROR, JSON.stringify(fields));
  }
});
