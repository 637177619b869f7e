/** Resetting a socket whose shutdown is under way: the system refuses, and the socket must close all the same. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import t from 'tap';
import { openSocket } from '../../../../proto/io/adopt.ts';

t.test('a socket that is reset in the turn it was ended says that it closed', async (test) => {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    const reader = { onBytes() {}, onEnd() {}, onDrained() {}, onClosed: () => resolve() };
    const socket = openSocket({ kind: 'tcp', host: '127.0.0.1', port }, reader, () => {
      socket.end();
      socket.flush();
      socket.reset();
    });
  });
  test.pass('closed');
});
