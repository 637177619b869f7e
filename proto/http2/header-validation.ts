/**
 * What makes a header section malformed (RFC 9113, section 8.2 and 8.3), decided once per decoded list: lists are
 * shared by identical blocks, so the verdict is remembered on the list.
 */
import type { HeaderList } from './header-list.ts';

/** Verdicts, kept in `HeaderList.validation`. UNCHECKED must be 0. */
export const Validity = { UNCHECKED: 0, REQUEST: 1, RESPONSE: 2, TRAILERS: 3, MALFORMED: 4 } as const;

/** RFC 9110 token characters, lower case only: HTTP/2 forbids upper case in names. */
const NAME_CHARACTER = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME_CHARACTER[c.charCodeAt(0)] = 1;

export function isRequest(list: HeaderList): boolean {
  return check(list, Validity.REQUEST);
}

export function isResponse(list: HeaderList): boolean {
  return check(list, Validity.RESPONSE);
}

export function isTrailers(list: HeaderList): boolean {
  return check(list, Validity.TRAILERS);
}

function check(list: HeaderList, wanted: number): boolean {
  if (list.validation === Validity.UNCHECKED) list.validation = judge(list, wanted);
  return list.validation === wanted;
}

function judge(list: HeaderList, wanted: number): number {
  let method = '';
  let pseudo = 0;
  let regularSeen = false;
  for (let i = 0; i < list.length; i++) {
    const name = list.names[i]!;
    const value = list.values[i]!;
    if (!validValue(value)) return Validity.MALFORMED;
    if (name.charCodeAt(0) === 0x3a) {
      const bit = pseudoBit(name);
      if (regularSeen || bit === 0 || (pseudo & bit) !== 0) return Validity.MALFORMED;
      pseudo |= bit;
      if (bit === PSEUDO_METHOD) method = value;
      if (bit === PSEUDO_PATH && value.length === 0) return Validity.MALFORMED;
      if (bit === PSEUDO_STATUS && !/^[1-9][0-9][0-9]$/.test(value)) return Validity.MALFORMED;
      continue;
    }
    regularSeen = true;
    if (!validName(name) || connectionSpecific(name, value)) return Validity.MALFORMED;
  }
  if (wanted === Validity.TRAILERS) return pseudo === 0 ? Validity.TRAILERS : Validity.MALFORMED;
  if (wanted === Validity.RESPONSE) return pseudo === PSEUDO_STATUS ? Validity.RESPONSE : Validity.MALFORMED;
  return requestPseudoComplete(method, pseudo) ? Validity.REQUEST : Validity.MALFORMED;
}

const PSEUDO_METHOD = 1;
const PSEUDO_SCHEME = 2;
const PSEUDO_PATH = 4;
const PSEUDO_AUTHORITY = 8;
const PSEUDO_STATUS = 16;
const PSEUDO_PROTOCOL = 32;

function pseudoBit(name: string): number {
  switch (name) {
    case ':method':
      return PSEUDO_METHOD;
    case ':scheme':
      return PSEUDO_SCHEME;
    case ':path':
      return PSEUDO_PATH;
    case ':authority':
      return PSEUDO_AUTHORITY;
    case ':status':
      return PSEUDO_STATUS;
    default:
      return 0; // `:protocol` too: extended CONNECT (RFC 8441) is not offered, so it is not defined here
  }
}

function requestPseudoComplete(method: string, pseudo: number): boolean {
  if ((pseudo & (PSEUDO_STATUS | PSEUDO_PROTOCOL)) !== 0) return false;
  if (method === 'CONNECT') return pseudo === (PSEUDO_METHOD | PSEUDO_AUTHORITY);
  const required = PSEUDO_METHOD | PSEUDO_SCHEME | PSEUDO_PATH;
  return (pseudo & required) === required && method.length > 0;
}

function validName(name: string): boolean {
  if (name.length === 0) return false;
  for (let i = 0; i < name.length; i++) if (NAME_CHARACTER[name.charCodeAt(i) & 0xff] === 0) return false;
  return true;
}

/** No NUL, CR or LF anywhere, and no space or tab at either end (RFC 9113, section 8.2.1). */
function validValue(value: string): boolean {
  const { length } = value;
  if (length === 0) return true;
  for (let i = 0; i < length; i++) {
    const c = value.charCodeAt(i);
    if (c === 0 || c === 0x0a || c === 0x0d) return false;
  }
  return !isBlank(value.charCodeAt(0)) && !isBlank(value.charCodeAt(length - 1));
}

function isBlank(c: number): boolean {
  return c === 0x20 || c === 0x09;
}

function connectionSpecific(name: string, value: string): boolean {
  switch (name) {
    case 'connection':
    case 'proxy-connection':
    case 'keep-alive':
    case 'transfer-encoding':
    case 'upgrade':
      return true;
    case 'te':
      return value !== 'trailers';
    default:
      return false;
  }
}
