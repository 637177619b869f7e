// RFC 9113 section 3.4 and 6.5: how a connection begins, and SETTINGS while it lives.
import t from 'tap';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import { HeaderList } from '../../../proto/http2/header-list.ts';
import {
  ACK,
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  FrameServer,
  frame,
  headers,
  PREFACE,
  ping,
  REQUEST,
  RESPONSE,
  settings,
  settingsAck,
  Type,
} from '../../support/frame-peer.ts';
import { CALL, dial, OK, RecordedCall, serve } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const WHOLE = END_HEADERS | END_STREAM;

for (const unix of [false, true]) {
  const over = unix ? 'a Unix socket' : 'TCP';
  t.test(`a preface and a request sent byte by byte over ${over} are answered`, async (t) => {
    const lab = await serve(t, undefined, { unix });
    const peer = await FramePeer.dial(lab.address);
    t.teardown(() => peer.destroy());
    const bytes = Buffer.concat([PREFACE, settings(), headers(1, REQUEST), data(1, 5, END_STREAM)]);
    for (const byte of bytes) {
      peer.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.same((await peer.response(1))[0], [':status', '200']);
    t.equal((await peer.next(Type.DATA)).payload.toString(), 'aaaaa');
    t.same(await peer.response(1), [['grpc-status', '0']]);
  });
}

t.test('a server sends SETTINGS first and acknowledges the client’s', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.dial(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(PREFACE, settings());
  await peer.next(Type.SETTINGS, (f) => (f.flags & ACK) !== 0);
  t.equal(peer.seen[0]!.type, Type.SETTINGS);
  t.equal(peer.seen[0]!.flags, 0);
});

t.test('bytes that are not a preface end the connection without a crash', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.dial(lab.address);
  peer.send(Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'));
  await peer.closed();
});

t.test('a first frame that is not SETTINGS is a protocol error', async (t) => {
  for (const first of [ping(), headers(1, REQUEST, WHOLE), settingsAck(), data(1, 1)]) {
    const lab = await serve(t);
    const peer = await FramePeer.dial(lab.address);
    peer.send(PREFACE, first);
    t.equal(await peer.goaway(), ErrorCode.PROTOCOL_ERROR);
    await peer.closed();
  }
});

t.test('malformed SETTINGS end the connection with the code the RFC names', async (t) => {
  const cases: [string, Buffer, number][] = [
    ['a length that is no multiple of 6', frame(Type.SETTINGS, 0, 0, Buffer.alloc(5)), ErrorCode.FRAME_SIZE_ERROR],
    ['an acknowledgement with content', frame(Type.SETTINGS, ACK, 0, Buffer.alloc(6)), ErrorCode.FRAME_SIZE_ERROR],
    ['on a stream', frame(Type.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR],
    ['ENABLE_PUSH of 2', settings([2, 2]), ErrorCode.PROTOCOL_ERROR],
    ['a window above 2^31-1', settings([4, 0x80000000]), ErrorCode.FLOW_CONTROL_ERROR],
    ['a frame size below 16,384', settings([5, 16_383]), ErrorCode.PROTOCOL_ERROR],
    ['a frame size above 2^24-1', settings([5, 0x1000000]), ErrorCode.PROTOCOL_ERROR],
  ];
  for (const [what, bytes, code] of cases) {
    const lab = await serve(t);
    const peer = await FramePeer.connect(lab.address);
    peer.send(bytes);
    t.equal(await peer.goaway(), code, what);
    await peer.closed();
  }
});

t.test('unknown settings are ignored and every SETTINGS is acknowledged', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address, [0x99, 7], [0x8, 1]);
  t.teardown(() => peer.destroy());
  peer.send(settings([0x77, 1]));
  await peer.next(Type.SETTINGS, (f) => (f.flags & ACK) !== 0);
});

t.test('a server that switches push on, or pushes, is cut off', async (t) => {
  for (const offence of [settings([2, 1]), frame(Type.PUSH_PROMISE, END_HEADERS, 1, Buffer.alloc(4))]) {
    const server = await FrameServer.listen();
    t.teardown(() => server.close());
    const client = dial(t, server.address);
    const call = new RecordedCall();
    client.connection.openStream(call, CALL, true);
    const peer = await server.greet();
    peer.send(offence);
    t.equal(await peer.goaway(), ErrorCode.PROTOCOL_ERROR);
    t.not(call.resetCode, null);
  }
});

t.test('header table sizes passed through in one SETTINGS frame evict as if they were sent apart', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event === 'end') call.stream!.sendHeaders(INDEXED, true);
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE));
  t.same((await peer.response(1))[1], ['x-model-family', 'credit-risk'], 'enters the table');
  peer.send(headers(3, REQUEST, WHOLE));
  await peer.response(3);
  // The peer's table is emptied by the 0 in the middle; its decoder here follows what the block announces.
  peer.send(settings([1, 0], [1, 4096]), headers(5, REQUEST, WHOLE));
  const answer = await peer.next(Type.HEADERS, (f) => f.streamId === 5);
  t.equal(answer.payload[0], 0x20, 'the smallest size is announced first');
  t.same(answer.fields![1], ['x-model-family', 'credit-risk']);
});

const INDEXED = HeaderList.of([':status', '200'], ['x-model-family', 'credit-risk']);

t.test('a smaller stream window of ours binds the peer only once it is acknowledged', async (t) => {
  const lab = await serve(t, () => {}, { limits: { streamWindowBytes: 1000 } });
  const peer = await FramePeer.dial(lab.address);
  t.teardown(() => peer.destroy());
  // Sent before the peer can know our SETTINGS: the protocol's 65,535 bytes are allowed.
  peer.send(PREFACE, settings(), headers(1, REQUEST), data(1, 16_000), data(1, 16_000));
  await peer.settle();
  t.equal(lab.calls[0]!.body.length, 32_000);
  peer.send(settingsAck(), headers(3, REQUEST), data(3, 1001));
  t.equal(await peer.reset(3), ErrorCode.FLOW_CONTROL_ERROR);
});

t.test('before the server’s SETTINGS a client opens a hundred streams, then what it is allowed', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const { connection } = client;
  const calls: RecordedCall[] = [];
  const open = (): boolean => {
    calls.push(new RecordedCall());
    return connection.openStream(calls[calls.length - 1]!, CALL, true) !== null;
  };
  let opened = 0;
  while (open()) opened++;
  t.equal(opened, 100);
  const peer = await server.greet([3, 102]);
  await until(() => client.owner.capacity > 0);
  t.ok(open() && open() && !open(), 'two more');
  peer.send(headers(1, RESPONSE, WHOLE), settings([3, 1]));
  await until(() => calls[0]!.ended);
  await peer.settle();
  t.notOk(connection.canOpen, 'a lowered limit counts the streams that are open');
  t.equal(OK.length, 2);
});
