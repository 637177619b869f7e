/** Leaving HTTP through the proxy: upgrades and CONNECT where a route allows them, and nowhere else. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import t, { type Test } from 'tap';
import { ProxyProgram } from '../support/proxy-program.ts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Heads of the requests the upstream was asked to upgrade or connect. */
const asked: { method: string; headers: http.IncomingHttpHeaders }[] = [];
const plain: http.IncomingHttpHeaders[] = [];
const upstream = http.createServer((request, response) => {
  plain.push(request.headers);
  request.resume().on('end', () => response.end('plain'));
});
upstream.on('upgrade', (request, socket: net.Socket, head) => {
  asked.push({ method: 'upgrade', headers: request.headers });
  const key = request.headers['sec-websocket-key'];
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64');
  const protocol = request.headers.upgrade;
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${protocol}\r\nConnection: Upgrade\r\n` +
      `${key === undefined ? '' : `Sec-WebSocket-Accept: ${accept}\r\n`}\r\n`,
  );
  if (key === undefined) echo(socket, head);
  else echoFrames(socket, head);
});
upstream.on('connect', (request, socket: net.Socket, head) => {
  asked.push({ method: `connect ${request.url}`, headers: request.headers });
  socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
  echo(socket, head);
});
upstream.listen(0, '127.0.0.1');
await once(upstream, 'listening');
t.teardown(() => upstream.close());
t.teardown(() => upstream.closeAllConnections());
const endpoint = `127.0.0.1:${(upstream.address() as net.AddressInfo).port}`;

function echo(socket: net.Socket, head: Buffer): void {
  socket.on('error', () => {});
  socket.write(head);
  socket.pipe(socket);
}

/** A WebSocket server of one's own: takes the mask off each frame and sends it back. Frames come whole here. */
function echoFrames(socket: net.Socket, head: Buffer): void {
  let bytes: Buffer = head;
  const take = (): void => {
    while (bytes.length >= 6) {
      const short = bytes[1]! & 0x7f;
      const at = short === 126 ? 4 : 2;
      const length = short === 126 ? bytes.readUInt16BE(2) : short;
      if (bytes.length < at + 4 + length) return;
      const mask = bytes.subarray(at, at + 4);
      const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length)).map((byte, i) => byte ^ mask[i % 4]!);
      const start = Buffer.from(bytes.subarray(0, at));
      start[1] = short;
      socket.write(Buffer.concat([start, payload]));
      if ((bytes[0]! & 0x0f) === 8) socket.end();
      bytes = bytes.subarray(at + 4 + length);
    }
  };
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    take();
  });
  take();
}

const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: endpoint, UNDERSTUDY_ACCESS_LOG: 'off' },
  document: {
    clusters: [{ name: 'web', endpoints: [endpoint] }],
    routes: [
      { name: 'none', pathPrefix: '/none', cluster: 'web', upgrade: 'none' },
      { name: 'any', pathPrefix: '/any', cluster: 'web', upgrade: 'any' },
      { name: 'tunnel', authorities: ['allowed.test'], cluster: 'web', connect: true },
    ],
  },
  ready: false,
});
const [host = '', port = ''] = proxy.address.split(':');

/** Sends `text` and returns what has come back when `enough` of it is there, or the other side ended. */
async function talk(test: Test, text: string, enough: (answer: string) => boolean): Promise<[net.Socket, string]> {
  const socket = net.connect(Number(port), host);
  test.teardown(() => socket.destroy());
  socket.on('error', () => {});
  socket.write(text);
  let answer = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    answer += (chunk as Buffer).toString('latin1');
    if (enough(answer)) break;
  }
  return [socket, answer];
}

const upgradeRequest = (path: string, protocol: string, more = '') =>
  `GET ${path} HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocol}\r\nHTTP2-Settings: AAMAAABk\r\n${more}\r\n`;

t.test('a WebSocket works through the proxy, without a route and with one', async (test) => {
  for (const path of ['/chat', '/any/chat']) {
    const socket = new WebSocket(`ws://${proxy.address}${path}`);
    socket.binaryType = 'arraybuffer';
    await once(socket, 'open');
    for (const length of [5, 60_000]) {
      const sent = Buffer.alloc(length, 'w');
      socket.send(sent);
      const [event] = (await once(socket, 'message')) as [{ data: ArrayBuffer }];
      test.ok(Buffer.from(event.data).equals(sent), `${length} bytes come back`);
    }
    test.equal((await proxy.metrics()).sum('understudy_opaque_open_connections'), 1);
    socket.close();
    await once(socket, 'close');
  }
  const idle = await proxy.metricsOnce((metrics) => metrics.sum('understudy_opaque_open_connections') === 0);
  test.equal(idle.sum('understudy_opaque_open_connections'), 0);
  test.equal(idle.sum('understudy_downstream_requests_total', { outcome: 'answered' }), 2);
  test.equal(idle.sum('understudy_cluster_in_flight_requests'), 0);
});

