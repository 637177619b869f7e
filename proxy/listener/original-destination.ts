/**
 * Owns the question "where did this caller mean to go?" for a connection that an iptables REDIRECT brought here.
 *
 * The kernel keeps the answer with the connection's NAT entry and gives it out through `getsockopt`
 * (`SO_ORIGINAL_DST`), which Node does not offer; koffi calls it on the accepted socket's descriptor, about 9 us a
 * connection. A v4-mapped connection on a dual-stack listener has an IPv4 NAT entry, so it is asked through the IPv4
 * option. A destination equal to the socket's own local address was not redirected: somebody dialled the listener
 * itself, and going "on" to that address would loop back here until memory ends, so it has a verdict of its own.
 *
 * koffi is loaded on the first question. Where it is missing, or the system is not Linux, every answer is `unavailable`
 * and `originalDestinationSupport()` says why, so that the proxy can run in explicit-port mode without either.
 */
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { ipv4Text, ipv6Text, unmapped, withoutZone } from './ip-text.ts';

/** The address a redirected caller dialled. `host` is an IP literal, never v4-mapped. */
export interface OriginalDestination {
  readonly host: string;
  readonly port: number;
  readonly family: 4 | 6;
}

/**
 * What is known about an accepted connection:
 * - `redirected`: the caller dialled `destination`, and the kernel sent it here;
 * - `direct`: the caller dialled this listener; there is nowhere to go on to, and nothing may be guessed;
 * - `unavailable`: the kernel could not be asked (see `originalDestinationSupport`), or the socket is already closed.
 */
export type DestinationReading =
  | { readonly verdict: 'redirected'; readonly destination: OriginalDestination }
  | { readonly verdict: 'direct'; readonly destination: null }
  | { readonly verdict: 'unavailable'; readonly destination: null };

const DIRECT: DestinationReading = Object.freeze({ verdict: 'direct', destination: null });
const UNAVAILABLE: DestinationReading = Object.freeze({ verdict: 'unavailable', destination: null });

const LEVEL_IPV4 = 0;
const LEVEL_IPV6 = 41;
const SO_ORIGINAL_DST = 80;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
/** Neither is a fault: no NAT entry for this connection, or no connection tracking in this network namespace. */
const ENOENT = 2;
const ENOPROTOOPT = 92;

type GetSockOpt = (fd: number, level: number, option: number, value: Buffer, length: Uint32Array) => number;

interface Support {
  readonly getsockopt: GetSockOpt | null;
  readonly errno: () => number;
  readonly reason: string;
}

/** Filled by each call and read at once; one per thread is enough because the call is synchronous. */
const addressBytes = Buffer.alloc(SOCKADDR_IN6_BYTES);
const addressLength = new Uint32Array(1);
let support: Support | null = null;

/** Where the caller of this accepted socket meant to go, or null when it was not redirected or cannot be told. */
export function originalDestination(socket: Socket): OriginalDestination | null {
  return readDestination(socket).destination;
}

/** Like `originalDestination`, telling a direct hit on the listener apart from not knowing. Never throws. */
export function readDestination(socket: Socket): DestinationReading {
  support ??= loadSupport();
  const fd = descriptorOf(socket);
  const localAddress = socket.localAddress;
  if (support.getsockopt === null || fd < 0 || localAddress === undefined) return UNAVAILABLE;
  const local = unmapped(localAddress);
  const family = local.includes(':') ? 6 : 4;
  addressLength[0] = family === 4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES;
  const level = family === 4 ? LEVEL_IPV4 : LEVEL_IPV6;
  if (support.getsockopt(fd, level, SO_ORIGINAL_DST, addressBytes, addressLength) !== 0) {
    const errno = support.errno();
    return errno === ENOENT || errno === ENOPROTOOPT ? DIRECT : UNAVAILABLE;
  }
  const port = addressBytes.readUInt16BE(2);
  const host = family === 4 ? ipv4Text(addressBytes, 4) : ipv6Text(addressBytes, 8);
  if (port === socket.localPort && host === withoutZone(local)) return DIRECT;
  return { verdict: 'redirected', destination: { host: host + zoneOf(family, host), port, family } };
}

/** Whether original destinations can be read on this machine, and if not, why, in a sentence for the log. */
export function originalDestinationSupport(): { readonly available: boolean; readonly reason: string } {
  support ??= loadSupport();
  return { available: support.getsockopt !== null, reason: support.reason };
}

function descriptorOf(socket: Socket): number {
  const handle = (socket as unknown as { _handle: { fd?: number } | null })._handle;
  return handle?.fd ?? -1;
}

/** `%eth0` for a link-local destination, which cannot be dialled without it; nothing for every other address. */
function zoneOf(family: 4 | 6, host: string): string {
  if (family === 4 || !host.startsWith('fe80:')) return '';
  const scope = addressBytes.readUInt32LE(24);
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (addresses?.some((address) => address.family === 'IPv6' && address.scopeid === scope)) return `%${name}`;
  }
  return '';
}

/** Loads the C function once per thread. Exported with its inputs so that a test can take koffi or Linux away. */
export function loadSupport(
  platform: string = process.platform,
  load: (name: string) => unknown = createRequire(import.meta.url),
): Support {
  if (platform !== 'linux') {
    return unsupported(`original destinations exist on Linux only, and this is ${platform}: explicit-port mode`);
  }
  try {
    const koffi = load('koffi') as typeof import('koffi');
    const getsockopt = koffi.load(null).func('int getsockopt(int, int, int, _Out_ void *, _Inout_ uint32_t *)');
    return { getsockopt: getsockopt as unknown as GetSockOpt, errno: () => koffi.errno(), reason: '' };
  } catch (error) {
    const detail = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    return unsupported(`koffi, which reads original destinations, did not load (${detail}): explicit-port mode`);
  }
}

function unsupported(reason: string): Support {
  return { getsockopt: null, errno: () => 0, reason };
}
