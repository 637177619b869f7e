import { once } from 'node:events';
import net from 'node:net';
import t from 'tap';
import { adoptAccepted, type ConnectAddress, openSocket } from '../../../../proto/io/adopt.ts';
import { type ByteReader, type ByteSocket, HIGH_WATER_BYTES } from '../../../../proto/io/byte-socket.ts';
import { beginDeferring, endDeferring, flushDeferred, hasDeferred } from '../../../../proto/io/deferred-writes.ts';
import type { WriteHandle } from '../../../../proto/io/direct-write.ts';
import { threadMemory } from '../../../../proto/io/memory-budget.ts';
import { socketPath, type Test } from '../../../support/http2-lab.ts';
import { until } from '../../../support/patience.ts';

class Recorder implements ByteReader {
  readonly chunks: Buffer[] = [];
  reads = 0;
  ended = false;
  drained = 0;
  closed = 0;
  error: Error | null = null;

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  onBytes(buffer: Buffer, length: number): void {
    this.reads++;
    this.chunks.push(Buffer.from(buffer.subarray(0, length)));
  }

  onEnd(): void {
    this.ended = true;
  }

  onDrained(): void {
    this.drained++;
  }

  onClosed(error: Error | null): void {
    this.closed++;
    this.error = error;
  }
}

interface Pair {
  readonly near: ByteSocket;
  readonly nearEvents: Recorder;
  readonly far: net.Socket;
  readonly server: net.Server;
}

