/** The probe program as the kubelet runs it: by its exit code. Peers are node:http and grpc-js. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import t from 'tap';
import { PROTO_DIR, ProtoFile } from '../../../../proto/files.ts';

const PROBE = join(import.meta.dirname, '../../../../deploy/image/probe.mjs');

async function exitOf(...targets: string[]): Promise<{ code: number | null; errors: string }> {
  const child = spawn(process.execPath, [PROBE, ...targets], { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += String(chunk);
  });
  const [code] = await once(child, 'close');
  return { code, errors };
}

t.test('an HTTP target is well when its status is 2xx', async (t) => {
  const server = createServer((request, response) =>
    response.writeHead(request.url === '/readyz' ? 503 : 200).end('x'),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  t.match(await exitOf(`${origin}/livez`), { code: 0, errors: '' });
  t.match(await exitOf(`${origin}/livez`, `${origin}/readyz`), { code: 1, errors: /readyz: 503/ });
});

t.test('a gRPC target is well when its health service says SERVING', async (t) => {
  const loaded = loadSync(ProtoFile.health, { includeDirs: [PROTO_DIR] });
  const server = new grpc.Server();
  let status = 'SERVING';
  server.addService(loaded['grpc.health.v1.Health'] as grpc.ServiceDefinition, {
    Check: (_call: unknown, respond: grpc.sendUnaryData<object>) => respond(null, { status }),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  t.teardown(() => server.forceShutdown());
  t.match(await exitOf(`grpc:127.0.0.1:${port}`), { code: 0 });
  status = 'NOT_SERVING';
  t.match(await exitOf(`grpc:127.0.0.1:${port}`), { code: 1, errors: /not serving/ });
});

t.test('what does not answer, or is no target, is told apart', async (t) => {
  const silent = createTcpServer((socket) => socket.on('error', () => {}));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const results = await Promise.all([
    exitOf('grpc:unix:/nowhere/worker.sock'),
    exitOf(`http://127.0.0.1:${port}/livez`),
    exitOf(`grpc:127.0.0.1:${port}`),
    exitOf('ftp://127.0.0.1'),
    exitOf(),
  ]);
  t.same(
    results.map(({ code }) => code),
    [1, 1, 1, 2, 2],
  );
});
