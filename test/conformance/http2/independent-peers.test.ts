// The engine against implementations that are not ours, in both roles, over TCP and Unix sockets.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import t from 'tap';
import { HeaderList } from '../../../proto/http2/header-list.ts';
import type { ConnectAddress } from '../../../proto/io/adopt.ts';
import { CALL, dial, echo, OK, RecordedCall, serve, socketPath, TRAILERS } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const run = promisify(execFile);
/** Something to send. */
const thisFile: string = import.meta.filename;

function installed(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => fs.existsSync(path.join(folder, program)));
}

/** Sends what it gets back at once, as it comes, as far as the caller reads. */
function relay(call: RecordedCall, event: string): void {
  const stream = call.stream!;
  call.consuming = false;
  if (event === 'sent') stream.consume(stream.outstanding - stream.queuedBytes);
  if (event !== 'headers' && event !== 'data' && event !== 'end') return;
  if (call.events.length === 1) stream.sendHeaders(OK, false);
  const chunk = call.chunks.pop();
  if (chunk !== undefined) stream.consume(stream.sendData(chunk, 0, chunk.length, false));
  if (event === 'end') stream.sendHeaders(TRAILERS, true);
}

function sha(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

for (const unix of [false, true]) {
  const over = unix ? 'a Unix socket' : 'TCP';

  t.test(`a grpc-js client: unary calls, a stream both ways and 20 MB over ${over}`, async (t) => {
    const { address } = await serve(t, relay, { unix });
    const target = address.kind === 'unix' ? `unix:${address.path}` : `${address.host}:${address.port}`;
    const raw = (value: Buffer): Buffer => value;
    const method = { path: '/a.S/Echo', requestSerialize: raw, requestDeserialize: raw };
    const Client = grpc.makeGenericClientConstructor(
      {
        echo: {
          ...method,
          requestStream: true,
          responseStream: true,
          responseSerialize: raw,
          responseDeserialize: raw,
        },
      },
      'S',
    );
    const client = new Client(target, grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': 64 << 20,
    });
    t.teardown(() => client.close());
    const stream = client['echo']!() as unknown as grpc.ClientDuplexStream<Buffer, Buffer>;
    const messages = [Buffer.from('one'), Buffer.alloc(20_000_000, 0x71), Buffer.from('three')];
    const got: string[] = [];
    for (const message of messages) stream.write(message);
    stream.end();
    for await (const message of stream) got.push(sha(message as Buffer));
    t.same(got, messages.map(sha));
  });

  t.test(`a node:http2 client: many streams at once and a large body with small windows over ${over}`, async (t) => {
    const { address } = await serve(t, relay, { unix });
    const session = connectNode(address, { initialWindowSize: 20_000 });
    t.teardown(() => session.destroy());
    const bodies = await Promise.all(
      Array.from({ length: 60 }, (_, i) => fetchNode(session, Buffer.alloc(i * 2500, 0x41 + (i % 26)))),
    );
    t.ok(bodies.every((body, i) => body.equals(Buffer.alloc(i * 2500, 0x41 + (i % 26)))));
  });

  t.test(`a node:http2 server: our client’s streams, bodies, trailers and cancels over ${over}`, async (t) => {
    const server = http2.createServer({ settings: { initialWindowSize: 30_000, maxConcurrentStreams: 50 } });
    let closedCode: number | undefined;
    server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
      if (headers[':path'] === '/hang') {
        stream.on('close', () => {
          closedCode = stream.rstCode;
        });
        stream.on('error', () => {});
        return;
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.pipe(stream);
    });
    server.listen(unix ? socketPath(t) : 0);
    await once(server, 'listening');
    t.teardown(() => server.close());
    const bound = server.address() as AddressInfo | string;
    const address: ConnectAddress =
      typeof bound === 'string' ? { kind: 'unix', path: bound } : { kind: 'tcp', host: '127.0.0.1', port: bound.port };
    const { connection, owner } = dial(t, address);
    const calls = Array.from({ length: 40 }, (_, i) => {
      const call = new RecordedCall();
      const stream = connection.openStream(call, CALL, false)!;
      const body = Buffer.alloc(i * 5000, i);
      stream.sendData(body, 0, body.length, true);
      return call;
    });
    await until(() => calls.every((call) => call.ended), 'all are answered', 10_000);
    t.ok(calls.every((call, i) => call.body.equals(Buffer.alloc(i * 5000, i))));
    t.equal(calls[7]!.sections.at(-1)!.get('grpc-status'), '0');
    const HANG = HeaderList.of([':method', 'POST'], [':scheme', 'http'], [':path', '/hang'], [':authority', 'a']);
    connection.openStream(new RecordedCall(), HANG, false)!.cancel();
    await until(() => closedCode !== undefined);
    t.equal(closedCode, http2.constants.NGHTTP2_CANCEL);
    t.equal(connection.activeStreams, 0);
    connection.drain();
    await until(() => owner.closed);
  });
}

