/**
 * The CUDA libraries are not fetched unless asked for, and the documented command asks for them. Nothing is downloaded:
 * the install script is sent through a proxy of the test's own, which notes where it wants to go and refuses.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';

const ROOT = join(import.meta.dirname, '../..');

/** An HTTPS proxy that connects nobody. */
async function refusingProxy(): Promise<{ server: Server; port: number; wanted: string[] }> {
  const wanted: string[] = [];
  const server = createServer();
  server.on('connect', (request, socket) => {
    wanted.push(request.url ?? '');
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port, wanted };
}

async function rebuild(proxyPort: number, environment: Record<string, string>): Promise<string> {
  const env = {
    ...process.env,
    ...environment,
    GLOBAL_AGENT_HTTPS_PROXY: `http://127.0.0.1:${proxyPort}`,
    GLOBAL_AGENT_HTTP_PROXY: `http://127.0.0.1:${proxyPort}`,
  };
  const child = spawn('npm', ['rebuild', 'onnxruntime-node', '--foreground-scripts'], { cwd: ROOT, env });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close');
  return output;
}

const supported = process.platform === 'linux' && process.arch === 'x64';
const options = supported ? {} : { skip: 'CUDA libraries exist for linux-x64 only' };

t.test('installing fetches no CUDA libraries by default', options, async (t) => {
  const proxy = await refusingProxy();
  t.teardown(() => proxy.server.close());
  const output = await rebuild(proxy.port, {});
  t.same(proxy.wanted, [], output);
});

t.test('ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node begins to fetch them', options, async (t) => {
  const proxy = await refusingProxy();
  t.teardown(() => proxy.server.close());
  const output = await rebuild(proxy.port, { ONNXRUNTIME_NODE_INSTALL: 'cuda12' });
  t.ok(proxy.wanted.length > 0, output);
  t.ok(
    proxy.wanted.every((host) => /nuget\.org:443$/.test(host)),
    proxy.wanted.join(' '),
  );
});
