import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import t, { type Test } from 'tap';
import { readDeviceMemory, usedFraction } from '../../../../proxy/control/device-memory.ts';

const METRICS = `# TYPE understudy_device_memory_total_bytes gauge
understudy_device_memory_total_bytes{device="0",name="T4 {a}"} 16000
understudy_device_memory_total_bytes{device="1",name="T4"} 16000
understudy_device_memory_used_bytes{device="0",name="T4 {a}"} 4000
understudy_device_memory_used_bytes{device="1",name="T4"} 12000
`;

async function listening(test: Test, server: Server) {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.teardown(() => server.close());
  return { kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port } as const;
}

t.test('the fullest device counts, and a worker without devices has none', async (t) => {
  t.equal(usedFraction(METRICS), 0.75);
  t.equal(usedFraction('understudy_worker_up 1\n'), null);
});

t.test('a worker is asked on the port of its model calls', async (t) => {
  const address = await listening(
    t,
    createServer((_, response) => response.end(METRICS)),
  );
  t.equal(await readDeviceMemory(address), 0.75);
});

t.test('a server that is no worker of ours has no devices; one that cannot be reached is not known', async (t) => {
  const other = await listening(
    t,
    createServer((_, response) => response.writeHead(404).end()),
  );
  t.equal(await readDeviceMemory(other), null);
  const notHttp = await listening(
    t,
    createTcpServer((socket) => socket.destroy()),
  );
  t.equal(await readDeviceMemory(notHttp), null);
  t.same(await readDeviceMemory({ kind: 'unix', path: '/nowhere/worker.sock' }), Number.NaN);
});
