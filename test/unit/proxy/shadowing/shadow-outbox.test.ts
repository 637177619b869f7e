/** Copies wait for company, not for ever, and are told when they leave. */
import t from 'tap';
import { defer, deferral, hasDeferred } from '../../../../proto/io/deferred-writes.ts';
import { ShadowOutbox } from '../../../../proxy/shadowing/shadow-outbox.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

function setUp() {
  const clock = new VirtualClock(1000);
  const outbox = new ShadowOutbox(clock);
  const left: number[] = [];
  let flushed = 0;
  const socket = { flush: () => flushed++ };
  /** Writes one copy, as a shadow call does. */
  const send = (): void => {
    outbox.open();
    if (!hasDeferred()) defer(socket);
    outbox.add({ onLeft: (nowMs) => left.push(nowMs) });
    outbox.close();
  };
  return { clock, send, left, flushes: () => flushed };
}

t.test('copies leave together after a moment, and each is told when', async (test) => {
  const { clock, send, left, flushes } = setUp();
  for (let i = 0; i < 5; i++) send();
  test.equal(deferral.active, false, 'others write as ever');
  test.equal(flushes(), 0);
  clock.advance(2);
  while (left.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  test.same(left, [1002, 1002, 1002, 1002, 1002]);
  test.equal(flushes(), 1, 'in one write');
  test.equal(hasDeferred(), false);
});

t.test('a hundred and more do not wait', async (test) => {
  const { send, left, flushes } = setUp();
  for (let i = 0; i < 127; i++) send();
  test.equal(left.length, 0);
  send();
  test.equal(left.length, 128);
  test.equal(flushes(), 1);
  send();
  test.equal(left.length, 128, 'the next ones wait again');
  while (left.length === 128) await new Promise((resolve) => setTimeout(resolve, 1));
  test.equal(left.length, 129);
});
