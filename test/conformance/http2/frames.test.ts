// RFC 9113 section 4 and 6: frame sizes, padding, and frames that are malformed in themselves.
import t from 'tap';
import { Http2Counter } from '../../../proto/http2/counters.ts';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import {
  block,
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  frame,
  goaway,
  headers,
  PADDED,
  PRIORITY,
  ping,
  REQUEST,
  rst,
  Type,
  windowUpdate,
  word,
} from '../../support/frame-peer.ts';
import { serve } from '../../support/http2-lab.ts';

const WHOLE = END_HEADERS | END_STREAM;
const bytes = (length: number): Buffer => Buffer.alloc(length);

t.test('frames that break the connection are answered with GOAWAY and the code the RFC names', async (t) => {
  const { FRAME_SIZE_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR } = ErrorCode;
  const cases: [string, Buffer, number][] = [
    ['a frame above 16,384 bytes', frame(Type.DATA, 0, 1, bytes(16_385)), FRAME_SIZE_ERROR],
    ['an unknown frame above 16,384 bytes', frame(0x42, 0, 0, bytes(16_385)), FRAME_SIZE_ERROR],
    ['DATA on stream 0', data(0, 1), PROTOCOL_ERROR],
    ['DATA on an idle stream', data(9, 1), PROTOCOL_ERROR],
    ['DATA padding as long as the frame', frame(Type.DATA, PADDED, 1, Buffer.from([5, 0, 0, 0, 0])), PROTOCOL_ERROR],
    ['padded DATA without a pad length', frame(Type.DATA, PADDED, 1), PROTOCOL_ERROR],
    ['HEADERS on stream 0', headers(0, REQUEST), PROTOCOL_ERROR],
    ['HEADERS padding beyond the frame', frame(Type.HEADERS, PADDED, 3, Buffer.from([9, 0x82])), PROTOCOL_ERROR],
    ['padded HEADERS without a pad length', frame(Type.HEADERS, PADDED, 3), FRAME_SIZE_ERROR],
    ['HEADERS too short for its priority', frame(Type.HEADERS, PRIORITY, 3, bytes(4)), FRAME_SIZE_ERROR],
    ['PRIORITY on stream 0', frame(Type.PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR],
    ['RST_STREAM of 3 bytes', frame(Type.RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE_ERROR],
    ['RST_STREAM on stream 0', rst(0, 8), PROTOCOL_ERROR],
    ['RST_STREAM on an idle stream', rst(9, 8), PROTOCOL_ERROR],
    ['PING of 7 bytes', frame(Type.PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR],
    ['PING on a stream', frame(Type.PING, 0, 1, bytes(8)), PROTOCOL_ERROR],
    ['GOAWAY of 7 bytes', frame(Type.GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR],
    ['GOAWAY on a stream', frame(Type.GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR],
    ['WINDOW_UPDATE of 3 bytes', frame(Type.WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR],
    ['WINDOW_UPDATE of 0', windowUpdate(0, 0), PROTOCOL_ERROR],
    ['WINDOW_UPDATE on an idle stream', windowUpdate(9, 1), PROTOCOL_ERROR],
    ['a connection window above 2^31-1', windowUpdate(0, 0x7fffffff), FLOW_CONTROL_ERROR],
    ['CONTINUATION without HEADERS', frame(Type.CONTINUATION, END_HEADERS, 1, bytes(1)), PROTOCOL_ERROR],
    ['PUSH_PROMISE from a client', frame(Type.PUSH_PROMISE, END_HEADERS, 1, bytes(5)), PROTOCOL_ERROR],
  ];
  const lab = await serve(t, () => {});
  for (const [what, offence, code] of cases) {
    const peer = await FramePeer.connect(lab.address);
    peer.send(headers(1, REQUEST), offence);
    t.equal(await peer.goaway(), code, what);
    await peer.closed();
    t.equal(lab.calls.at(-1)?.resetCode, code, `${what}: the open stream hears of it`);
  }
  t.equal(lab.counters[Http2Counter.CONNECTION_ERRORS], cases.length);
});

t.test('frames that break a stream reset it and leave the connection', async (t) => {
  const { FRAME_SIZE_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR } = ErrorCode;
  const cases: [string, Buffer, number][] = [
    ['PRIORITY of 4 bytes', frame(Type.PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR],
    ['a stream WINDOW_UPDATE of 0', windowUpdate(1, 0), PROTOCOL_ERROR],
    ['a stream window above 2^31-1', windowUpdate(1, 0x7fffffff), FLOW_CONTROL_ERROR],
  ];
  const lab = await serve(t, () => {});
  for (const [what, offence, code] of cases) {
    const peer = await FramePeer.connect(lab.address);
    peer.send(headers(1, REQUEST), offence);
    t.equal(await peer.reset(1), code, what);
    await peer.settle();
    peer.destroy();
  }
  t.equal(lab.counters[Http2Counter.STREAM_ERRORS], cases.length);
});

t.test('the largest frame is taken, padded or not, and padding is not content', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const padded = Buffer.concat([Buffer.from([200]), Buffer.alloc(16_384 - 201, 0x62), bytes(200)]);
  const head = block(REQUEST);
  const paddedHead = Buffer.concat([Buffer.from([7]), bytes(5), head, bytes(7)]);
  peer.send(
    frame(Type.HEADERS, END_HEADERS | PADDED | PRIORITY, 1, paddedHead),
    data(1, 16_384),
    frame(Type.DATA, PADDED | END_STREAM, 1, padded),
  );
  t.same((await peer.response(1))[0], [':status', '200']);
  const { body } = lab.calls[0]!;
  t.equal(body.length, 16_384 + 16_384 - 201);
  t.equal(body[16_384], 0x62);
});

t.test('a DATA frame may be nothing but padding', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const onlyPad = Buffer.concat([Buffer.from([255]), bytes(255)]);
  peer.send(
    headers(1, REQUEST),
    frame(Type.DATA, PADDED, 1, onlyPad),
    frame(Type.DATA, PADDED | END_STREAM, 1, onlyPad),
  );
  await peer.response(1);
  t.equal(lab.calls[0]!.body.length, 0);
});

t.test('unknown frame types, undefined flags and the reserved bit are ignored', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const reserved = data(1, 3, END_STREAM | (0xf0 & ~PADDED));
  reserved[5] = reserved[5]! | 0x80;
  peer.send(frame(0xfe, 0xff, 77, bytes(100)), headers(1, REQUEST), frame(0xbe, 0, 1, bytes(3)), reserved);
  await peer.response(1);
  t.equal(lab.calls[0]!.body.toString(), 'aaa');
});

t.test('priorities are read and ignored: on open, idle and closed streams, and on itself', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const priority = (id: number, on: number): Buffer => {
    const payload = bytes(5);
    payload.writeUInt32BE(on);
    return frame(Type.PRIORITY, 0, id, payload);
  };
  peer.send(priority(1, 0), headers(1, REQUEST, WHOLE), priority(1, 1), priority(101, 3));
  await peer.response(1);
  peer.send(priority(1, 0));
  await peer.settle();
  t.equal(lab.counters[Http2Counter.CONNECTION_ERRORS], 0);
});

t.test('a PING is answered with its own bytes, and an answer is not answered', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(ping('12345678', 1), ping('abcdefgh'));
  const answer = await peer.next(Type.PING);
  t.equal(answer.flags, 1);
  t.equal(answer.payload.toString(), 'abcdefgh');
});

t.test('GOAWAY with more data and an unknown error code is an ordinary GOAWAY', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  const long = Buffer.concat([goaway(0, 0x1234).subarray(9), Buffer.from('debug data')]);
  peer.send(headers(1, REQUEST), frame(Type.GOAWAY, 0, 0, long));
  await peer.settle();
  t.equal(lab.counters[Http2Counter.GOAWAYS_RECEIVED], 1);
  t.equal(lab.calls[0]!.resetCode, null, 'open streams go on');
  lab.calls[0]!.stream!.reset(ErrorCode.CANCEL);
  await peer.closed();
});

t.test('an unknown error code in RST_STREAM ends the stream like any other', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST), word(Type.RST_STREAM, 1, 0xffffffff));
  await peer.settle();
  t.equal(lab.calls[0]!.resetCode, 0xffffffff);
});
