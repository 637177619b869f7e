/**
 * Fields that mean something to one connection only (RFC 9110, section 7.6.1): removed before a message goes on, those
 * named in `connection` included. The result is remembered per list, so identical messages share it.
 */
import { HeaderList } from '../http2/header-list.ts';

const SLOTS = 256;
const sources = new Array<HeaderList | null>(SLOTS).fill(null);
const results = new Array<HeaderList | null>(SLOTS).fill(null);

/**
 * The list without connection-specific fields: itself when it has none. `te: trailers` stays, because every engine here
 * takes trailers and gRPC asks for it; a field that framing or routing needs cannot be removed by naming it.
 */
export function withoutHopByHop(list: HeaderList): HeaderList {
  const slot = list.serial & (SLOTS - 1);
  if (sources[slot] === list) return results[slot]!;
  const result = strip(list);
  sources[slot] = list;
  results[slot] = result;
  return result;
}

function strip(list: HeaderList): HeaderList {
  const named = namedOptions(list);
  let names: string[] | null = null;
  let values: string[] = [];
  for (let i = 0; i < list.length; i++) {
    const name = list.names[i]!;
    const value = list.values[i]!;
    const removed = staysHere(name, value, named);
    const changed = name === 'te' && value !== 'trailers';
    if (names === null && (removed || changed)) {
      names = list.names.slice(0, i);
      values = list.values.slice(0, i);
    }
    if (names !== null && !removed) {
      names.push(name);
      values.push(changed ? 'trailers' : value);
    }
  }
  return names === null ? list : new HeaderList(names, values);
}

function namedOptions(list: HeaderList): readonly string[] {
  const named: string[] = [];
  for (let i = 0; i < list.length; i++) {
    if (list.names[i] !== 'connection') continue;
    for (const option of list.values[i]!.toLowerCase().split(',')) named.push(option.trim());
  }
  return named;
}

function staysHere(name: string, value: string, named: readonly string[]): boolean {
  switch (name) {
    case 'connection':
    case 'keep-alive':
    case 'proxy-connection':
    case 'transfer-encoding':
    case 'upgrade':
      return true;
    case 'te':
      return !acceptsTrailers(value);
    case 'content-length':
    case 'host':
      return false;
    default:
      return name.charCodeAt(0) !== 0x3a && named.includes(name);
  }
}

function acceptsTrailers(te: string): boolean {
  if (te === 'trailers') return true;
  for (const coding of te.toLowerCase().split(',')) if (coding.trim() === 'trailers') return true;
  return false;
}
