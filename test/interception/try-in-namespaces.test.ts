/** The script by which anybody with root can watch interception happen says what it should, and leaves nothing behind. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { namespacesUnavailable } from '../support/netns.ts';

const SCRIPT = fileURLToPath(new URL('../../deploy/try-in-namespaces.ts', import.meta.url));
const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv');

t.test(
  'unmodified applications are served, and served again by their server, with no call lost',
  { skip },
  async (t) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT], { encoding: 'utf8', timeout: 60_000 });
    t.equal(status, 0, `${stdout}${stderr}`);
    t.match(stdout, /\d\d calls, 0 failed/);
    t.match(stdout, 'answered by worker');
  },
);
