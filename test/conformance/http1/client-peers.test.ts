// Our client beside servers that share nothing with it, node:http and plain sockets; and both of our ends with one another.
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Socket } from 'node:net';
import t from 'tap';
import { systemClock } from '../../../base/clock.ts';
import { connectHttp1 } from '../../../proto/http1/client.ts';
import type { Http1ClientConnection } from '../../../proto/http1/client-connection.ts';
import type { Http1Exchange, Http1Handler } from '../../../proto/http1/exchange.ts';
import { Http1Server } from '../../../proto/http1/server.ts';
import { HeaderList } from '../../../proto/http2/header-list.ts';
import type { ConnectAddress } from '../../../proto/io/adopt.ts';

const sha = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex');

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
