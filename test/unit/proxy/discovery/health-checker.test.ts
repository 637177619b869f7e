import { createServer as createHttp } from 'node:http';
import { createServer as createHttp2, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer } from 'node:net';
import t, { type Test } from 'tap';
import type { EndpointAddress, HealthCheckPolicy, MeshSnapshot } from '../../../../proxy/config/snapshot.ts';
import { HealthChecker } from '../../../../proxy/discovery/health-checker.ts';
import { probeHealth } from '../../../../proxy/discovery/health-probe.ts';
import { HealthCells } from '../../../../proxy/stats/health-cells.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const POLICY: HealthCheckPolicy = {
  kind: 'tcp',
  service: '',
  path: '/',
  intervalMs: 1000,
  timeoutMs: 300,
  unhealthyAfter: 3,
  healthyAfter: 2,
};

/** A mesh of one checked cluster; the checker reads no more of it. */
function meshOf(hosts: readonly string[], healthCheck: HealthCheckPolicy | null = POLICY): MeshSnapshot {
  const endpoints = hosts.map((host) => ({ kind: 'tcp', host, port: 1 }));
  return { clusters: [{ name: 'c', endpoints, endpointPlaces: hosts.map((_, i) => i), healthCheck }] } as never;
}

class World {
  readonly clock = new VirtualClock();
  readonly cells = new HealthCells(HealthCells.allocate(8));
  readonly sick = new Set<string>();
  readonly changes: string[] = [];
  probes = 0;
  readonly checker = new HealthChecker({
    clock: this.clock,
    cells: this.cells,
    probe: async (address) => {
      this.probes++;
      return this.sick.has((address as { host: string }).host) ? 'sick' : '';
    },
    random: () => 0.5,
    onChange: (_cluster, endpoint, healthy) => this.changes.push(`${endpoint} ${healthy}`),
  });

  async rounds(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.clock.advance(1000);
      this.checker.tick();
      await new Promise((done) => setImmediate(done));
    }
  }
}

t.test('an endpoint is taken out after so many failures in a row, and back after so many passes', async (test) => {
  const world = new World();
  world.checker.watch(meshOf(['a', 'b']));
  world.sick.add('a');
  await world.rounds(2);
  world.sick.delete('a');
  await world.rounds(1);
  world.sick.add('a');
  await world.rounds(2);
  test.ok(world.cells.isHealthy(0), 'never three in a row');
  await world.rounds(1);
  test.notOk(world.cells.isHealthy(0));
  test.ok(world.cells.isHealthy(1));
  world.sick.delete('a');
  await world.rounds(1);
  test.notOk(world.cells.isHealthy(0));
  await world.rounds(1);
  test.ok(world.cells.isHealthy(0));
  test.same(world.changes, ['a:1 false', 'a:1 true']);
  test.same(world.checker.counts.get('c'), { passed: 11, failed: 5 });
});

t.test('what is no longer checked is taken to be well', async (test) => {
  const world = new World();
  world.checker.watch(meshOf(['a']));
  world.sick.add('a');
  await world.rounds(3);
  test.notOk(world.cells.isHealthy(0));
  world.checker.watch(meshOf(['a']));
  test.notOk(world.cells.isHealthy(0), 'a reload forgets nothing');
  world.checker.watch(meshOf(['a'], null));
  test.ok(world.cells.isHealthy(0));
  const { probes } = world;
  await world.rounds(2);
  test.equal(world.probes, probes);
});

async function listening(test: Test, server: { listen: (port: number, host: string, done: () => void) => unknown }) {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  test.teardown(() => (server as unknown as { close: () => void }).close());
  const { port } = (server as unknown as { address: () => AddressInfo }).address();
  return { kind: 'tcp', host: '127.0.0.1', port } as EndpointAddress;
}

t.test('tcp: a connection is enough, a closed port is not', async (test) => {
  const address = await listening(
    test,
    createServer((socket) => socket.destroy()),
  );
  test.equal(await probeHealth(address, POLICY), '');
  test.match(await probeHealth({ kind: 'tcp', host: '127.0.0.1', port: 1 }, POLICY), 'ECONNREFUSED');
});

t.test('http: 2xx is well, other statuses and silence are not', async (test) => {
  const address = await listening(
    test,
    createHttp((request, response) => {
      if (request.url !== '/silent') response.writeHead(request.url === '/ok' ? 204 : 503).end();
    }),
  );
  const check = (path: string) => probeHealth(address, { ...POLICY, kind: 'http', path });
  test.equal(await check('/ok'), '');
  test.equal(await check('/down'), 'HTTP status 503');
  test.equal(await check('/silent'), 'no answer in time');
});

t.test('grpc: only SERVING is well, for the service asked about', async (test) => {
  const server = createHttp2();
  const sessions: { destroy: () => void }[] = [];
  server.on('session', (session) => sessions.push(session));
  test.teardown(() => {
    for (const session of sessions) session.destroy();
  });
  server.on('stream', (stream: ServerHttp2Stream) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const asked = Buffer.concat(chunks).subarray(7).toString();
      if (asked === 'unknown') {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true });
        return;
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.from([0, 0, 0, 0, 2, 8, asked === 'busy' ? 2 : 1]));
    });
  });
  const address = await listening(test, server);
  const check = (service: string) => probeHealth(address, { ...POLICY, kind: 'grpc', service });
  test.equal(await check(''), '');
  test.equal(await check('models'), '');
  test.equal(await check('busy'), 'not SERVING');
  test.equal(await check('unknown'), 'gRPC status 5');
});
