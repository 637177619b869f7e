// Both ends beside implementations that share nothing with ours: curl, undici, node:http and plain sockets.

import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { Agent, createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import t from 'tap';
import { Client, request } from 'undici';
import { systemClock } from '../../../base/clock.ts';
import { connectHttp1 } from '../../../proto/http1/client.ts';
import type { Http1ClientConnection } from '../../../proto/http1/client-connection.ts';
import type { Http1Exchange, Http1Handler } from '../../../proto/http1/exchange.ts';
import { Http1Server } from '../../../proto/http1/server.ts';
import { HeaderList } from '../../../proto/http2/header-list.ts';
import type { ConnectAddress } from '../../../proto/io/adopt.ts';

const run = promisify(execFile);
const sha = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex');

/** Sends every body back as it comes, with the method and target in the head. */
class Echo implements Http1Handler {
  onHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    const fields: [string, string][] = [
      [':status', '200'],
      ['x-target', head.get(':path') ?? ''],
    ];
    const length = head.get('content-length');
    if (length !== undefined) fields.push(['content-length', length]);
    // The expectation is met before the head is answered.
    exchange.sendContinue();
    exchange.sendHead(HeaderList.of(...fields), end);
  }
  onData(exchange: Http1Exchange, buffer: Buffer, start: number, end: number, last: boolean): void {
    exchange.consume(exchange.sendData(buffer, start, end, last));
  }
  onTrailers(exchange: Http1Exchange, trailers: HeaderList): void {
    exchange.sendEnd(trailers);
  }
  onSent(exchange: Http1Exchange, bytes: number): void {
    exchange.consume(bytes);
  }
  onReset(): void {}
}

const echo = new Http1Server({ acceptExchange: () => new Echo() });
let port = 0;
let origin = '';

t.before(async () => {
  const bound = await echo.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  if (bound.kind === 'tcp') port = bound.port;
  origin = `http://127.0.0.1:${port}`;
});
t.teardown(() => echo.close());

t.test('curl uploads and downloads, declared and chunked, with and without the expectation', async (t) => {
  const body = 'x'.repeat(200_000);
  for (const extra of [
    [],
    ['-H', 'transfer-encoding: chunked'],
    ['-H', 'expect: 100-continue'],
    ['-H', 'expect:'],
    ['-0'],
  ]) {
    const child = run('curl', ['-s', '-S', '-i', ...extra, '--data-binary', '@-', `${origin}/up?x=1`], {
      maxBuffer: 1e7,
    });
    child.child.stdin!.end(body);
    const { stdout } = await child;
    t.match(stdout, /HTTP\/1\.1 200 OK\r\nx-target: \/up\?x=1\r\n/, extra.join(' '));
    t.equal(stdout.slice(stdout.lastIndexOf('\r\n\r\n') + 4), body);
  }
});

t.test('curl keeps its connection over requests, and HEAD has no body', async (t) => {
  const { stdout, stderr } = await run('curl', ['-v', `${origin}/1`, `${origin}/2`, '-I', `${origin}/3`]);
  t.match(stderr, /Re-us(ing|ed) existing/i);
  t.equal(stdout.match(/200 OK/g)?.length, 3);
});

t.test('undici pipelines, and its bodies come back whole', async (t) => {
  const client = new Client(origin, { pipelining: 8 });
  const bodies = Array.from({ length: 40 }, (_, i) => randomBytes((i * 7919) % 100_000));
  const echoed = await Promise.all(
    bodies.map(async (body, i) => {
      const answer = await client.request({ path: `/${i}`, method: 'PUT', body });
      t.equal(answer.headers['x-target'], `/${i}`);
      return Buffer.from(await answer.body.arrayBuffer());
    }),
  );
  t.same(echoed.map(sha), bodies.map(sha));
  await client.close();
});

t.test('undici streams a body of unknown length while its answer streams back', async (t) => {
  const sent = createHash('sha256');
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let i = 0; i < 200; i++) {
      const piece = randomBytes(10_000);
      sent.update(piece);
      yield piece;
    }
  }
  const answer = await request(`${origin}/stream`, { method: 'POST', body: Readable.from(pieces()) });
  const got = createHash('sha256');
  for await (const piece of answer.body) got.update(piece);
  t.equal(got.digest('hex'), sent.digest('hex'));
});

t.test('node:http sends trailers and an expectation, and reads ours', async (t) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (let round = 0; round < 2; round++) {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = httpRequest(
        {
          port,
          agent,
          method: 'POST',
          headers: { expect: '100-continue', trailer: 'x-sum', 'transfer-encoding': 'chunked' },
        },
        resolve,
      );
      outgoing.on('error', reject);
      outgoing.on('continue', () => {
        outgoing.write('hello');
        outgoing.addTrailers({ 'x-sum': '42' });
        outgoing.end();
      });
      outgoing.flushHeaders();
    });
    let body = '';
    for await (const piece of answer) body += piece;
    t.equal(body, 'hello');
    t.same(answer.trailers, { 'x-sum': '42' });
  }
  agent.destroy();
});

