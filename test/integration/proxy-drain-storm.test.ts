/** Connections that come all through a SIGTERM: within the delay every one is served, and only its end turns them away. */
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import t, { type Test } from 'tap';
import { ProxyProgram } from '../support/proxy-program.ts';

const CONNECTIONS = 5000;
const AT_ONCE = 32;
const REQUEST = 'GET / HTTP/1.1\r\nHost: drain.test\r\nConnection: close\r\n\r\n';

const web = http.createServer((_request, response) => response.end('served'));
web.listen(0, '127.0.0.1');
await once(web, 'listening');
t.teardown(() => web.close());
t.teardown(() => web.closeAllConnections());

function start(test: Test, shutdownDelay: string): Promise<ProxyProgram> {
  return ProxyProgram.start(test, {
    env: {
      UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: `127.0.0.1:${(web.address() as net.AddressInfo).port}`,
      UNDERSTUDY_SHUTDOWN_DELAY: shutdownDelay,
      UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '120s',
    },
  });
}

/** One connection, one request; '' when it was served, else what went wrong. */
function visit(proxy: ProxyProgram): Promise<string> {
  const [host, port] = proxy.address.split(':') as [string, string];
  return new Promise((resolve) => {
    let answer = '';
    const socket = net.connect({ host, port: Number(port) }, () => socket.write(REQUEST));
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on('close', () => resolve(answer.endsWith('served') ? '' : `ended after ${answer.length} bytes`));
  });
}

/** Visits without a pause, many at a time, while `more` says so; `visited` hears how each went. */
async function storm(proxy: ProxyProgram, more: () => boolean, visited: (fault: string) => void): Promise<void> {
  const one = async () => {
    while (more()) visited(await visit(proxy));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

t.test(`${CONNECTIONS} connections opened all through the SIGTERM are all served within its delay`, async (test) => {
  const proxy = await start(test, '100s');
  const faults: string[] = [];
  let begun = 0;
  let served = 0;
  await storm(
    proxy,
    () => begun++ < CONNECTIONS,
    (fault) => {
      if (fault === '') served++;
      else faults.push(fault);
      if (served === CONNECTIONS / 5) proxy.child.kill('SIGTERM');
    },
  );
  test.same(faults.slice(0, 5), []);
  test.equal(served, CONNECTIONS);
  test.equal(proxy.logged('draining').length, 1, 'the signal was heard');
  test.equal(proxy.child.exitCode, null, 'the delay has not ended');
});

t.test('the first connection is turned away when the delay ends, not before, and the exit is 0', async (test) => {
  const proxy = await start(test, '1s');
  let firstFaultMs = 0;
  let served = 0;
  proxy.child.kill('SIGTERM');
  await proxy.until(() => proxy.logged('draining').length === 1, 'the signal to be heard');
  const heardMs = performance.now();
  await storm(
    proxy,
    () => firstFaultMs === 0,
    (fault) => {
      if (fault === '') served++;
      else if (firstFaultMs === 0) firstFaultMs = performance.now();
    },
  );
  // The line was logged before we read it: allow for the way it came.
  test.ok(firstFaultMs - heardMs > 700, `${Math.round(firstFaultMs - heardMs)} ms after the signal`);
  test.ok(served > 0);
  test.equal(await proxy.exit, 0);
});