/** An accepted socket as a ByteSocket, and its plain peer. */
async function accepted(t: Test, unix = false): Promise<Pair> {
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
  t.teardown(() => server.close());
  server.listen(unix ? socketPath(t) : { port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const bound = server.address() as net.AddressInfo | string;
  const far = net.connect(typeof bound === 'string' ? { path: bound } : { port: bound.port, host: '127.0.0.1' });
  far.on('error', () => {});
  t.teardown(() => far.destroy());
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  const nearEvents = new Recorder();
  const near = adoptAccepted(socket, nearEvents);
  return { near, nearEvents, far, server };
}

function write(io: ByteSocket, text: string): void {
  io.write(Buffer.from(text), 0, text.length);
}

for (const unix of [false, true]) {
  const over = unix ? 'a Unix socket' : 'TCP';

  t.test(`what is written in one turn leaves in one write over ${over}`, async (t) => {
    const { near, far } = await accepted(t, unix);
    let writes = 0;
    const handle = (near.socket as unknown as { _handle: WriteHandle })._handle;
    const original = handle.writeBuffer;
    handle.writeBuffer = function count(request, bytes) {
      writes++;
      return original.call(this, request, bytes);
    };
    for (const word of ['one ', 'two ', 'three']) write(near, word);
    const out = near.reserve(3);
    out.write(' 4!', near.position());
    near.advance(3);
    t.equal(writes, 0, 'nothing leaves before the turn ends');
    t.equal(near.pendingBytes, 16);
    const [bytes] = (await once(far, 'data')) as [Buffer];
    t.equal(bytes.toString(), 'one two three 4!');
    t.equal(writes, 1);
    await until(() => near.pendingBytes === 0);
    t.equal(near.takenBytes, 16);
    near.destroy();
  });

  t.test(`bytes, half-close and close arrive in order over ${over}`, async (t) => {
    const { near, nearEvents, far } = await accepted(t, unix);
    far.end('hello');
    await until(() => nearEvents.ended);
    t.equal(nearEvents.text, 'hello');
    t.equal(near.bytesIn, 5);
    t.equal(near.closed, false, 'our side may still write');
    write(near, 'bye');
    near.end();
    const [bytes] = (await once(far, 'data')) as [Buffer];
    t.equal(bytes.toString(), 'bye');
    await until(() => nearEvents.closed === 1);
    t.equal(nearEvents.error, null);
  });
}

t.test('a write longer than any buffer arrives whole', async (t) => {
  const { near, far } = await accepted(t);
  const body = Buffer.alloc(1_000_003);
  for (let i = 0; i < body.length; i++) body[i] = i % 253;
  const chunks: Buffer[] = [];
  far.on('data', (chunk: Buffer) => chunks.push(chunk));
  near.write(body, 0, body.length);
  near.end();
  await once(far, 'end');
  t.ok(Buffer.concat(chunks).equals(body));
});

t.test('a peer that does not read makes the socket unwritable, and reading makes it writable again', async (t) => {
  const { near, nearEvents, far } = await accepted(t);
  far.pause();
  const piece = Buffer.alloc(50_000, 1);
  let written = 0;
  while (near.writable && written < 50_000_000) {
    near.write(piece, 0, piece.length);
    written += piece.length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.ok(near.pendingBytes > HIGH_WATER_BYTES / 2 && near.pendingBytes < HIGH_WATER_BYTES + 200_000);
  t.equal(threadMemory.heldBytes, near.pendingBytes);
  t.equal(nearEvents.drained, 0);
  let read = 0;
  far.on('data', (chunk: Buffer) => {
    read += chunk.length;
  });
  far.resume();
  await until(() => read === written);
  t.equal(nearEvents.drained, 1);
  t.equal(near.writable, true);
  await until(() => near.pendingBytes === 0);
  t.equal(threadMemory.heldBytes, 0);
  near.destroy();
});

t.test('a socket destroyed with output pending reports its close once and gives its buffers back', async (t) => {
  const { near, nearEvents, far } = await accepted(t);
  far.pause();
  const piece = Buffer.alloc(40_000_000, 1);
  near.write(piece, 0, piece.length);
  near.flush();
  t.ok(threadMemory.heldBytes >= 8_000_000);
  near.destroy(new Error('enough'));
  near.destroy();
  near.write(piece, 0, 10);
  await until(() => nearEvents.closed === 1);
  await until(() => threadMemory.heldBytes === 0);
  t.equal(nearEvents.error?.message, 'enough');
  t.equal(near.writable, false);
  near.write(piece, 0, 10);
  near.end();
  await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(nearEvents.closed, 1);
});

t.test('reset is an abort to the peer', async (t) => {
  const { near, far } = await accepted(t);
  const [error] = await Promise.all([once(far, 'error'), near.reset()]);
  t.match(error[0], { code: 'ECONNRESET' });
});

t.test('paused reading leaves the bytes with the kernel', async (t) => {
  const { near, nearEvents, far } = await accepted(t);
  near.pauseReading();
  far.write('later');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(nearEvents.reads, 0);
  near.resumeReading();
  await until(() => nearEvents.text === 'later');
  near.destroy();
});

t.test('readers can be exchanged while the socket lives', async (t) => {
  const { near, nearEvents, far } = await accepted(t);
  far.write('a');
  await until(() => nearEvents.text === 'a');
  const second = new Recorder();
  near.reader = second;
  far.end('b');
  await until(() => second.ended);
  t.equal(second.text, 'b');
  near.destroy();
  await until(() => second.closed === 1);
  t.equal(nearEvents.closed, 0);
});

t.test('an adopted socket counts as the server’s connection until it is closed', async (t) => {
  const { near, nearEvents, server } = await accepted(t);
  const count = (): Promise<number> =>
    new Promise((resolve) => server.getConnections((_error, connections) => resolve(connections)));
  t.equal(await count(), 1);
  near.destroy();
  await until(() => nearEvents.closed === 1);
  t.equal(await count(), 0);
  server.close();
  await once(server, 'close');
});

t.test('a socket whose peer was gone before it was adopted reports an ordinary close', async (t) => {
  const socket = new net.Socket();
  const events = new Recorder();
  const io = adoptAccepted(socket, events);
  write(io, 'nobody hears');
  await until(() => events.closed === 1);
  t.equal(events.error, null);
  t.equal(threadMemory.heldBytes, 0);
});

t.test('bytes written before the connection stands arrive, and a failed one says why', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address: ConnectAddress = {
    kind: 'tcp',
    host: '127.0.0.1',
    port: (server.address() as net.AddressInfo).port,
  };
  let connected = 0;
  const io = openSocket(address, new Recorder(), () => connected++);
  write(io, 'early');
  const [far] = (await once(server, 'connection')) as [net.Socket];
  const [bytes] = (await once(far, 'data')) as [Buffer];
  t.equal(bytes.toString(), 'early');
  t.equal(connected, 1);
  io.destroy();
  far.destroy();
  server.close();
  await once(server, 'close');
  const events = new Recorder();
  openSocket(address, events, () => connected++);
  await until(() => events.closed === 1);
  t.match(events.error, { code: 'ECONNREFUSED' });
  t.equal(connected, 1);
});

t.test('bytes that may wait leave with the next ones that may not, in order, or when they are flushed', async (t) => {
  const { near, far } = await accepted(t);
  const received: Buffer[] = [];
  far.on('data', (chunk: Buffer) => received.push(chunk));
  const text = () => Buffer.concat(received).toString();
  const write = (bytes: string) => near.write(Buffer.from(bytes), 0, bytes.length);
  beginDeferring();
  write('a');
  write('b');
  endDeferring();
  t.ok(hasDeferred());
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(near.bytesOut, 0, 'turns of the loop pass');
  write('c');
  await until(() => text() === 'abc');
  beginDeferring();
  write('d');
  endDeferring();
  flushDeferred();
  t.notOk(hasDeferred());
  await until(() => text() === 'abcd');
  beginDeferring();
  near.write(Buffer.alloc(100_000, 'e'), 0, 100_000);
  endDeferring();
  await until(() => text().length > 4);
  t.ok(near.bytesOut >= 65_536, 'a full buffer does not wait');
  beginDeferring();
  near.end();
  endDeferring();
  await once(far, 'end');
  t.equal(text().length, 100_004, 'nor does an end, with all before it');
  flushDeferred();
});
