/** Finds the programs the bench compares with, and installs missing ones where that is allowed: as root, with apt-get. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** Servers are often outside an ordinary user's PATH. */
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/sbin'];

/** Path of program `name`, installed from `packageName` if need be; null if it cannot be had. */
export function findOrInstall(name: string, packageName: string): string | null {
  const found = find(name);
  if (found !== null || process.getuid?.() !== 0 || find('apt-get') === null) return found;
  process.stderr.write(`installing ${packageName} for ${name}\n`);
  if (!install(packageName)) {
    aptGet('update');
    install(packageName);
  }
  return find(name);
}

function find(name: string): string | null {
  for (const folder of [...(process.env['PATH'] ?? '').split(':'), ...MORE_FOLDERS]) {
    const path = join(folder || '.', name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return null;
}

function install(packageName: string): boolean {
  return aptGet('install', '--yes', '--no-install-recommends', packageName);
}

function aptGet(...args: string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
}
