/** Addresses as settings write them: `127.0.0.1:8500`, `[::1]:8500`, `models.example:8500`, `unix:/run/worker.sock`. */

import { isIP, isIPv6 } from 'node:net';
import { UnitError } from '../../base/units.ts';
import type { EndpointAddress } from './snapshot.ts';

/** Bytes a Unix socket path may have: Linux's `sun_path` holds 108 with its final zero. */
const MAX_UNIX_PATH_BYTES = 107;

export const ADDRESS_EXPECTATION =
  'an address without a scheme: HOST:PORT, [IPV6]:PORT or unix:/absolute/path (at most 107 bytes), such as 127.0.0.1:8500';
export const LISTEN_EXPECTATION =
  'IP addresses with a port (0 picks a free one) or unix:/absolute/path, separated by commas, at most 8, such as 127.0.0.1:15001,[::1]:15001; or off';

/** Most addresses one setting may listen on. */
const MAX_LISTEN_ADDRESSES = 8;

/** Where an endpoint is dialled. Hosts may be names; ports run from 1 to 65535. Throws `UnitError`. */
export function parseAddress(text: string): EndpointAddress {
  const address = parseOne(text.trim());
  if (address === null || (address.kind === 'tcp' && address.port === 0)) {
    throw new UnitError(text, ADDRESS_EXPECTATION);
  }
  return address;
}

/** Where to listen: IP literals only, since a name could resolve to several; `off` is the empty list. Throws `UnitError`. */
export function parseListenAddresses(text: string): readonly EndpointAddress[] {
  if (text.trim() === 'off') return [];
  const addresses = text.split(',').map((part) => parseOne(part.trim()));
  const seen = new Set<string>();
  for (const address of addresses) {
    if (address === null || (address.kind === 'tcp' && isIP(address.host) === 0)) {
      throw new UnitError(text, LISTEN_EXPECTATION);
    }
    const free = address.kind === 'tcp' && address.port === 0;
    if (!free && seen.has(formatAddress(address))) throw new UnitError(text, `${LISTEN_EXPECTATION}; each once`);
    seen.add(formatAddress(address));
  }
  if (addresses.length > MAX_LISTEN_ADDRESSES) throw new UnitError(text, LISTEN_EXPECTATION);
  return addresses as EndpointAddress[];
}

/** The text that parses to this address again. */
export function formatAddress(address: EndpointAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return isIPv6(address.host) ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

function parseOne(text: string): EndpointAddress | null {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    const valid = path.startsWith('/') && path.length > 1 && !path.includes('\0');
    return valid && Buffer.byteLength(path) <= MAX_UNIX_PATH_BYTES ? { kind: 'unix', path } : null;
  }
  const match = /^(?:\[([^\]]*)\]|([^[\]:]*)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) return null;
  const host = match[1] ?? match[2]!;
  const valid = match[1] === undefined ? isHost(host) : isIPv6(host);
  return valid ? { kind: 'tcp', host, port: Number(match[3]) } : null;
}

/** An IPv4 literal or a DNS name; a name whose last label is a number would be read as an IPv4 address by resolvers. */
function isHost(host: string): boolean {
  if (isIP(host) === 4) return true;
  if (host.length > 253 || !/^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.(?!$)|\.?$))+$/.test(host))
    return false;
  return !/(?:^|\.)\d+\.?$/.test(host);
}
