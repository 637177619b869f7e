/** The proxies under test: how each is configured and started. Ours comes first and is held to the others. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../programs/free-port.ts';
import { findOrInstall } from '../programs/packages.ts';
import { isListening, PinnedProgram, type ProgramOptions } from '../programs/pinned-program.ts';
import { MODEL_NAME, MODEL_VERSION } from './payload.ts';

export const OURS = 'understudy';
export const REFERENCE = 'haproxy';
/** Name of the run without a proxy. */
export const DIRECT = 'direct';

export interface TestedProxy {
  readonly name: string;
  readonly program: PinnedProgram;
  readonly port: number;
}

export interface ProxyOptions {
  readonly core: number;
  readonly backendPort: number;
  /** For configuration files and what the proxies write. */
  readonly folder: string;
  /** Flags of Node for our own proxy, such as a profiler's. */
  readonly nodeFlags: readonly string[];
}

interface Peer {
  readonly packageName: string;
  readonly configuration: string;
  readonly args: (file: string, folder: string) => string[];
}

const PEERS: Readonly<Record<string, Peer>> = {
  haproxy: { packageName: 'haproxy', configuration: 'haproxy.cfg', args: (file) => ['-db', '-f', file] },
  nginx: {
    packageName: 'nginx',
    configuration: 'nginx.conf',
    args: (file, folder) => ['-e', 'stderr', '-p', folder, '-c', file],
  },
  nghttpx: { packageName: 'nghttp2-proxy', configuration: 'nghttpx.conf', args: (file) => [`--conf=${file}`] },
};

export const PROXY_NAMES: readonly string[] = [OURS, ...Object.keys(PEERS)];

const ROOT = join(import.meta.dirname, '../../..');

/** Starts proxy `name` and resolves when it listens; null if it is a program this machine does not have. */
export function startProxy(name: string, options: ProxyOptions): Promise<TestedProxy | null> {
  const peer = PEERS[name];
  return peer === undefined ? startOurs(options) : startPeer(name, peer, options);
}

async function startPeer(name: string, peer: Peer, options: ProxyOptions): Promise<TestedProxy | null> {
  const command = findOrInstall(name, peer.packageName);
  if (command === null) return null;
  const { core, backendPort, folder } = options;
  const port = await freePort();
  const template = readFileSync(join(import.meta.dirname, '../peers', peer.configuration), 'utf8');
  const file = join(folder, peer.configuration);
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    file,
    template
      .replaceAll('@LISTEN_PORT@', String(port))
      .replaceAll('@BACKEND_PORT@', String(backendPort))
      .replaceAll('@FOLDER@', folder),
  );
  const program = new PinnedProgram({ name, command, args: peer.args(file, folder), core });
  await program.ready(() => isListening(port));
  return { name, program, port };
}

/** Routing on the model spec, breaker, deadlines and metrics are on by themselves; only addresses and the model are set. */
async function startOurs(options: ProxyOptions): Promise<TestedProxy> {
  let port = 0;
  const program = new PinnedProgram({
    name: OURS,
    command: process.execPath,
    args: [...options.nodeFlags, join(ROOT, 'proxy/main.ts')],
    core: options.core,
    env: {
      ...withoutSettings(),
      UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:0',
      UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:0',
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: `127.0.0.1:${options.backendPort}`,
      [`UNDERSTUDY_MODEL_${MODEL_NAME.toUpperCase()}_PRIMARY`]: `${MODEL_NAME}@${MODEL_VERSION}`,
    },
    onLine: (line) => {
      port ||= announcedPort(line);
    },
  });
  await program.ready(() => port !== 0);
  return { name: OURS, program, port };
}

/** What an operator's shell sets for a real sidecar must not reach the one under test. */
function withoutSettings(): ProgramOptions['env'] {
  const names = Object.keys(process.env).filter((name) => name.startsWith('UNDERSTUDY_'));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

function announcedPort(line: string): number {
  if (!line.startsWith('{')) return 0;
  const event = JSON.parse(line) as { event?: string; role?: string; address?: string };
  if (event.event !== 'listening' || event.role !== 'outbound') return 0;
  return Number(event.address?.split(':').at(-1) ?? 0);
}
