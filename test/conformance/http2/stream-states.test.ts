// RFC 9113 section 5.1 and 5.4: stream states and identifiers, in both roles.
import t from 'tap';
import { Http2Counter } from '../../../proto/http2/counters.ts';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import {
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  FrameServer,
  headers,
  REQUEST,
  RESPONSE,
  rst,
  Type,
  windowUpdate,
} from '../../support/frame-peer.ts';
import { CALL, dial, OK, RecordedCall, serve, TRAILERS } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const WHOLE = END_HEADERS | END_STREAM;

t.test('identifiers must be odd and grow', async (t) => {
  const lab = await serve(t, () => {});
  const even = await FramePeer.connect(lab.address);
  even.send(headers(2, REQUEST));
  t.equal(await even.goaway(), ErrorCode.PROTOCOL_ERROR);
  const backwards = await FramePeer.connect(lab.address);
  backwards.send(headers(5, REQUEST), headers(3, REQUEST));
  t.not(await backwards.goaway(), ErrorCode.NO_ERROR);
  await backwards.closed();
});

t.test('the largest identifier is an ordinary stream', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(0x7fffffff, REQUEST, WHOLE));
  t.same((await peer.response(0x7fffffff))[0], [':status', '200']);
});

t.test('half closed (remote): DATA and HEADERS are a stream error, other frames are fine', async (t) => {
  const lab = await serve(t, () => {});
  for (const offence of [data(1, 1), headers(1, REQUEST, WHOLE)]) {
    const peer = await FramePeer.connect(lab.address);
    peer.send(headers(1, REQUEST, WHOLE), windowUpdate(1, 100), offence);
    t.equal(await peer.reset(1), ErrorCode.STREAM_CLOSED);
    await peer.settle();
    peer.destroy();
  }
});

t.test('closed: DATA and HEADERS end the connection, RST_STREAM and WINDOW_UPDATE are ignored', async (t) => {
  const lab = await serve(t);
  for (const offence of [data(1, 1), headers(1, REQUEST, WHOLE)]) {
    const peer = await FramePeer.connect(lab.address);
    peer.send(headers(1, REQUEST, WHOLE));
    await peer.response(1);
    peer.send(windowUpdate(1, 100), rst(1, ErrorCode.CANCEL));
    await peer.settle();
    peer.send(offence);
    t.equal(await peer.goaway(), ErrorCode.STREAM_CLOSED);
  }
});

t.test('frames on a stream that we reset are ignored: the peer may not know yet', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event === 'headers') call.stream!.reset(ErrorCode.CANCEL);
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  for (let id = 1; id <= 999; id += 2) peer.send(headers(id, REQUEST));
  for (let id = 1; id <= 999; id += 2) peer.send(data(id, 10), windowUpdate(id, 1), headers(id, [['a', 'b']], WHOLE));
  await peer.settle();
  t.equal(lab.counters[Http2Counter.CONNECTION_ERRORS], 0, 'for more streams than are remembered one by one, too');
  const { connection } = lab.calls[0]!.stream!;
  t.equal(connection.activeStreams, 0);
  t.equal(connection.receive.window + connection.receive.uncredited, 4 * 1024 * 1024, 'and their bytes are credited');
});

t.test('a reset ends both directions at once and nothing follows', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST), data(1, 10), rst(1, ErrorCode.CANCEL));
  await peer.settle();
  const call = lab.calls[0]!;
  t.same(call.events, ['headers', 'data', 'reset']);
  t.equal(call.resetCode, ErrorCode.CANCEL);
  const { stream } = call;
  stream!.sendHeaders(OK, false);
  t.equal(stream!.sendData(Buffer.alloc(5), 0, 5, true), 5, 'bytes for nobody count as sent');
  stream!.reset(ErrorCode.INTERNAL_ERROR);
  await peer.settle('nothing!');
  t.notOk(peer.seen.some((f) => f.streamId === 1));
  t.equal(lab.counters[Http2Counter.STREAMS_RESET_BY_PEER], 1);
});

t.test('an answer may end before the request; the rest of the request is still taken', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event !== 'headers') return;
    call.stream!.sendHeaders(OK, false);
    call.stream!.sendHeaders(TRAILERS, true);
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST));
  await peer.next(Type.HEADERS, (f) => (f.flags & END_STREAM) !== 0);
  peer.send(data(1, 10), data(1, 0, END_STREAM));
  await peer.settle();
  t.ok(lab.calls[0]!.ended);
  t.equal(lab.server.connections.values().next().value!.activeStreams, 0);
});

t.test('client: a server’s frames on streams nobody opened end the connection', async (t) => {
  const cases: [string, Buffer][] = [
    ['HEADERS on an idle stream', headers(9, RESPONSE, WHOLE)],
    ['HEADERS on an even stream', headers(2, RESPONSE, WHOLE)],
    ['DATA on an idle stream', data(9, 1)],
    ['RST_STREAM on an idle stream', rst(9, 0)],
    ['WINDOW_UPDATE on an idle stream', windowUpdate(9, 1)],
  ];
  for (const [what, offence] of cases) {
    const server = await FrameServer.listen();
    t.teardown(() => server.close());
    const client = dial(t, server.address);
    const call = new RecordedCall();
    client.connection.openStream(call, CALL, true);
    const peer = await server.greet();
    peer.send(offence);
    t.equal(await peer.goaway(), ErrorCode.PROTOCOL_ERROR, what);
    await until(() => client.owner.closed);
    t.not(call.resetCode, null, what);
  }
});

t.test('client: DATA before the head, and a second head, are stream errors', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const calls = [new RecordedCall(), new RecordedCall(), new RecordedCall()];
  for (const call of calls) client.connection.openStream(call, CALL, true);
  const peer = await server.greet();
  peer.send(data(1, 5), headers(3, RESPONSE), headers(3, RESPONSE), headers(5, RESPONSE, WHOLE));
  t.equal(await peer.reset(1), ErrorCode.PROTOCOL_ERROR);
  t.equal(await peer.reset(3), ErrorCode.PROTOCOL_ERROR);
  await until(() => calls[2]!.ended);
  t.equal(calls[0]!.resetCode, ErrorCode.PROTOCOL_ERROR);
  t.equal(client.connection.activeStreams, 0);
});

t.test('client: late frames on a stream it cancelled are ignored and credited', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const stream = client.connection.openStream(new RecordedCall(), CALL, true)!;
  const peer = await server.greet();
  stream.cancel();
  t.equal(await peer.reset(1), ErrorCode.CANCEL);
  peer.send(headers(1, RESPONSE), data(1, 10_000), headers(1, [['grpc-status', '0']], WHOLE), rst(1, 0));
  await peer.settle();
  const { receive } = client.connection;
  t.equal(receive.window + receive.uncredited, client.connection.limits.connectionWindowBytes);
  t.equal(client.counters[Http2Counter.CONNECTION_ERRORS], 0);
});
