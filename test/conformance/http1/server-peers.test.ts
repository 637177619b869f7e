// Our server beside clients that share nothing with it: curl, undici, node:http and plain sockets.
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import t from 'tap';
import { Client, request } from 'undici';
import type { Http1Exchange, Http1Handler } from '../../../proto/http1/exchange.ts';
import { Http1Server } from '../../../proto/http1/server.ts';
import { HeaderList } from '../../../proto/http2/header-list.ts';

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
  const heldNow = () => [...echo.connections].at(-1)?.current?.queuedBytes ?? 0;
  let held = 0;
  // Until the kernel takes no more, and what is held grows no more.
  for (let i = 0; i < 200 && (held === 0 || held !== heldNow()); i++) {
    held = heldNow();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  // The engine asks before each piece and then takes it whole: what is held is its bound and a few reads.
  t.ok(held > 0 && held <= 512 * 1024, `${held} bytes are held for a reader that reads nothing`);
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
