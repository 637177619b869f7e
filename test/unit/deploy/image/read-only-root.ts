/**
 * Runs a command the way a container runtime would, without one: a mount namespace whose root is a read-only file system
 * that holds an assembled tree, the system's libraries, and the mounts asked for; an unprivileged user, or root with a few
 * capabilities; no new privileges. Needs root.
 */
import { spawnSync } from 'node:child_process';

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

export interface ContainerRun {
  /** An empty folder to mount the root on, in the command's own mount namespace; many commands may share it. */
  readonly mountPoint: string;
  /** Goes to /understudy. */
  readonly tree: string;
  /** Folders of this machine that stand for the image's system packages. */
  readonly system: readonly string[];
  readonly mounts: readonly Mount[];
  readonly uid: number;
  readonly gid: number;
  /** Capabilities of a root container in setpriv's words, such as `+net_admin`; ignored for other users. */
  readonly capabilities: readonly string[];
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Libraries alone: no shell, no npm, no other Node. */
export const LIBRARIES: readonly string[] = ['/usr/lib', '/usr/lib64'];
/** All of the system, for the image that has iptables. */
export const SYSTEM: readonly string[] = ['/usr', '/etc'];

/** Why this cannot be done here, or false. */
export function readOnlyRootUnavailable(): string | false {
  if (process.platform !== 'linux') return 'mount namespaces exist on Linux only';
  if (process.getuid?.() !== 0) return 'needs root';
  for (const tool of ['unshare', 'setpriv', 'chroot']) {
    if (spawnSync(tool, ['--version']).error !== undefined) return `needs ${tool}`;
  }
  const probe = spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs tmpfs /mnt'], { encoding: 'utf8' });
  return probe.status === 0 ? false : `no mount namespace can be made here: ${probe.stderr.trim()}`;
}

/**
 * `$1` is an empty folder for the root, `$2` the user, `$3` the group, `$4` the capabilities, then system folders and
 * mounts as `source target mode` triples up to `--`, then the command with its environment.
 */
const SCRIPT = `unset NODE_OPTIONS # a test runner adds to it for every child, by paths that are not in the container
set -e
root=$1; uid=$2; gid=$3; caps=$4; shift 4
mount -t tmpfs -o size=1m,mode=755 tmpfs "$root"
mkdir "$root/proc" "$root/dev"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
for name in lib lib64 bin sbin; do ln -s "usr/$name" "$root/$name"; done
while [ "$1" != -- ]; do
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  mount -o "remount,bind,$3" "$root$2"
  shift 3
done
shift
mount -o remount,bind,ro "$root"
cd /
if [ "$uid" = 0 ]; then exec chroot "$root" /usr/bin/setpriv --bounding-set="$caps" --inh-caps=-all --no-new-privs "$@"; fi
exec setpriv --no-new-privs chroot --userspec="$uid:$gid" --groups="$gid" "$root" "$@"`;

/** The command line that runs it; `env` is not part of it and must be given to the process. */
export function containerCommand(run: ContainerRun): { command: string; args: string[]; env: NodeJS.ProcessEnv } {
  const mounts: Mount[] = [
    ...run.system.map((path) => ({ source: path, target: path, readOnly: true })),
    { source: run.tree, target: '/understudy', readOnly: true },
    ...run.mounts,
  ];
  const triples = mounts.flatMap(({ source, target, readOnly }) => [source, target, readOnly ? 'ro' : 'rw']);
  const caps = ['-all', ...run.capabilities].join(',');
  const place = [run.mountPoint, `${run.uid}`, `${run.gid}`, caps, ...triples, '--'];
  return {
    command: 'unshare',
    args: ['-m', '--propagation', 'private', 'sh', '-c', SCRIPT, 'container', ...place, ...run.command],
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...run.env },
  };
}
