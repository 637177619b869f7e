/** A peer is given its time, and what this thread was held up itself is not held against it. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { PeerTimeout } from '../../../base/peer-timeout.ts';
import { holdUp } from '../../support/busy.ts';
import { until } from '../../support/patience.ts';

t.test('a peer that is silent runs out of time, once and never early', async (test) => {
  const startedMs = performance.now();
  const fired: number[] = [];
  new PeerTimeout(() => fired.push(performance.now() - startedMs), 30);
  await until(() => fired.length > 0, 'it fires');
  await delay(60);
  test.equal(fired.length, 1);
  test.ok(fired[0]! >= 29, `after ${fired[0]} ms`);
});

t.test('one that is cleared says nothing, also while it waits again', async (test) => {
  let fired = 0;
  new PeerTimeout(() => fired++, 20).clear();
  const held = new PeerTimeout(() => fired++, 20);
  holdUp(60);
  setImmediate(() => held.clear());
  await delay(120);
  test.equal(fired, 0);
});

t.test('after a turn that took long it hears first what has come', async (test) => {
  const server = createServer((socket) => socket.end('there')).listen(0, '127.0.0.1');
  test.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const heard: string[] = [];
  const socket = connect(port, '127.0.0.1').resume();
  const timeout = new PeerTimeout(() => heard.push('timeout'), 20);
  socket.on('connect', () => {
    heard.push('connected');
    timeout.clear();
  });
  holdUp(80);
  await once(socket, 'close');
  test.same(heard, ['connected']);
});

t.test('a peer that is silent after such a turn runs out of time all the same', async (test) => {
  let firedMs = 0;
  const startedMs = performance.now();
  new PeerTimeout(() => (firedMs = performance.now() - startedMs), 40);
  holdUp(80);
  await until(() => firedMs > 0, 'it fires');
  test.ok(firedMs >= 119, `after ${firedMs} ms: 80 held up, and 40 more`);
});
