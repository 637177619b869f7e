import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { clearSocketPath, MAX_SOCKET_PATH_BYTES } from '../../../../proto/io/socket-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'understudy-socket-'));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

t.test('a stale socket file is removed', async (t) => {
  const path = join(directory, 'stale.sock');
  // A process that is killed while it listens leaves its file.
  const program = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  t.throws(() => execFileSync(process.execPath, ['-e', program], { stdio: 'ignore' }));
  t.ok(existsSync(path));
  await clearSocketPath(path);
  t.notOk(existsSync(path));
});

t.test('a path where somebody listens is left alone', async (t) => {
  const path = join(directory, 'live.sock');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => server.close());
  await t.rejects(clearSocketPath(path), { message: /another process listens/ });
  t.ok(existsSync(path));
});

t.test('a file that is no socket is left alone', async (t) => {
  const path = join(directory, 'file');
  writeFileSync(path, 'precious');
  await t.rejects(clearSocketPath(path), { message: /is not a socket/ });
  t.ok(existsSync(path));
});

t.test('a free path is fine and a path too long for a socket is named', async (t) => {
  await clearSocketPath(join(directory, 'free.sock'));
  await t.rejects(clearSocketPath(`/${'x'.repeat(MAX_SOCKET_PATH_BYTES)}`), { message: /longer than the 107 bytes/ });
});
