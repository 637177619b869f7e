/** What the two engines are good for only together: what a proxy owes a peer about the other one's rules. */
import http from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import t, { type Test } from 'tap';
import { data, END_STREAM, type Fields, FramePeer, FrameServer, headers } from '../support/frame-peer.ts';
import { predictRequest } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { framed, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { bytesField } from '../support/wire-fields.ts';

const upstream = await ScriptedUpstream.start(t, 'primary');
const MAX_HEADER_LIST_SIZE = 6;

function start(test: Test, address: string): Promise<ProxyProgram> {
  return ProxyProgram.start(test, {
    env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: address },
    document: {
      models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }], breaker: { enabled: false } }],
    },
    ready: false,
  });
}

const proxy = await start(t, upstream.address);
const address = (program: ProxyProgram) => {
  const [host = '', port = ''] = program.address.split(':');
  return { kind: 'tcp' as const, host, port: Number(port) };
};

const GRPC: Fields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/tensorflow.serving.PredictionService/Predict'],
  [':authority', 'model.test'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
];

function field(fields: Fields | null, name: string): string | undefined {
  return fields?.find(([key]) => key === name)?.[1];
}

t.test('a long message that its caller cuts after it was on its way is not passed off as complete', async (test) => {
  // After 64 KiB the spec decides and the message streams on. Its caller ends the stream in the middle of the message
  // its prefix announced: forwarded with END_STREAM, an upstream could take what came for all of it.
  const peer = await FramePeer.connect(address(proxy));
  const body = framed(Buffer.concat([predictRequest('m').subarray(5), bytesField(100, Buffer.alloc(200_000))]));
  const before = upstream.calls.length;
  peer.send(headers(1, GRPC));
  for (let at = 0; at < 112_000; at += 16_000) peer.send(data(1, body.subarray(at, at + 16_000)));
  await until(() => upstream.calls.length > before, 'the call is on its way', 10_000);
  const call = upstream.calls.at(-1)!;
  peer.send(data(1, body.subarray(112_000, 120_000), END_STREAM));
  test.equal(field(await peer.response(1), 'grpc-status'), '3');
  await call.body;
  test.equal(call.ended, false, 'the upstream did not see an end');
  test.equal(call.resetCode, http2.constants.NGHTTP2_CANCEL);
  peer.destroy();
});

t.test('an upstream that takes small header sections only is not sent a larger one', async (test) => {
  const server = await FrameServer.listen();
  test.teardown(() => server.close());
  const program = await start(test, `127.0.0.1:${(server.address as { port: number }).port}`);
  const caller = await FramePeer.connect(address(program));
  test.teardown(() => caller.destroy());
  const echo: Fields = GRPC.map(([name, value]) => [name, name === ':path' ? '/a.Echo/Say' : value]);
  caller.send(headers(1, echo));
  const peer = await server.greet([MAX_HEADER_LIST_SIZE, 500]);
  await peer.next(1);
  caller.send(headers(3, [...echo, ['x-large', 'a'.repeat(400)]]));
  const refused = await caller.response(3);
  test.equal(field(refused, 'grpc-status'), '8');
  test.equal(field(refused, 'x-understudy-reason'), 'head_too_large');
  caller.send(headers(5, echo));
  test.equal((await peer.next(1)).streamId, 5 - 2, 'the next goes on, and the large one took no identifier');
});

t.test(
  'a caller that takes small header sections only is told of a larger answer instead of being sent it',
  async (test) => {
    const server = await FrameServer.listen();
    test.teardown(() => server.close());
    const program = await start(test, `127.0.0.1:${(server.address as { port: number }).port}`);
    const caller = await FramePeer.connect(address(program), [MAX_HEADER_LIST_SIZE, 400]);
    test.teardown(() => caller.destroy());
    const echo: Fields = GRPC.map(([name, value]) => [name, name === ':path' ? '/a.Echo/Say' : value]);
    const large: Fields = [['x-large', 'a'.repeat(400)]];
    caller.send(headers(1, echo, 5), headers(3, echo, 5));
    const peer = await server.greet();
    peer.send(headers(1, [[':status', '200'], ...large], 5));
    const inHead = await caller.response(1);
    test.equal(field(inHead, 'x-understudy-reason'), 'answer_head_too_large');
    test.equal(field(inHead, 'grpc-status'), '13');
    peer.send(
      headers(3, [
        [':status', '200'],
        ['content-type', 'application/grpc'],
      ]),
      headers(3, large, 5),
    );
    test.equal(field(await caller.response(3), ':status'), '200');
    test.equal(field(await caller.response(3), 'grpc-status'), '13', 'trailers too');
  },
);

t.test('1xx heads of an upstream reach callers of both protocols; 100 is said once', async (test) => {
  const web = http.createServer((request, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
    request.on('data', () => {}).on('end', () => response.end('after the hints'));
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  test.teardown(() => web.close());
  const program = await start(test, `127.0.0.1:${(web.address() as net.AddressInfo).port}`);
  const [host, port] = program.address.split(':');
  const heads: number[] = [];
  const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const request = http.request({ host, port, method: 'POST', headers: { expect: '100-continue' } }, resolve);
    request.on('information', ({ statusCode }) => heads.push(statusCode));
    request.on('continue', () => request.end('body'));
    request.on('error', reject);
    request.flushHeaders();
  });
  test.equal(answer.statusCode, 200);
  test.same(heads, [100, 103]);
  answer.resume();
});

t.test('1xx heads pass in HTTP/2 too', async (test) => {
  const server = http2.createServer();
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.additionalHeaders({ ':status': 103, link: '</a>' });
    stream.respond({ ':status': 200 });
    stream.end('done');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.teardown(() => server.close());
  const program = await start(test, `127.0.0.1:${(server.address() as net.AddressInfo).port}`);
  const session = http2.connect(`http://${program.address}`);
  test.teardown(() => session.destroy());
  const stream = session.request({ ':path': '/page' });
  const seen: number[] = [];
  stream.on('headers', (fields) => seen.push(Number(fields[':status'])));
  stream.on('response', (fields) => seen.push(Number(fields[':status'])));
  stream.resume();
  await new Promise((resolve) => stream.on('close', resolve));
  test.same(seen, [103, 200]);
});
