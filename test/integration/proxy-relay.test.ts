/** What is no model call passes untouched: streams, other HTTP/2, HTTP/1.1 and plain TCP. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer, request as httpRequest } from 'node:http';
import { connect as connectHttp2, constants } from 'node:http2';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { promisify } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { resetSocket } from '../support/reset.ts';
import { framed, ScriptedUpstream } from '../support/scripted-upstream.ts';

const MiB = 1024 * 1024;
const BIG = 100 * MiB;

const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true });
const proxy = await ProxyProgram.start(t, {
  env: {
    UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address,
    UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: upstream.address,
  },
  document: {
    models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }], fallback: [{ model: 'm@2' }] }],
  },
});
const caller = GrpcCaller.to(t, proxy.address);

const chunk = randomBytes(MiB);
function* bulk(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= chunk.length) yield chunk.subarray(0, Math.min(left, chunk.length));
}

t.test('a bidirectional gRPC stream passes message by message, and so does a server stream', async (test) => {
  const bytes = (value: Buffer) => value;
  const method = (path: string, requestStream: boolean) => ({
    path,
    requestStream,
    responseStream: true,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  });
  const chat = method('/chat.Chat/Talk', true);
  const count = method('/chat.Chat/Count', false);
  const server = new grpc.Server();
  server.addService({ chat, count } as unknown as grpc.ServiceDefinition, {
    chat(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
      const metadata = new grpc.Metadata();
      metadata.set('x-head', 'kept');
      call.sendMetadata(metadata);
      call.on('data', (message: Buffer) => call.write(Buffer.concat([Buffer.from('re: '), message])));
      call.on('end', () => call.end());
    },
    count(call: grpc.ServerWritableStream<Buffer, Buffer>) {
      for (let i = 0; i < 1000; i++) call.write(Buffer.from(String(i)));
      call.end();
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  test.teardown(() => server.forceShutdown());
  const other = await ProxyProgram.start(test, { env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: `127.0.0.1:${port}` } });
  const client = new grpc.Client(other.address, grpc.credentials.createInsecure());
  test.teardown(() => client.close());

  const call = client.makeBidiStreamRequest(chat.path, bytes, bytes);
  const [metadata] = await once(call, 'metadata');
  test.same((metadata as grpc.Metadata).get('x-head'), ['kept'], 'the head comes before the first message');
  const status = once(call, 'status');
  for (let i = 0; i < 50; i++) {
    call.write(Buffer.from(`m${i}`));
    const [message] = await once(call, 'data');
    test.equal(String(message), `re: m${i}`);
  }
  call.end();
  test.match((await status)[0], { code: 0 });

  const counted = client.makeServerStreamRequest(count.path, bytes, bytes, Buffer.from('go'));
  const numbers: string[] = [];
  for await (const message of counted) numbers.push(String(message));
  test.same(
    numbers,
    Array.from({ length: 1000 }, (_, i) => String(i)),
  );
});

t.test('heads, statuses and trailers of other HTTP/2 traffic pass as they are', async (test) => {
  upstream.script = (call) => {
    call.stream.respond(
      {
        ':status': 404,
        'x-path': call.headers[':path'],
        'set-cookie': ['a=1', 'b=2'],
        'x-method': call.headers[':method'],
      },
      { endStream: true },
    );
  };
  const session = connectHttp2(`http://${proxy.address}`);
  test.teardown(() => session.destroy());
  const stream = session.request({ ':path': '/a/b?c=d%20e', ':method': 'PUT', cookie: 'k=v' });
  stream.end('body');
  const [headers] = await once(stream, 'response');
  test.match(headers, { ':status': 404, 'x-path': '/a/b?c=d%20e', 'x-method': 'PUT', 'set-cookie': ['a=1', 'b=2'] });
  for (const name of Object.keys(headers)) test.notMatch(name, /understudy/);
  const head = session.request({ ':path': '/', ':method': 'HEAD' });
  upstream.script = (call) => call.stream.respond({ ':status': 200, 'content-length': '1000' }, { endStream: true });
  head.end();
  test.match((await once(head, 'response'))[0], { ':status': 200, 'content-length': '1000' });
});

t.test("an upstream's resets pass as they are, before and within an answer", async (test) => {
  for (const code of [
    constants.NGHTTP2_ENHANCE_YOUR_CALM,
    constants.NGHTTP2_INTERNAL_ERROR,
    constants.NGHTTP2_CANCEL,
  ]) {
    upstream.script = (call) => call.reset(code);
    test.equal((await caller.call(framed(chunk.subarray(0, 10)), { ':path': '/o.S/C' })).resetCode, code);
  }
  upstream.script = (call) => {
    call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    call.stream.write('part');
    setTimeout(() => call.stream.destroy(new Error('in the middle')), 30);
  };
  const within = await caller.call(framed(chunk.subarray(0, 10)), { ':path': '/o.S/C' });
  test.equal(within.resetCode, constants.NGHTTP2_INTERNAL_ERROR);
  test.equal(String(within.body), 'part');
  test.equal(within.status, -1, 'nothing is added');
});

t.test('an upstream that dies is UNAVAILABLE to a gRPC caller, as it is without a proxy', async (test) => {
  upstream.script = (call) => void call.stream.session?.socket.destroy();
  const client = new grpc.Client(proxy.address, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': BIG,
  });
  test.teardown(() => client.close());
  const bytes = (value: Buffer) => value;
  const unary = () =>
    new Promise<grpc.ServiceError | null>((resolve) =>
      client.makeUnaryRequest('/o.S/C', bytes, bytes, Buffer.from('x'), (error) => resolve(error)),
    );
  test.match(await unary(), { code: grpc.status.UNAVAILABLE });
  upstream.script = (call) => void call.answerHalf();
  test.match(await unary(), { code: grpc.status.UNAVAILABLE });
});

async function listening(test: Test, take: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, take).listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

t.test('HTTP/1.1 is relayed opaque to the configured upstream', async (test) => {
  const server = createHttpServer((request, response) => {
    response.setHeader('X-Seen', `${request.method} ${request.url} ${request.headers['x-odd']}`);
    request.pipe(response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  for (const where of ['environment', 'document']) {
    const address = `127.0.0.1:${port}`;
    const other = await ProxyProgram.start(
      test,
      where === 'environment'
        ? { env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: address } }
        : { document: { passthrough: { address } } },
    );
    const [host, proxyPort] = other.address.split(':');
    const request = httpRequest({ host, port: proxyPort, path: '/p?q', method: 'POST', headers: { 'X-Odd': 'v' } });
    request.end('over HTTP/1.1');
    const [response] = await once(request, 'response');
    let body = '';
    for await (const piece of response) body += piece;
    test.equal(body, 'over HTTP/1.1', where);
    test.equal(response.headers['x-seen'], 'POST /p?q v');
    const { stdout } = await promisify(execFile)('curl', [
      '-s',
      '--http1.1',
      '-d',
      'by curl',
      `http://${other.address}/`,
    ]);
    test.equal(stdout, 'by curl');
  }
});

t.test('plain TCP is relayed with its half-closes, back-pressure and aborts', async (test) => {
  const sockets: Socket[] = [];
  const port = await listening(test, (socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  const other = await ProxyProgram.start(test, { env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: `127.0.0.1:${port}` } });
  const [host, proxyPort] = other.address.split(':');
  const dial = () => connect({ host: host!, port: Number(proxyPort), allowHalfOpen: true });

  const talk = dial();
  talk.write('PRI * HTTP/1.1 almost a preface');
  let text = '';
  talk.on('data', (piece) => {
    text += piece;
  });
  talk.end(' and the end');
  await once(talk, 'end');
  test.equal(text, 'PRI * HTTP/1.1 almost a preface and the end', 'the answer comes after our side is closed');

  const before = other.rssBytes();
  const heavy = dial();
  const sent = createHash('sha256');
  const got = createHash('sha256');
  let bytes = 0;
  heavy.write('x');
  sent.update('x');
  heavy.pause();
  const writing = (async () => {
    for (const piece of bulk(50 * MiB)) {
      sent.update(piece);
      if (!heavy.write(piece)) await once(heavy, 'drain');
    }
    heavy.end();
  })();
  await new Promise((resolve) => setTimeout(resolve, 300));
  test.ok(other.rssBytes() - before < 40 * MiB, 'a reader that stops holds the writer back');
  heavy.on('data', (piece: Buffer) => {
    bytes += piece.length;
    got.update(piece);
  });
  heavy.resume();
  await Promise.all([writing, once(heavy, 'end')]);
  test.equal(bytes, 50 * MiB + 1);
  test.equal(got.digest('hex'), sent.digest('hex'));

  const aborted = dial();
  aborted.on('error', () => {});
  aborted.write('hello');
  await once(aborted, 'data');
  const gone = new Promise((resolve) => sockets.at(-1)!.on('close', resolve));
  resetSocket(aborted);
  await gone;
  const metrics = await other.metricsOnce((reading) => reading.sum('understudy_opaque_open_connections') === 0);
  test.equal(metrics.sum('understudy_opaque_open_connections'), 0);
  test.equal(metrics.sum('understudy_downstream_open_connections'), 0);
});

t.test(
  'a caller that says nothing is relayed after the detection timeout, so that the server can speak first',
  async (test) => {
    const port = await listening(test, (socket) => socket.end('220 ready'));
    const other = await ProxyProgram.start(test, {
      env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: `127.0.0.1:${port}`, UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT: '100ms' },
    });
    const [host, proxyPort] = other.address.split(':');
    const socket = connect({ host: host!, port: Number(proxyPort) });
    test.equal(String((await once(socket, 'data'))[0]), '220 ready');
    socket.destroy();
  },
);

t.test('without an upstream other traffic is refused', async (test) => {
  const other = await ProxyProgram.start(test);
  const lonely = GrpcCaller.to(test, other.address);
  test.match(await lonely.predict('m', { ':path': '/o.S/C' }), { status: 5, served: { reason: 'route_not_found' } });
  test.match(await lonely.predict('m', { ':path': '/', 'content-type': 'text/plain' }), { head: { ':status': 404 } });
  const [host, proxyPort] = other.address.split(':');
  const socket = connect({ host: host!, port: Number(proxyPort) });
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'close');
  test.match(Buffer.concat(chunks).toString(), /^HTTP\/1\.1 404 /);
  const opaque = connect({ host: host!, port: Number(proxyPort) });
  opaque.on('error', () => {});
  opaque.resume();
  opaque.write('\x16\x03\x01 neither');
  await once(opaque, 'close');
});
