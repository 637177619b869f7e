/**
 * The image's entry: `proxy | worker | injector | config ... | intercept ...`. It becomes the program (`execve`), so a
 * container holds one process of Node that gets the signals itself.
 *
 * `&&` between two commands runs one after the other, as a shell would, because the image has none:
 * `intercept install && intercept verify`.
 */
import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/** Same programs and first arguments as `understudy.mjs` has; the proxy and the worker set their own flags. */
export const PROGRAMS = {
  proxy: { file: 'proxy/main.ts' },
  worker: { file: 'inference-worker/main.ts' },
  injector: { file: 'deploy/injector/main.ts', flags: ['--max-semi-space-size=2'] },
  config: { file: 'proxy/cli/main.ts', first: 'config' },
  intercept: { file: 'proxy/cli/main.ts', first: 'intercept' },
};

/** The command line of one command, or null when there is no such program. */
export function commandLine([name, ...rest]) {
  if (name === undefined || !Object.hasOwn(PROGRAMS, name)) return null;
  const { file, flags = [], first } = PROGRAMS[name];
  return [...flags, join(root, file), ...(first === undefined ? [] : [first]), ...rest];
}

function run(argv) {
  const end = argv.indexOf('&&');
  const args = commandLine(end < 0 ? argv : argv.slice(0, end));
  if (args === null) {
    process.stderr.write(`usage: ${Object.keys(PROGRAMS).join('|')} [ARGUMENTS] [&& ...]\n`);
    process.exit(2);
  }
  if (end < 0) process.execve(process.execPath, [process.execPath, ...args], process.env);
  const { status, signal } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 128 + constants.signals[signal]);
  run(argv.slice(end + 1));
}

if (import.meta.main) run(process.argv.slice(2));
