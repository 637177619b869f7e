// RFC 9113 section 5.2 and 6.9: flow control in both directions, and initial windows that change under open streams.
import t from 'tap';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import { OUTPUT_BUFFER_BYTES } from '../../../proto/io/buffer-pool.ts';
import {
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  FrameServer,
  frame,
  headers,
  PADDED,
  REQUEST,
  RESPONSE,
  settings,
  Type,
  windowUpdate,
} from '../../support/frame-peer.ts';
import { CALL, dial, OK, RecordedCall, serve, TRAILERS } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const WHOLE = END_HEADERS | END_STREAM;

function bodyBytes(peer: FramePeer, streamId: number): number {
  let bytes = 0;
  for (const f of peer.seen) if (f.type === Type.DATA && f.streamId === streamId) bytes += f.payload.length;
  return bytes;
}

/** Answers with `size` bytes and trailers. */
function answer(size: number): (call: RecordedCall, event: string) => void {
  return (call, event) => {
    if (event !== 'end') return;
    call.stream!.sendHeaders(OK, false);
    call.stream!.sendData(Buffer.alloc(size, 0x7a), 0, size, false);
    call.stream!.sendHeaders(TRAILERS, true);
  };
}

t.test('an answer stops at the stream’s window, goes on with it, and trailers wait behind it', async (t) => {
  const lab = await serve(t, answer(1000));
  const peer = await FramePeer.connect(lab.address, [4, 100]);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE));
  await peer.settle();
  t.equal(bodyBytes(peer, 1), 100);
  t.equal(lab.calls[0]!.stream!.queuedBytes, 900);
  peer.send(windowUpdate(1, 1));
  await peer.settle();
  t.equal(bodyBytes(peer, 1), 101);
  peer.send(windowUpdate(1, 899));
  await peer.next(Type.HEADERS, (f) => (f.flags & END_STREAM) !== 0);
  t.equal(bodyBytes(peer, 1), 1000);
  t.equal(lab.calls[0]!.sentBytes, 900, 'queued bytes are reported once');
  t.equal(lab.server.connections.values().next().value!.activeStreams, 0);
});

t.test('a changed initial window moves open streams, below zero if need be', async (t) => {
  const lab = await serve(t, answer(1000));
  const peer = await FramePeer.connect(lab.address, [4, 500]);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE));
  await peer.settle();
  t.equal(bodyBytes(peer, 1), 500);
  peer.send(settings([4, 200])); // the window is now -300
  await peer.settle();
  t.equal(lab.calls[0]!.stream!.sendWindow, -300);
  peer.send(windowUpdate(1, 300));
  await peer.settle();
  t.equal(bodyBytes(peer, 1), 500, 'zero is not enough');
  peer.send(windowUpdate(1, 10));
  await peer.settle();
  t.equal(bodyBytes(peer, 1), 510);
  peer.send(settings([4, 5000]));
  await peer.next(Type.HEADERS, (f) => (f.flags & END_STREAM) !== 0);
  t.equal(bodyBytes(peer, 1), 1000);
});

t.test('an initial window that overflows an open stream ends the connection', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  peer.send(headers(1, REQUEST), windowUpdate(1, 0x7fffffff - 65_535), settings([4, 65_536]));
  t.equal(await peer.goaway(), ErrorCode.FLOW_CONTROL_ERROR);
});

t.test('streams that wait for the connection’s window share it', async (t) => {
  const lab = await serve(t, answer(200_000));
  const peer = await FramePeer.connect(lab.address, [4, 1 << 20]);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE), headers(3, REQUEST, WHOLE), headers(5, REQUEST, WHOLE));
  await peer.settle();
  t.equal(bodyBytes(peer, 1) + bodyBytes(peer, 3) + bodyBytes(peer, 5), 65_535);
  peer.send(windowUpdate(0, 210_000));
  await peer.settle();
  for (const id of [1, 3, 5]) t.ok(bodyBytes(peer, id) > 50_000, `stream ${id} had a turn`);
  peer.send(windowUpdate(0, 1_000_000));
  for (const id of [1, 3, 5]) {
    await peer.next(Type.HEADERS, (f) => f.streamId === id && (f.flags & END_STREAM) !== 0);
    t.equal(bodyBytes(peer, id), 200_000);
  }
});

