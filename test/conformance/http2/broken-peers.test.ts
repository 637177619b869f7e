// Peers that die, stall, dribble or half-close at every point, and handlers that end things in the middle of a callback.
import net from 'node:net';
import t from 'tap';
import { watchFor } from '../../../proto/http2/connection-watch.ts';
import { Http2Counter } from '../../../proto/http2/counters.ts';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import { HIGH_WATER_BYTES } from '../../../proto/io/byte-socket.ts';
import { DEFAULT_MEMORY_LIMIT_BYTES, threadMemory } from '../../../proto/io/memory-budget.ts';
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
  PREFACE,
  ping,
  REQUEST,
  RESPONSE,
  rst,
  settings,
  settingsAck,
  Type,
  windowUpdate,
} from '../../support/frame-peer.ts';
import {
  CALL,
  dial,
  echo,
  HonestClient,
  honestCalls,
  isHonest,
  noteTimes,
  OK,
  RecordedCall,
  serve,
  TRAILERS,
} from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';
import { resetSocket } from '../../support/reset.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const WHOLE = END_HEADERS | END_STREAM;
const pad = Buffer.concat([Buffer.from([4]), Buffer.from('body'), Buffer.alloc(4)]);
const head = block(REQUEST);

const CLIENT_WORDS = Buffer.concat([
  PREFACE,
  settings([4, 1000], [1, 0]),
  settingsAck(),
  headers(1, REQUEST),
  data(1, 40),
  frame(Type.HEADERS, 0, 3, head.subarray(0, 20)),
  frame(Type.CONTINUATION, END_HEADERS, 3, head.subarray(20)),
  windowUpdate(3, 500),
  frame(Type.DATA, 0x8, 3, pad),
  ping(),
  headers(1, [['x-sum', '1']], WHOLE),
  rst(3, 8),
  headers(5, REQUEST, WHOLE),
  goaway(0, 0),
]);

const SERVER_WORDS = Buffer.concat([
  settings([3, 100]),
  settingsAck(),
  headers(1, [[':status', '103']]),
  headers(1, RESPONSE),
  data(1, 30),
  frame(Type.DATA, 0x8, 1, pad),
  frame(Type.HEADERS, 0, 3, block(RESPONSE)),
  frame(Type.CONTINUATION, END_HEADERS, 3),
  headers(1, [['grpc-status', '0']], WHOLE),
  rst(3, 7),
  goaway(5, 0),
]);

/** Runs `one` for all numbers below `count`, several at a time. */
async function forEach(count: number, one: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

t.test('a client that dies at any byte of its conversation leaves nothing behind', async (t) => {
  const lab = await serve(t);
  const { address } = lab;
  if (address.kind !== 'tcp') return;
  await forEach(CLIENT_WORDS.length + 1, async (cut) => {
    const socket = net.connect(address.port, address.host);
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('connect', resolve));
    await new Promise((resolve) => socket.write(CLIENT_WORDS.subarray(0, cut), resolve));
    if (cut % 3 === 0) socket.end();
    else if (cut % 3 === 1) resetSocket(socket);
    else socket.destroy();
    socket.resume();
  });
  await until(() => lab.server.connections.size === 0, 'all connections are gone');
  t.ok(lab.calls.length > 300);
  for (const { stream } of lab.calls) t.equal(stream!.connection.activeStreams, 0);
  t.equal(threadMemory.heldBytes, 0);
});

t.test('a server that dies at any byte of its conversation fails what is open, and only that', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  await forEach(SERVER_WORDS.length + 1, async (cut) => {
    const client = dial(t, server.address);
    const calls = [0, 1, 2].map(() => new RecordedCall());
    for (const call of calls) client.connection.openStream(call, CALL, true);
    const peer = await server.accept();
    await new Promise((resolve) => peer.socket.write(SERVER_WORDS.subarray(0, cut), resolve));
    if (cut % 3 === 0) peer.socket.end();
    else if (cut % 3 === 1) resetSocket(peer.socket);
    else peer.socket.destroy();
    await until(() => client.owner.closed, `the client has noticed cut ${cut}`);
    if (calls.some((call) => !call.ended && call.resetCode === null)) t.fail(`a call is stuck at cut ${cut}`);
  });
  t.equal(threadMemory.heldBytes, 0);
});

t.test('FIN is the peer’s death: its open requests are cancelled at once', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  peer.send(headers(1, REQUEST, WHOLE), headers(3, REQUEST));
  await peer.settle();
  peer.socket.end();
  await until(() => lab.server.connections.size === 0);
  t.same(
    lab.calls.map((call) => call.resetCode),
    [ErrorCode.CANCEL, ErrorCode.CANCEL],
  );
  const idle = await FramePeer.connect(lab.address);
  idle.socket.end();
  await idle.closed();
  await until(() => lab.server.connections.size === 0);
});

