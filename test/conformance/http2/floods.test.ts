// Each way to make us work for nothing has a budget, a counter, and an end; an honest client is served meanwhile.
import t from 'tap';
import { HTTP2_COUNTER_NAMES, HTTP2_COUNTER_SLOTS, Http2Counter } from '../../../proto/http2/counters.ts';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import { FLOOD_KINDS, Flood } from '../../../proto/http2/limits.ts';
import {
  block,
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  FrameServer,
  frame,
  goaway,
  headers,
  ping,
  REQUEST,
  rst,
  settings,
  Type,
  windowUpdate,
} from '../../support/frame-peer.ts';
import { CALL, dial, echo, HonestClient, noteTimes, RecordedCall, serve } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const WHOLE = END_HEADERS | END_STREAM;
const LIMITS = { floodBurst: 100, floodPerSecond: 10 };

function repeat(count: number, make: (i: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => make(i)));
}

const floods: [string, number, (i: number) => Buffer][] = [
  ['rapid reset', Flood.RESET, (i) => Buffer.concat([headers(i * 2 + 3, REQUEST, WHOLE), rst(i * 2 + 3, 8)])],
  ['resets of closed streams', Flood.RESET, () => rst(1, 8)],
  ['requests that make us reset', Flood.RESET, (i) => headers(i * 2 + 3, [['a', 'b']])],
  ['SETTINGS', Flood.SETTINGS, () => settings([1, 4096])],
  ['SETTINGS acknowledgements', Flood.SETTINGS, () => frame(Type.SETTINGS, 1, 0)],
  ['PING', Flood.PING, () => ping()],
  ['empty DATA', Flood.EMPTY_DATA, () => data(1, 0)],
  ['DATA of padding only', Flood.EMPTY_DATA, () => frame(Type.DATA, 8, 1, Buffer.from([3, 0, 0, 0]))],
  ['WINDOW_UPDATE', Flood.WINDOW_UPDATE, (i) => windowUpdate(i % 2, 1)],
  ['PRIORITY', Flood.PRIORITY, (i) => frame(Type.PRIORITY, 0, i * 2 + 1, Buffer.alloc(5))],
  ['unknown frames', Flood.UNKNOWN_FRAME, () => frame(0x55, 0, 0, Buffer.alloc(10))],
  ['GOAWAY', Flood.GOAWAY, () => goaway(0, 0)],
];