t.test('an empty end passes a closed window', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event === 'end') {
      call.stream!.sendHeaders(OK, false);
      call.stream!.sendEnd();
    }
  });
  const peer = await FramePeer.connect(lab.address, [4, 0]);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE));
  const last = await peer.next(Type.DATA);
  t.equal(last.flags & END_STREAM, END_STREAM);
  t.equal(last.payload.length, 0);
});

t.test('END_STREAM goes with the last byte when it was queued', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event !== 'end') return;
    call.stream!.sendHeaders(OK, false);
    for (let i = 0; i < 50; i++) call.stream!.sendData(Buffer.from([i]), 0, 1, i === 49);
  });
  const peer = await FramePeer.connect(lab.address, [4, 3]);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE));
  await peer.settle();
  t.equal(bodyBytes(peer, 1), 3);
  peer.send(windowUpdate(1, 100));
  await peer.next(Type.DATA, (f) => (f.flags & END_STREAM) !== 0);
  const body = Buffer.concat(peer.seen.filter((f) => f.type === Type.DATA).map((f) => f.payload));
  t.same([...body], [...Array(50).keys()]);
});

t.test('DATA beyond a stream’s window resets it, beyond the connection’s ends that', async (t) => {
  const lab = await serve(
    t,
    (call) => {
      call.consuming = false;
    },
    { limits: { streamWindowBytes: 70_000, connectionWindowBytes: 100_000 } },
  );
  const peer = await FramePeer.connect(lab.address);
  peer.send(headers(1, REQUEST));
  for (let i = 0; i < 5; i++) peer.send(data(1, 14_001));
  t.equal(await peer.reset(1), ErrorCode.FLOW_CONTROL_ERROR);
  await peer.settle();
  peer.send(headers(3, REQUEST), headers(5, REQUEST));
  for (let i = 0; i < 4; i++) peer.send(data(3, 16_000), data(5, 16_000));
  t.equal(await peer.goaway(), ErrorCode.FLOW_CONTROL_ERROR);
});

t.test('credit comes back in half windows, for what was consumed only', async (t) => {
  const lab = await serve(
    t,
    (call) => {
      call.consuming = false;
    },
    { limits: { streamWindowBytes: 65_535, connectionWindowBytes: 65_535 } },
  );
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const pad = Buffer.concat([Buffer.from([99]), Buffer.alloc(101)]);
  peer.send(headers(1, REQUEST), data(1, 16_000), data(1, 16_000), data(1, 16_000), frame(Type.DATA, PADDED, 1, pad));
  await peer.settle();
  t.notOk(
    peer.seen.some((f) => f.type === Type.WINDOW_UPDATE),
    'nothing was consumed',
  );
  const { stream } = lab.calls[0]!;
  t.equal(stream!.outstanding, 48_000 + 2, 'padding is not the consumer’s');
  stream!.consume(32_000);
  stream!.consume(666);
  await peer.settle();
  t.notOk(
    peer.seen.some((f) => f.type === Type.WINDOW_UPDATE),
    'padding counts, but it is a byte short of half',
  );
  stream!.consume(1);
  t.equal((await peer.next(Type.WINDOW_UPDATE, (f) => f.streamId === 1)).payload.readUInt32BE(), 32_767);
  t.equal((await peer.next(Type.WINDOW_UPDATE, (f) => f.streamId === 0)).payload.readUInt32BE(), 32_767);
  stream!.consume(1_000_000);
  t.equal(stream!.outstanding, 0, 'never more than is outstanding');
});