t.test('a node:http2 server that goes away: nothing is lost', async (t) => {
  const server = http2.createServer();
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.respond({ ':status': 200 });
    stream.end('x');
    stream.session!.close();
  });
  server.listen(0);
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { connection, owner } = dial(t, {
    kind: 'tcp',
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
  });
  const calls = Array.from({ length: 20 }, () => new RecordedCall());
  for (const call of calls) connection.openStream(call, CALL, true);
  await until(() => owner.closed);
  t.ok(calls.some((call) => call.ended));
  t.ok(calls.every((call) => call.ended || call.refused));
});

t.test('a node:http2 client hears our GOAWAY and its requests are answered', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event === 'end') setTimeout(echo, 30, call, event);
  });
  const session = connectNode(lab.address, {});
  session.on('error', () => {});
  const answers = Promise.all([fetchNode(session, Buffer.from('a')), fetchNode(session, Buffer.from('b'))]);
  const goneAway = once(session, 'goaway');
  await until(() => lab.calls.length === 2);
  const drained = lab.server.drain(3000);
  await goneAway;
  t.same((await answers).map(String), ['a', 'b']);
  await drained;
});

t.test('curl with prior knowledge', { skip: !installed('curl') && 'curl is not installed' }, async (t) => {
  const { address } = await serve(t);
  const body = 'x'.repeat(100_000);
  const { stdout } = await run('curl', ['-s', '--http2-prior-knowledge', '-d', body, url(address)]);
  t.equal(stdout, body);
  const unix = await serve(t, echo, { unix: true });
  const socket = unix.address.kind === 'unix' ? unix.address.path : '';
  const over = await run('curl', ['-s', '--http2-prior-knowledge', '--unix-socket', socket, '-d', 'abc', 'http://a/']);
  t.equal(over.stdout, 'abc');
});

t.test(
  'nghttp: a head that must be continued, padding and trailers',
  { skip: !installed('nghttp') && 'nghttp is not installed' },
  async (t) => {
    const { address, calls } = await serve(t);
    const big = `x-big: ${'~'.repeat(30_000)}`;
    const { stdout } = await run('nghttp', [
      '-nv',
      '-b',
      '100',
      '-H',
      big,
      '--trailer',
      'a: b',
      '-d',
      thisFile,
      url(address),
    ]);
    t.match(stdout, /grpc-status: 0/);
    t.equal(calls[0]!.sections[0]!.get('x-big')!.length, 30_000);
    t.equal(calls[0]!.sections[1]!.get('a'), 'b');
    t.ok(calls[0]!.body.equals(fs.readFileSync(thisFile)));
  },
);

t.test(
  'h2load: ten thousand requests, all succeed',
  { skip: !installed('h2load') && 'h2load is not installed' },
  async (t) => {
    const { address, server } = await serve(t);
    const { stdout } = await run('h2load', ['-c', '8', '-m', '32', '-n', '10000', '-d', thisFile, url(address)]);
    t.match(stdout, /10000 succeeded, 0 failed, 0 errored, 0 timeout/);
    await until(() => server.connections.size === 0);
  },
);

function url(address: ConnectAddress): string {
  return address.kind === 'tcp' ? `http://${address.host}:${address.port}/a.S/Echo` : '';
}

function connectNode(address: ConnectAddress, settings: http2.Settings): http2.ClientHttp2Session {
  const target = address.kind === 'tcp' ? `http://${address.host}:${address.port}` : 'http://localhost';
  return http2.connect(target, address.kind === 'unix' ? { path: address.path, settings } : { settings });
}

function fetchNode(session: http2.ClientHttp2Session, body: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': '/a' });
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => resolve(Buffer.concat(chunks)));
    stream.on('error', reject);
    stream.end(body);
  });
}