t.test('a client that vanishes in the middle of anything does no harm', async (t) => {
  const parts = [
    'GE',
    'POST / HTTP/1.1\r\nHost: h\r\n',
    'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc',
  ];
  for (const part of parts) {
    for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(part);
      await new Promise((resolve) => setTimeout(resolve, 5));
      socket[how]();
    }
  }
  for (let i = 0; i < 100 && echo.connections.size > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal((await request(`${origin}/alive`)).statusCode, 200);
});

t.test('a slow reader is waited for, and the source with it', async (t) => {
  const socket = connect(port, '127.0.0.1');
  const body = randomBytes(8_000_000);
  socket.write(`POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`);
  socket.pause();
  socket.write(body);
  await new Promise((resolve) => setTimeout(resolve, 150));
  const [connection] = [...echo.connections].slice(-1);
  const held = connection!.current!.queuedBytes;
  // The engine asks before each piece and then takes it whole: what is held is its bound and a few reads.
  t.ok(held <= 512 * 1024, `${held} bytes are held for a reader that reads nothing`);
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  const text = Buffer.concat(pieces);
  t.equal(sha(text.subarray(text.indexOf('\r\n\r\n') + 4)), sha(body));
});

t.test('drain answers what is under way, says close, and ends', async (t) => {
  let release = (): void => {};
  const server = new Http1Server({
    acceptExchange: (exchange) => ({
      onHead: () => {
        release = () => exchange.sendHead(HeaderList.of([':status', '204']), true);
      },
      onData() {},
      onTrailers() {},
      onSent() {},
      onReset() {},
    }),
    limits: { drainIdleMs: 50 },
  });
  const bound = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  const client = new Client(`http://127.0.0.1:${bound.kind === 'tcp' ? bound.port : 0}`);
  const answer = client.request({ path: '/', method: 'GET' });
  while (server.connections.size === 0 || [...server.connections][0]!.current === null) await new Promise(setImmediate);
  const drained = server.drain(5000);
  release();
  t.match((await answer).headers, { connection: 'close' });
  await client.close();
  await drained;
  t.equal(server.connections.size, 0);
});

/** One exchange of ours as a promise. */
class Fetch implements Http1Handler {
  readonly done: Promise<Fetch>;
  status = '';
  fields: HeaderList | null = null;
  trailers: HeaderList | null = null;
  body: Buffer[] = [];
  exchange: Http1Exchange | null = null;
  reset = -1;
  private settle: (fetch: Fetch) => void = () => {};

  constructor() {
    this.done = new Promise((resolve) => {
      this.settle = resolve;
    });
  }
  onHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    if (!exchange.headReceived) {
      if (head.get(':status') === '100') exchange.sendData(Buffer.from('expected'), 0, 8, true);
      return;
    }
    this.status = head.get(':status')!;
    this.fields = head;
    if (end) this.settle(this);
  }
  onData(exchange: Http1Exchange, buffer: Buffer, start: number, end: number, last: boolean): void {
    this.body.push(Buffer.from(buffer.subarray(start, end)));
    exchange.consume(end - start);
    if (last) this.settle(this);
  }
  onTrailers(_exchange: Http1Exchange, trailers: HeaderList): void {
    this.trailers = trailers;
    this.settle(this);
  }
  onSent(): void {}
  onReset(_exchange: Http1Exchange, errorCode: number): void {
    this.reset = errorCode;
    this.settle(this);
  }
  get text(): string {
    return Buffer.concat(this.body).toString('latin1');
  }
}

function open(address: ConnectAddress): Http1ClientConnection {
  return connectHttp1(address, { clock: systemClock, owner: { onIdle() {}, onClosed() {} } });
}

function list(method: string, path: string, ...more: [string, string][]): HeaderList {
  return HeaderList.of([':method', method], [':path', path], [':authority', 'h'], [':scheme', 'http'], ...more);
}

