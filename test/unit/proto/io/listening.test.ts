// Where a server listens, and when it counts as empty.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createListener, listenAt, untilEmpty } from '../../../../proto/io/listening.ts';

const anywhere = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

function listener(test: Test) {
  const server = createListener();
  test.teardown(() => server.close());
  return server;
}

t.test('port 0 is replaced by the one chosen, and an address in use is refused', async (t) => {
  const bound = await listenAt(listener(t), anywhere);
  if (bound.kind !== 'tcp') throw new Error('not TCP');
  t.ok(bound.port > 0);
  t.equal(bound.host, '127.0.0.1');
  await t.rejects(listenAt(listener(t), bound), { code: 'EADDRINUSE' });
});

t.test('threads that share a port listen there side by side', async (t) => {
  const bound = await listenAt(listener(t), anywhere, 16, true);
  t.same(await listenAt(listener(t), bound, 16, true), bound);
});

t.test('a Unix socket takes connections, paused until somebody reads them', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-listening-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const address = { kind: 'unix', path: join(folder, 'socket') } as const;
  const server = listener(t);
  t.equal(await listenAt(server, address), address);
  const accepted = new Promise<boolean>((resolve) => {
    server.on('connection', (socket) => {
      resolve(socket.isPaused());
      socket.destroy();
    });
  });
  connect(address.path).on('error', () => {});
  t.equal(await accepted, true);
});

t.test('what empties is waited for, what does not is left at the deadline', async (t) => {
  const connections = new Set([1, 2]);
  let cleared = false;
  setTimeout(() => {
    connections.clear();
    cleared = true;
  }, 20);
  await untilEmpty(connections, Number.POSITIVE_INFINITY);
  t.ok(cleared);
  const stuck = new Set([1]);
  const beganMs = performance.now();
  await untilEmpty(stuck, 30);
  t.ok(performance.now() - beganMs >= 29);
  t.equal(stuck.size, 1);
});
