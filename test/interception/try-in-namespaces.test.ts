/** The script by which anybody with root can watch interception happen says what it should, and leaves nothing behind. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { namespacesUnavailable } from '../support/netns.ts';

const SCRIPT = fileURLToPath(new URL('../../deploy/try-in-namespaces.ts', import.meta.url));
const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv');

t.test(
  'unmodified applications are served, and served again by their server, with no call lost',
  { skip },
  async (t) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT], { encoding: 'utf8', timeout: 110_000 });
    t.equal(status, 0, `${stdout}${stderr}`);
    t.match(stdout, /\d\d calls, 0 failed/);
    t.match(stdout, 'answered by worker');
  },
);

t.test('the script without an extension starts it from anywhere', { skip: process.platform === 'win32' }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-try-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const launcher = fileURLToPath(new URL('../../deploy/try-in-namespaces', import.meta.url));
  const command = fileURLToPath(new URL('../../understudy.mjs', import.meta.url));
  // Says what it was given instead of installing anything.
  writeFileSync(join(folder, 'node'), '#!/bin/sh\nrealpath "$1"; shift; echo "$@"\n');
  chmodSync(join(folder, 'node'), 0o755);
  symlinkSync(launcher, join(folder, 'try me'));
  const env = { ...process.env, PATH: `${folder}:${process.env['PATH']}` };
  const { status, stdout } = spawnSync(join(folder, 'try me'), ['--x'], { encoding: 'utf8', env, cwd: '/' });
  t.equal(status, 0);
  t.equal(stdout, `${command}\ntry --x\n`);
});