t.test(
  'h2c is never asked of an upstream, whatever the route allows; other fields of the upgrade go with it',
  async (test) => {
    for (const path of ['/chat', '/any', '/none']) {
      const [, answer] = await talk(test, upgradeRequest(path, 'h2c'), (text) => text.endsWith('plain'));
      test.match(answer, /^HTTP\/1.1 200 /);
      const headers = plain.at(-1)!;
      test.equal(headers.upgrade, undefined);
      test.equal(headers['http2-settings'], undefined);
    }
    await talk(test, upgradeRequest('/any', 'h2c, shout/2'), (text) => text.includes('\r\n\r\n'));
    test.equal(asked.at(-1)!.headers.upgrade, 'shout/2', 'the rest of the list may go on');
  },
);

t.test('protocols a route does not allow are left out, and the request is answered as HTTP', async (test) => {
  for (const [path, protocol] of [
    ['/chat', 'shout'],
    ['/none', 'websocket'],
  ] as const) {
    const [, answer] = await talk(test, upgradeRequest(path, protocol), (text) => text.endsWith('plain'));
    test.match(answer, /^HTTP\/1.1 200 /, `${protocol} on ${path}`);
  }
});

t.test('an upgraded connection is opaque both ways: early bytes, half-close, and the end', async (test) => {
  const request = `${upgradeRequest('/any', 'shout')}GET / is no request any more`;
  const [socket, answer] = await talk(test, request, (text) => text.endsWith('any more'));
  test.match(answer, /^HTTP\/1.1 101 /);
  test.match(answer, /upgrade: shout/i);
  socket.end('last words');
  let rest = '';
  for await (const chunk of socket) rest += (chunk as Buffer).toString('latin1');
  test.equal(rest, 'last words', 'what was under way comes back after our end');
});

t.test('CONNECT is 405, except where the route allows it; then it is a tunnel', async (test) => {
  const connect = (name: string) => `CONNECT ${name}:443 HTTP/1.1\r\nHost: ${name}:443\r\n\r\n`;
  const [, refused] = await talk(test, connect('refused.test'), (text) => text.includes('\r\n\r\n'));
  test.match(refused, /^HTTP\/1.1 405 /);
  const [socket, opened] = await talk(test, `${connect('allowed.test')}early`, (text) => text.endsWith('early'));
  test.match(opened, /^HTTP\/1.1 200 /);
  test.equal(asked.at(-1)!.method, 'connect allowed.test:443');
  socket.end();
  await once(socket.resume(), 'close');
});

t.test('a tunnel counts as open while the proxy drains, and is cut at the deadline', async (test) => {
  const program = await ProxyProgram.start(test, {
    env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: endpoint, UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '700ms' },
    ready: false,
  });
  const socket = new WebSocket(`ws://${program.address}/chat`);
  await once(socket, 'open');
  const ended = program.stop();
  socket.send('still here');
  const [event] = (await once(socket, 'message')) as [{ data: string }];
  test.equal(event.data, 'still here');
  const closed = once(socket, 'close');
  test.equal(await ended, 0);
  await closed;
});
