/** The proxies under test: how each is configured and started. Ours comes first and is held to the others. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestAuthority } from '../../support/certificates.ts';
import { freePort } from '../programs/free-port.ts';
import { findOrInstall } from '../programs/packages.ts';
import { isListening, PinnedProgram, type ProgramOptions } from '../programs/pinned-program.ts';
import { MODEL_NAME, MODEL_VERSION } from './payload.ts';
import type { TrafficKind } from './traffic.ts';

export const OURS = 'understudy';
/** Ours without the mirror, to which the mirroring one is held. */
export const UNMIRRORED = 'unmirrored';
export const REFERENCE = 'haproxy';
/** Name of the run without a proxy. */
export const DIRECT = 'direct';

export interface TestedProxy {
  readonly name: string;
  readonly program: PinnedProgram;
  readonly port: number;
  /** Of our admin API; 0 for others. */
  readonly adminPort: number;
}

export interface ProxyOptions {
  readonly cores: readonly number[];
  /** Threads that carry traffic. */
  readonly threads: number;
  readonly traffic: TrafficKind;
  readonly backendPort: number;
  /** Where the shadow of the mirrored model is. */
  readonly shadowPort: number;
  /** For configuration files and what the proxies write. */
  readonly folder: string;
  /** Flags of Node for our own proxy, such as a profiler's. */
  readonly nodeFlags: readonly string[];
}

interface Peer {
  readonly packageName: string;
  /** Configuration file for each kind of traffic it is compared on. */
  readonly configurations: Readonly<Partial<Record<TrafficKind, string>>>;
  readonly args: (file: string, folder: string) => string[];
}

const PEERS: Readonly<Record<string, Peer>> = {
  haproxy: {
    packageName: 'haproxy',
    configurations: { grpc: 'haproxy.cfg', tls: 'haproxy-tls.cfg', http1: 'haproxy-http1.cfg', tcp: 'haproxy-tcp.cfg' },
    args: (file) => ['-db', '-f', file],
  },
  nginx: {
    packageName: 'nginx',
    configurations: { grpc: 'nginx.conf', http1: 'nginx-http1.conf' },
    args: (file, folder) => ['-e', 'stderr', '-p', folder, '-c', file],
  },
  nghttpx: {
    packageName: 'nghttp2-proxy',
    configurations: { grpc: 'nghttpx.conf' },
    args: (file) => [`--conf=${file}`],
  },
};

export const PROXY_NAMES: readonly string[] = [OURS, ...Object.keys(PEERS)];

const ROOT = join(import.meta.dirname, '../../..');

/** The proxies of `names` that carry this traffic, and for the mirror ours without it. */
export function proxiesFor(traffic: TrafficKind, names: readonly string[]): string[] {
  const able = names.filter((name) => name === OURS || PEERS[name]?.configurations[traffic] !== undefined);
  return traffic === 'mirror' && able.length > 0 ? [...able, UNMIRRORED] : able;
}

/** Starts proxy `name` and resolves when it listens; null if it is a program this machine does not have. */
export function startProxy(name: string, options: ProxyOptions): Promise<TestedProxy | null> {
  const peer = PEERS[name];
  return peer === undefined ? startOurs(name, options) : startPeer(name, peer, options);
}

async function startPeer(name: string, peer: Peer, options: ProxyOptions): Promise<TestedProxy | null> {
  const command = findOrInstall(name, peer.packageName);
  if (command === null) return null;
  const { cores, threads, traffic, backendPort, folder } = options;
  const configuration = peer.configurations[traffic];
  if (configuration === undefined) throw new Error(`${name} has no configuration for ${traffic}`);
  const port = await freePort();
  const template = readFileSync(join(import.meta.dirname, '../peers', configuration), 'utf8');
  const file = join(folder, configuration);
  mkdirSync(folder, { recursive: true });
  if (traffic === 'tls') writeCertificate(folder);
  writeFileSync(
    file,
    template
      .replaceAll('@LISTEN_PORT@', String(port))
      .replaceAll('@BACKEND_PORT@', String(backendPort))
      .replaceAll('@THREADS@', String(threads))
      .replaceAll('@FOLDER@', folder),
  );
  const program = new PinnedProgram({ name, command, args: peer.args(file, folder), core: cores });
  await program.ready(() => isListening(port));
  return { name, program, port, adminPort: 0 };
}

/** Routing on the model spec, breaker, deadlines and metrics are on by themselves; only addresses and the model are set. */
async function startOurs(name: string, options: ProxyOptions): Promise<TestedProxy> {
  let port = 0;
  let adminPort = 0;
  if (options.traffic === 'tls') writeCertificate(options.folder);
  const program = new PinnedProgram({
    name,
    command: process.execPath,
    args: [...options.nodeFlags, join(ROOT, 'proxy/main.ts')],
    core: options.cores,
    env: {
      ...withoutSettings(),
      // As understudy.mjs sets it: without it each start holds the type stripper, which no user's does.
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(ROOT, 'node_modules/.cache/understudy'),
      UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:0',
      UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:0',
      UNDERSTUDY_CONCURRENCY: String(options.threads),
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: `127.0.0.1:${options.backendPort}`,
      ...trafficSettings(name, options),
    },
    onLine: (line) => {
      port ||= announcedPort(line, 'outbound');
      adminPort ||= announcedPort(line, 'admin');
    },
  });
  await program.ready(() => port !== 0 && adminPort !== 0);
  return { name, program, port, adminPort };
}

/** A certificate and its key in one file, as haproxy wants it; others read the part they are told to. */
function writeCertificate(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const { cert, key } = new TestAuthority().issue({ names: ['127.0.0.1'] });
  writeFileSync(join(folder, 'server.pem'), cert + key);
}

function trafficSettings(
  name: string,
  { traffic, backendPort, shadowPort, folder }: ProxyOptions,
): Record<string, string> {
  if (traffic === 'tcp') return { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: `127.0.0.1:${backendPort}` };
  const prefix = `UNDERSTUDY_MODEL_${MODEL_NAME.toUpperCase()}`;
  const primary = { [`${prefix}_PRIMARY`]: `${MODEL_NAME}@${MODEL_VERSION}` };
  if (traffic === 'tls') {
    const file = join(folder, 'server.pem');
    return {
      ...primary,
      UNDERSTUDY_OUTBOUND_TLS: 'strict',
      UNDERSTUDY_TLS_CERT_FILE: file,
      UNDERSTUDY_TLS_KEY_FILE: file,
    };
  }
  if (traffic !== 'mirror' || name === UNMIRRORED) return primary;
  const shadow = `${MODEL_NAME}@${MODEL_VERSION + 1} 100% via 127.0.0.1:${shadowPort}`;
  return { ...primary, [`${prefix}_SHADOW`]: shadow };
}

/** What an operator's shell sets for a real sidecar must not reach the one under test. */
function withoutSettings(): ProgramOptions['env'] {
  const names = Object.keys(process.env).filter((name) => name.startsWith('UNDERSTUDY_'));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

function announcedPort(line: string, role: string): number {
  if (!line.startsWith('{')) return 0;
  const event = JSON.parse(line) as { event?: string; role?: string; address?: string };
  if (event.event !== 'listening' || event.role !== role) return 0;
  return Number(event.address?.split(':').at(-1) ?? 0);
}