t.test('our client speaks to node:http: every framing, on one connection', async (t) => {
  const server: Server = createServer((incoming, response) => {
    const bytes: Buffer[] = [];
    incoming.on('data', (piece: Buffer) => bytes.push(piece));
    incoming.on('end', () => {
      const body = Buffer.concat(bytes);
      if (incoming.url === '/length') response.setHeader('content-length', body.length);
      if (incoming.url === '/trailers') response.setHeader('trailer', 'x-sum');
      if (incoming.url === '/none') response.statusCode = 204;
      response.setHeader('x-seen', JSON.stringify([incoming.method, incoming.headers, incoming.trailers]));
      if (incoming.url === '/early') response.writeEarlyHints({ link: '</x>; rel=preload' });
      response.write(body);
      if (incoming.url === '/trailers') response.addTrailers({ 'x-sum': String(body.length) });
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address: ConnectAddress = { kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  let connections = 0;
  server.on('connection', () => connections++);
  const connection = open(address);
  const body = randomBytes(300_000);
  for (const path of ['/length', '/chunked', '/trailers', '/none', '/early', '/length', '/chunked']) {
    const fetch = new Fetch();
    const declared: [string, string][] = path === '/length' ? [['content-length', String(body.length)]] : [];
    const exchange = connection.open(fetch, list('POST', path, ['x-a', 'b'], ...declared), false)!;
    exchange.sendData(body, 0, body.length, false);
    exchange.sendEnd(HeaderList.of(['x-mine', '1']));
    await fetch.done;
    t.equal(fetch.status, path === '/none' ? '204' : '200');
    if (path !== '/none') t.equal(sha(Buffer.concat(fetch.body)), sha(body), path);
    if (path === '/trailers') t.equal(fetch.trailers!.get('x-sum'), '300000');
    const seen = JSON.parse(fetch.fields!.get('x-seen')!);
    t.match(seen[1], { host: 'h', 'x-a': 'b' });
    if (path !== '/length') t.same(seen[2], { 'x-mine': '1' });
    await new Promise(setImmediate);
  }
  const expecting = new Fetch();
  connection.open(expecting, list('PUT', '/length', ['expect', '100-continue'], ['content-length', '8']), false);
  await expecting.done;
  t.equal(expecting.text, 'expected');
  const head = new Fetch();
  await new Promise(setImmediate);
  connection.open(head, list('HEAD', '/length'), true);
  await head.done;
  t.equal(head.status, '200');
  t.equal(connections, 1);
  connection.destroy();
  await new Promise((resolve) => server.close(resolve));
});

t.test('a server that closes its idle connection under a request: the client may send it again', async (t) => {
  const sockets: Socket[] = [];
  const server = createNetServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      // The race: the connection ends as the next request arrives, without a byte of an answer.
      socket.once('data', () => socket.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address: ConnectAddress = { kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  for (const [method, canRetry] of [
    ['GET', true],
    ['POST', false],
  ] as [string, boolean][]) {
    const connection = open(address);
    const first = new Fetch();
    connection.open(first, list(method, '/1'), true);
    await first.done;
    t.equal(first.status, '200');
    await new Promise(setImmediate);
    const raced = new Fetch();
    const exchange = connection.open(raced, list(method, '/2'), true)!;
    await raced.done;
    t.ok(raced.reset >= 0);
    t.equal(exchange.canRetry, canRetry, method);
    t.equal(exchange.refused, false);
    connection.destroy();
  }
  server.close();
});

t.test('a connection that never stood refuses its request', async (t) => {
  const server = createNetServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: gone } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const fetch = new Fetch();
  const exchange = open({ kind: 'tcp', host: '127.0.0.1', port: gone }).open(fetch, list('POST', '/'), true)!;
  await fetch.done;
  t.equal(exchange.refused, true);
  t.equal(exchange.canRetry, true);
});

t.test('an upgrade through both of our ends becomes a plain pipe of bytes', async (t) => {
  const server = new Http1Server({
    acceptExchange: () => ({
      onHead(exchange: Http1Exchange) {
        exchange.sendHead(HeaderList.of([':status', '101'], ['upgrade', 'shout']), false);
        const { io, unread } = exchange.takeOver();
        const shout = (bytes: Buffer) => {
          const loud = Buffer.from(bytes.toString('latin1').toUpperCase(), 'latin1');
          io.write(loud, 0, loud.length);
        };
        io.reader = {
          onBytes: (buffer, length) => shout(buffer.subarray(0, length)),
          onEnd: () => io.end(),
          onDrained() {},
          onClosed() {},
        };
        shout(unread);
      },
      onData() {},
      onTrailers() {},
      onSent() {},
      onReset() {},
    }),
  });
  const address = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  const heard = await new Promise<string>((resolve) => {
    let text = '';
    const connection = open(address);
    connection.open(
      {
        onHead(exchange, head) {
          t.equal(head.get(':status'), '101');
          const { io } = exchange.takeOver();
          io.reader = {
            onBytes: (buffer, length) => {
              text += buffer.toString('latin1', 0, length);
              if (text.length === 5) io.end();
            },
            onEnd() {},
            onDrained() {},
            onClosed: () => resolve(text),
          };
          io.write(Buffer.from('hello'), 0, 5);
        },
        onData() {},
        onTrailers() {},
        onSent() {},
        onReset() {},
      },
      list('GET', '/', ['upgrade', 'shout']),
      true,
    );
  });
  t.equal(heard, 'HELLO');
  t.equal(server.connections.size, 0);
  await server.close();
});