t.test('a frame that is still arriving counts only what has come', async (t) => {
  const lab = await serve(t, (call) => {
    call.consuming = false;
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const whole = data(1, 10_000);
  peer.send(headers(1, REQUEST), whole.subarray(0, 9 + 4000));
  await until(() => lab.calls[0]?.body.length === 4000);
  const { stream } = lab.calls[0]!;
  t.equal(stream!.outstanding, 4000);
  stream!.consume(stream!.outstanding);
  peer.send(whole.subarray(9 + 4000));
  await until(() => lab.calls[0]!.body.length === 10_000);
  t.equal(stream!.outstanding, 6000);
  stream!.reset(ErrorCode.CANCEL);
  const { receive } = stream!.connection;
  t.equal(receive.window + receive.uncredited, 4 * 1024 * 1024);
});

t.test('a stream reset in the middle of a DATA frame gives all of it back', async (t) => {
  const lab = await serve(t, (call, event) => {
    call.consuming = false;
    if (event === 'data') call.stream!.reset(ErrorCode.CANCEL);
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const whole = data(1, 10_000);
  peer.send(headers(1, REQUEST), whole.subarray(0, 109));
  await peer.reset(1);
  peer.send(whole.subarray(109));
  await peer.settle();
  const { receive } = lab.server.connections.values().next().value!;
  t.equal(receive.window + receive.uncredited, 4 * 1024 * 1024);
});

t.test('a finished stream’s leftovers come back with reset', async (t) => {
  const lab = await serve(t, (call, event) => {
    call.consuming = false;
    if (event === 'end') call.stream!.sendHeaders(HeadOnly, true);
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST), data(1, 5000, END_STREAM));
  await peer.response(1);
  const { stream } = lab.calls[0]!;
  const { receive } = stream!.connection;
  t.equal(receive.window + receive.uncredited, 4 * 1024 * 1024 - 5000);
  stream!.reset(ErrorCode.NO_ERROR);
  stream!.consume(5000);
  t.equal(receive.window + receive.uncredited, 4 * 1024 * 1024, 'once');
  await peer.settle();
  t.notOk(peer.seen.some((f) => f.type === Type.RST_STREAM));
});

const HeadOnly = OK;

t.test('client: a request body follows the server’s windows and fills its output buffers', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const peer = await server.greet([4, 1 << 20]);
  await until(() => client.owner.capacity > 0);
  const call = new RecordedCall();
  const stream = client.connection.openStream(call, CALL, false)!;
  const body = Buffer.alloc(300_000, 0x62);
  t.equal(stream.sendData(body, 0, body.length, true), 65_535);
  await peer.settle();
  t.equal(bodyBytes(peer, 1), 65_535);
  peer.send(windowUpdate(0, 1_000_000));
  await peer.next(Type.DATA, (f) => (f.flags & END_STREAM) !== 0);
  t.equal(bodyBytes(peer, 1), 300_000);
  t.equal(call.sentBytes, 300_000 - 65_535);
  t.ok(peer.seen.every((f) => f.payload.length <= 16_384));
  t.ok(OUTPUT_BUFFER_BYTES >= 65_536);
  peer.send(headers(1, RESPONSE, WHOLE));
  await until(() => call.ended);
  t.equal(client.connection.activeStreams, 0);
});

t.test(
  'two parts are one frame where the window has room for both, and keep their order where it has not',
  async (t) => {
    const [first, rest] = [Buffer.from('0123456789'), Buffer.from('--abcdefghij')];
    const lab = await serve(t, (call, event) => {
      if (event !== 'end') return;
      call.stream!.sendHeaders(OK, false);
      call.stream!.sendParts(first, first.length, rest, 2, rest.length, false);
      call.stream!.sendHeaders(TRAILERS, true);
    });
    for (const window of [100, 20, 19, 10, 5, 0]) {
      const peer = await FramePeer.connect(lab.address, [4, window]);
      t.teardown(() => peer.destroy());
      peer.send(headers(1, REQUEST, WHOLE));
      await peer.settle();
      t.equal(bodyBytes(peer, 1), Math.min(window, 20));
      if (window < 20) peer.send(windowUpdate(1, 20 - window));
      await peer.next(Type.HEADERS, (f) => (f.flags & END_STREAM) !== 0);
      const frames = peer.seen.filter((f) => f.type === Type.DATA && f.payload.length > 0);
      t.equal(String(Buffer.concat(frames.map((f) => f.payload))), '0123456789abcdefghij');
      t.equal(frames.length === 1, window >= 20 || window === 0, `${frames.length} frames with a window of ${window}`);
    }
  },
);
