/** A pool gives up connections that do not come, and only those. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../../../base/clock.ts';
import type { Http2Connection } from '../../../../proto/http2/connection.ts';
import { HTTP2_COUNTER_SLOTS } from '../../../../proto/http2/counters.ts';
import { DEFAULT_HTTP2_LIMITS } from '../../../../proto/http2/limits.ts';
import { ConnectResult } from '../../../../proxy/stats/slots.ts';
import { Http2Pool } from '../../../../proxy/upstream/http2-pool.ts';
import { Waiter } from '../../../../proxy/upstream/wait-queue.ts';
import { holdUp } from '../../../support/busy.ts';
import { until } from '../../../support/patience.ts';

const CONNECT_TIMEOUT_MS = 40;

class Wanted extends Waiter {
  override onConnection(): void {}
  override onUnavailable(): void {}
}

/** Never hears that its connections stand, as if nobody answered a SYN. */
class SilentPool extends Http2Pool {
  protected override open(): Http2Connection {
    return super.open(() => {});
  }
}

/** A pool, and what became of its connections, in order: `ConnectResult`s, -1 for one that was closed. */
function pool(test: Test, port: number, Kind = Http2Pool): { pool: Http2Pool; results: number[] } {
  const results: number[] = [];
  const made = new Kind(
    {
      address: { kind: 'tcp', host: '127.0.0.1', port },
      tls: null,
      clock: systemClock,
      maxConnections: 1,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      counters: new Float64Array(HTTP2_COUNTER_SLOTS),
      onConnect: (result) => results.push(result),
    },
    DEFAULT_HTTP2_LIMITS,
  );
  test.teardown(() => made.destroy());
  return { pool: made, results };
}

async function listening(test: Test): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  test.teardown(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/*
 * Scenario: a request of 100 MB is complete, goes to a new connection, and copying it takes longer than connecting may.
 * Mechanism: the connect timer runs before the event loop reads that the connection stands.
 * Consequence: the endpoint was given up, then the fallback's in the same way, and the call failed as if nobody listened.
 */
t.test('a connection that stands is kept, however long the thread was held up', async (test) => {
  const { pool: tested, results } = pool(test, await listening(test));
  tested.request(new Wanted());
  holdUp(3 * CONNECT_TIMEOUT_MS);
  await until(() => results.length > 0, 'it is decided');
  test.same(results, [ConnectResult.OK]);
  test.equal(tested.standing, 1);
});

t.test('one that does not come is given up, held up or not', async (test) => {
  for (const heldUpMs of [0, 3 * CONNECT_TIMEOUT_MS]) {
    const { pool: tested, results } = pool(test, await listening(test), SilentPool);
    tested.request(new Wanted());
    holdUp(heldUpMs);
    await until(() => results.length > 0, 'it is decided');
    test.equal(results[0], ConnectResult.TIMED_OUT, `held up for ${heldUpMs} ms`);
    test.equal(tested.standing, 0);
  }
});
