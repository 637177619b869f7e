import net from 'node:net';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { ipv6Text, unmapped, withoutZone } from '../../../../proxy/listener/ip-text.ts';
import {
  loadSupport,
  originalDestination,
  originalDestinationSupport,
  readDestination,
} from '../../../../proxy/listener/original-destination.ts';
import { runs } from '../../../support/fuzz-runs.ts';

const linux = process.platform === 'linux';

/** Accepts one connection on `host` and hands the accepted socket to `inspect`. */
async function withAccepted(host: string, dial: string, inspect: (socket: net.Socket) => void): Promise<void> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen({ host, port: 0 }, resolve));
  const client = net.connect({ host: dial, port: (server.address() as net.AddressInfo).port });
  client.on('error', () => {});
  const socket = await new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  try {
    inspect(socket);
  } finally {
    client.destroy();
    socket.destroy();
    server.close();
  }
}

t.test('a connection nobody redirected is a direct hit, not a destination', { skip: !linux }, async (t) => {
  for (const [host, dial] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['::', '127.0.0.1'],
  ] as const) {
    await withAccepted(host, dial, (socket) => {
      t.equal(readDestination(socket).verdict, 'direct', `${dial} on ${host}`);
      t.equal(originalDestination(socket), null);
    });
  }
});

t.test('a socket already closed is unavailable and does not throw', async (t) => {
  await withAccepted('127.0.0.1', '127.0.0.1', (socket) => {
    socket.destroy();
    t.equal(readDestination(socket).verdict, 'unavailable');
  });
  t.equal(readDestination(new net.Socket()).verdict, 'unavailable');
});

t.test('a machine that is not Linux gets a reason that names the explicit-port mode', (t) => {
  const support = loadSupport('darwin');
  t.equal(support.getsockopt, null);
  t.match(support.reason, /Linux only.*darwin.*explicit-port mode/);
  t.end();
});

t.test('a machine without koffi gets a reason of one line', (t) => {
  const support = loadSupport('linux', () => {
    throw new Error("Cannot find module 'koffi'\nRequire stack:\n- somewhere");
  });
  t.equal(support.getsockopt, null);
  t.match(support.reason, /koffi.*Cannot find module 'koffi'\): explicit-port mode$/);
  t.end();
});

t.test('support is available here, and in a worker thread too', { skip: !linux }, async (t) => {
  t.same(originalDestinationSupport(), { available: true, reason: '' });
  const module = new URL('../../../../proxy/listener/original-destination.ts', import.meta.url).href;
  const source = `import { parentPort } from 'node:worker_threads';
    const { originalDestinationSupport } = await import(${JSON.stringify(module)});
    parentPort.postMessage(originalDestinationSupport());`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  const answer = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  t.same(answer, { available: true, reason: '' });
  await worker.terminate();
});

t.test('address text equals the platform text for every address', (t) => {
  const sparseByte = fc.oneof(fc.constant(0), fc.constant(0), fc.constant(255), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      fc.array(sparseByte, { minLength: 16, maxLength: 16 }),
      (dense, sparse) => {
        for (const bytes of [dense, Uint8Array.from(sparse)]) {
          const groups: string[] = [];
          for (let i = 0; i < 16; i += 2) groups.push(((bytes[i]! << 8) | bytes[i + 1]!).toString(16));
          const expected = new net.SocketAddress({ family: 'ipv6', address: groups.join(':') }).address;
          if (ipv6Text(bytes, 0) !== expected) throw new Error(`${ipv6Text(bytes, 0)} is not ${expected}`);
        }
      },
    ),
    { numRuns: runs(500) },
  );
  t.equal(unmapped('::ffff:10.0.0.1'), '10.0.0.1');
  t.equal(unmapped('::ffff:1'), '::ffff:1');
  t.equal(withoutZone('fe80::1%eth0'), 'fe80::1');
  t.end();
});