for (const [what, kind, make] of floods) {
  t.test(`a flood of ${what} ends its connection; another client is served`, async (t) => {
    const lab = await serve(t, (call, event) => (call.sections[0]!.length > 4 ? echo(call, event) : undefined), {
      limits: LIMITS,
    });
    const peer = await FramePeer.connect(lab.address);
    peer.send(headers(1, REQUEST));
    const honest = new HonestClient(t, lab);
    const flood = repeat(300, make);
    for (let i = 0; i < 10; i++) {
      peer.send(flood.subarray((flood.length * i) / 10, (flood.length * (i + 1)) / 10));
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.equal(await peer.goaway(), ErrorCode.ENHANCE_YOUR_CALM);
    await peer.closed();
    t.equal(lab.counters[Http2Counter.FLOODS + kind], 1, FLOOD_KINDS[kind]!);
    noteTimes(t, await honest.stop());
    await until(() => lab.server.connections.size === 1);
  });
}

t.test('a CONTINUATION flood ends its connection, by frames and by bytes', async (t) => {
  const lab = await serve(t, echo, { limits: { maxContinuations: 8, maxHeaderBlockBytes: 30_000 } });
  const honest = new HonestClient(t, lab);
  for (const part of [Buffer.alloc(0), Buffer.alloc(10_000, 0x82)]) {
    const peer = await FramePeer.connect(lab.address);
    peer.send(
      frame(Type.HEADERS, 0, 1, block(REQUEST)),
      repeat(20, () => frame(Type.CONTINUATION, 0, 1, part)),
    );
    t.equal(await peer.goaway(), ErrorCode.ENHANCE_YOUR_CALM);
  }
  t.equal(lab.counters[Http2Counter.CONTINUATION_FLOODS], 2);
  noteTimes(t, await honest.stop());
});

t.test('an HPACK bomb costs its stream: references to one large entry are counted, not kept', async (t) => {
  const lab = await serve(t, echo, { limits: LIMITS });
  const peer = await FramePeer.connect(lab.address);
  const value = Buffer.alloc(3900, 0x62);
  const insert = Buffer.concat([Buffer.from([0x40, 1, 0x61, 0x7f, 0xbd, 0x1d]), value]); // a: 3,900 bytes, indexed
  const bomb = Buffer.concat([block(REQUEST), insert, Buffer.alloc(12_000, 0xbe)]); // and 12,000 times that entry
  const before = process.memoryUsage().heapUsed;
  const honest = new HonestClient(t, lab);
  for (let id = 1; id < 21; id += 2) peer.send(frame(Type.HEADERS, WHOLE, id, bomb));
  for (let id = 1; id < 21; id += 2) t.same(await peer.response(id), [[':status', '431']]);
  t.equal(lab.counters[Http2Counter.HEADER_LISTS_TOO_LARGE], 10);
  t.ok(process.memoryUsage().heapUsed - before < 50_000_000, '470 MB were claimed');
  noteTimes(t, await honest.stop());
  peer.destroy();
});

t.test('header sections beyond their bound cost their streams only, however many come', async (t) => {
  const lab = await serve(t, echo, { limits: { maxHeaderListBytes: 4096, maxHeaderFields: 50 } });
  const peer = await FramePeer.connect(lab.address);
  const honest = new HonestClient(t, lab);
  const long = [...REQUEST, ['x-long', 'v'.repeat(5000)]] as [string, string][];
  const many = [...REQUEST, ...Array.from({ length: 60 }, (_, i) => [`x-${i}`, '1'])] as [string, string][];
  for (let id = 1; id < 200; id += 2) {
    peer.send(headers(id, id % 4 === 1 ? long : many, WHOLE));
    t.same(await peer.response(id), [[':status', '431']]);
  }
  t.equal(lab.counters[Http2Counter.HEADER_LISTS_TOO_LARGE], 100);
  noteTimes(t, await honest.stop());
  peer.destroy();
});

t.test('work pays for what comes with it: long honest connections never meet the budget', async (t) => {
  const lab = await serve(t, echo, { limits: { floodBurst: 10, floodPerSecond: 0 } });
  const peer = await FramePeer.connect(lab.address);
  for (let id = 1; id < 400; id += 2) {
    peer.send(
      frame(Type.PRIORITY, 0, id, Buffer.alloc(5)),
      headers(id, REQUEST),
      data(id, 100, END_STREAM),
      windowUpdate(0, 100),
      ping(),
    );
    await peer.next(Type.HEADERS, (f) => f.streamId === id && (f.flags & END_STREAM) !== 0);
    peer.send(windowUpdate(0, 100));
  }
  t.equal(lab.counters[Http2Counter.CONNECTION_ERRORS], 0);
  peer.destroy();
});

t.test('client: a server’s flood of 1xx heads ends the connection', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address, LIMITS);
  const call = new RecordedCall();
  client.connection.openStream(call, CALL, true);
  const peer = await server.greet();
  peer.send(repeat(300, () => headers(1, [[':status', '103']])));
  t.equal(await peer.goaway(), ErrorCode.ENHANCE_YOUR_CALM);
  t.equal(client.counters[Http2Counter.FLOODS + Flood.INFORMATIONAL], 1);
  t.equal(call.resetCode, ErrorCode.ENHANCE_YOUR_CALM);
});

t.test('connections beyond the limit are closed as they come', async (t) => {
  const lab = await serve(t, echo, { maxConnections: 3 });
  const honest = new HonestClient(t, lab);
  await until(() => lab.server.connections.size === 1);
  const first = await FramePeer.connect(lab.address);
  const second = await FramePeer.connect(lab.address);
  for (let i = 0; i < 50; i++) await (await FramePeer.dial(lab.address)).closed();
  t.equal(lab.counters[Http2Counter.CONNECTIONS_REFUSED], 50);
  noteTimes(t, await honest.stop());
  second.destroy();
  await until(() => lab.server.connections.size === 2);
  const fourth = await FramePeer.connect(lab.address);
  for (const peer of [first, fourth]) peer.destroy();
});

t.test('every slot has a name', (t) => {
  t.equal(HTTP2_COUNTER_NAMES.length, HTTP2_COUNTER_SLOTS);
  t.equal(HTTP2_COUNTER_NAMES[Http2Counter.FLOODS], 'rapid_reset_floods');
  t.equal(HTTP2_COUNTER_NAMES[Http2Counter.MEMORY_SHEDS], 'memory_sheds');
  t.end();
});