t.test('a peer that never reads holds a bounded number of bytes and is cut in time', async (t) => {
  const clock = new VirtualClock();
  const lab = await serve(
    t,
    (call, event) => {
      if (isHonest(call)) return echo(call, event);
      if (event !== 'end') return;
      call.stream!.sendHeaders(OK, false);
      call.stream!.sendData(Buffer.alloc(100_000), 0, 100_000, false);
      call.stream!.sendHeaders(TRAILERS, true);
    },
    { clock, limits: { stallTimeoutMs: 5000 } },
  );
  const peer = await FramePeer.connect(lab.address, [4, 0x7fffffff]);
  peer.socket.pause();
  peer.send(windowUpdate(0, 0x7fffffff - 65_535));
  for (let id = 1; id <= 399; id += 2) peer.send(headers(id, REQUEST, WHOLE));
  await until(() => lab.calls.length === 200);
  const slow = lab.server.connections.values().next().value!;
  const { io } = slow;
  await until(() => !io.writable);
  noteTimes(t, await honestCalls(t, lab));
  t.ok(io.pendingBytes <= HIGH_WATER_BYTES + 4 * 65_536, `${io.pendingBytes} bytes wait for the socket`);
  t.equal(
    lab.calls.every((call) => call.resetCode === null),
    true,
  );
  for (let second = 0; second < 7; second++) {
    watchFor(clock).look();
    clock.advance(1000);
  }
  t.equal(lab.counters[Http2Counter.SOCKET_STALLS], 1);
  t.ok(lab.calls.some((call) => call.resetCode === ErrorCode.ENHANCE_YOUR_CALM));
  await until(() => !lab.server.connections.has(slow));
  t.equal(threadMemory.heldBytes, 0);
  peer.destroy();
});

t.test('a peer that asks and never reads the answers to its questions is cut', async (t) => {
  const lab = await serve(t, echo, { limits: { floodBurst: 1e9, maxUnreadControlBytes: 100_000 } });
  const peer = await FramePeer.connect(lab.address);
  peer.socket.pause();
  const honest = new HonestClient(t, lab);
  const questions = Buffer.concat(Array.from({ length: 10_000 }, () => ping()));
  for (let i = 0; i < 200 && !peer.ended && lab.counters[Http2Counter.UNREAD_CONTROL] === 0; i++) {
    peer.send(questions);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => lab.counters[Http2Counter.UNREAD_CONTROL] === 1);
  noteTimes(t, await honest.stop());
  peer.destroy();
});

t.test('a peer whose window never opens loses the stream, not the connection', async (t) => {
  const clock = new VirtualClock();
  const lab = await serve(t, echo, { clock, limits: { streamStallTimeoutMs: 3000 } });
  const peer = await FramePeer.connect(lab.address, [4, 10]);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST), data(1, 100, END_STREAM));
  await peer.settle();
  noteTimes(t, await honestCalls(t, lab));
  for (let second = 0; second < 5; second++) watchFor(clock).look();
  t.equal(await peer.reset(1), ErrorCode.CANCEL);
  t.equal(lab.counters[Http2Counter.STREAM_STALLS], 1);
  peer.send(headers(3, REQUEST, WHOLE));
  await peer.response(3);
});

t.test('connections that never finish what they begin are ended: handshake, header, block, body, rest', async (t) => {
  const clock = new VirtualClock();
  const limits = { handshakeTimeoutMs: 3000, headerTimeoutMs: 3000, bodyTimeoutMs: 3000, idleTimeoutMs: 6000 };
  const lab = await serve(t, (call, event) => (isHonest(call) ? echo(call, event) : undefined), { clock, limits });
  const silent = await FramePeer.dial(lab.address);
  const header = await FramePeer.connect(lab.address);
  header.send(headers(1, REQUEST).subarray(0, 30));
  const dribble = await FramePeer.connect(lab.address);
  dribble.send(frame(Type.HEADERS, 0, 1, head.subarray(0, 5)));
  const body = await FramePeer.connect(lab.address);
  body.send(headers(1, REQUEST), data(1, 10));
  const steady = await FramePeer.connect(lab.address);
  steady.send(headers(1, REQUEST));
  const resting = await FramePeer.connect(lab.address);
  await until(() => lab.calls.length === 2 && lab.calls.some((call) => call.body.length === 10));
  const honest = new HonestClient(t, lab);
  for (let second = 0; second < 5; second++) {
    watchFor(clock).look();
    clock.advance(1000);
    dribble.send(frame(Type.CONTINUATION, 0, 1, head.subarray(5 + second, 6 + second)));
    steady.send(data(1, 1));
    await steady.settle(`second ${second}`.slice(0, 8));
  }
  await silent.closed();
  t.equal(await header.goaway(), ErrorCode.ENHANCE_YOUR_CALM);
  t.equal(await dribble.goaway(), ErrorCode.ENHANCE_YOUR_CALM);
  t.equal(await body.reset(1), ErrorCode.CANCEL);
  const attackers = lab.calls.filter((call) => !isHonest(call));
  t.equal(attackers.filter((call) => call.resetCode === null).length, 1, 'a steady body is left alone');
  noteTimes(t, await honest.stop());
  for (let second = 0; second < 5; second++) {
    watchFor(clock).look();
    clock.advance(1000);
  }
  t.equal((await resting.next(Type.GOAWAY)).payload.readUInt32BE(4), ErrorCode.NO_ERROR);
  const { counters } = lab;
  t.same(
    [Http2Counter.HANDSHAKE_TIMEOUTS, Http2Counter.HEADER_TIMEOUTS].map((slot) => counters[slot]),
    [1, 2],
  );
  t.ok(counters[Http2Counter.BODY_TIMEOUTS]! >= 1 && counters[Http2Counter.IDLE_TIMEOUTS]! >= 1);
  for (const peer of [silent, header, dribble, body, steady, resting]) peer.destroy();
});

t.test('at the bound on held bytes the heaviest goes first, and the others are served', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (isHonest(call) && call.sections[0]!.get('x-size') === undefined) return echo(call, event);
    if (event !== 'end') return;
    const size = Number(call.sections[0]!.get('x-size'));
    call.stream!.sendHeaders(OK, false);
    call.stream!.sendData(Buffer.alloc(size), 0, size, true);
  });
  threadMemory.limitBytes = 1_000_000;
  t.teardown(() => {
    threadMemory.limitBytes = DEFAULT_MEMORY_LIMIT_BYTES;
  });
  const peer = await FramePeer.connect(lab.address, [4, 0]);
  t.teardown(() => peer.destroy());
  const ask = (id: number, size: number): Buffer => headers(id, [...REQUEST, ['x-size', String(size)]], WHOLE);
  peer.send(ask(1, 300_000), ask(3, 600_000), ask(5, 50_000));
  await peer.settle();
  t.equal(threadMemory.heldBytes, 950_000);
  noteTimes(t, await honestCalls(t, lab));
  t.equal(threadMemory.heldBytes, 950_000);
  peer.send(ask(7, 100_000));
  t.equal(await peer.reset(3), ErrorCode.ENHANCE_YOUR_CALM);
  t.equal(threadMemory.heldBytes, 450_000);
  t.equal(lab.counters[Http2Counter.MEMORY_SHEDS], 1);
  peer.send(windowUpdate(0, 1_000_000));
  for (const id of [1, 5, 7]) {
    peer.send(windowUpdate(id, 1_000_000));
    await peer.next(Type.DATA, (f) => f.streamId === id && (f.flags & END_STREAM) !== 0);
  }
  t.equal(threadMemory.heldBytes, 0);
});

function resetTwice(call: RecordedCall): void {
  call.stream!.reset(ErrorCode.CANCEL);
  call.stream!.reset(ErrorCode.CANCEL);
}

const ACTIONS: [string, (call: RecordedCall) => void][] = [
  ['resets its stream', (call) => call.stream!.reset(ErrorCode.CANCEL)],
  ['resets its stream twice', resetTwice],
  ['closes the connection', (call) => call.stream!.connection.close()],
  ['destroys the socket', (call) => call.stream!.connection.io.destroy()],
  ['drains the connection', (call) => call.stream!.connection.drain()],
  ['answers', (call) => echo(call, 'end')],
];

for (const [what, act] of ACTIONS) {
  t.test(`a handler that ${what} in any callback harms nothing else`, async (t) => {
    for (const role of ['server', 'client']) {
      for (const at of ['headers', 'data', 'end', 'sent', 'reset']) {
        const script = (call: RecordedCall, event: string): void => {
          if (event === at) act(call);
          else if (event === 'headers' && role === 'server') {
            call.stream!.sendHeaders(OK, false);
            call.stream!.sendData(Buffer.alloc(100_000), 0, 100_000, true);
          }
        };
        const lab = await serve(t, role === 'server' ? script : echo);
        const client = dial(t, lab.address, { streamWindowBytes: 70_000 });
        const calls = [0, 1, 2].map(() => new RecordedCall(role === 'client' ? script : undefined));
        for (const call of calls) {
          const stream = client.connection.openStream(call, CALL, false);
          if (stream === null) continue;
          call.stream = stream;
          stream.sendData(Buffer.alloc(150_000, 7), 0, 150_000, false);
          stream.sendHeaders(TRAILERS, true);
        }
        await new Promise((resolve) => setTimeout(resolve, 15));
        client.connection.close();
        await until(() => client.owner.closed && lab.server.connections.size === 0, `${role} ${at} is over`);
        for (const call of [...calls, ...lab.calls]) {
          const after = call.events.slice(call.events.indexOf('reset') + 1);
          if (call.resetCode !== null && after.length > 0) t.fail(`${role} ${at}: ${after} after reset`);
        }
        t.equal(client.connection.activeStreams, 0, `${role} ${at}`);
      }
    }
    t.equal(threadMemory.heldBytes, 0);
  });
}
