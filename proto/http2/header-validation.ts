/**
 * What makes a header section malformed (RFC 9113, section 8.2 and 8.3), decided once per decoded list: lists are
 * shared by identical blocks, so the verdict is remembered on the list, and so is the content length it declares.
 */
import type { HeaderList } from './header-list.ts';

/** Verdicts, kept in `HeaderList.validation`: what a section is, whatever was wanted. UNCHECKED must be 0. */
export const Validity = { UNCHECKED: 0, REQUEST: 1, RESPONSE: 2, TRAILERS: 3, MALFORMED: 4 } as const;

export function isRequest(list: HeaderList): boolean {
  return verdict(list) === Validity.REQUEST;
}

export function isResponse(list: HeaderList): boolean {
  return verdict(list) === Validity.RESPONSE;
}

export function isTrailers(list: HeaderList): boolean {
  return verdict(list) === Validity.TRAILERS;
}

/** The status of a response; empty for any other section. Pseudo-fields come first, and this is a response's only one. */
export function statusOf(list: HeaderList): string {
  return list.length > 0 && list.names[0] === ':status' ? list.values[0]! : '';
}

/** A 1xx response: others follow on the stream. */
export function isInformational(list: HeaderList): boolean {
  return statusOf(list).charCodeAt(0) === 0x31;
}

function verdict(list: HeaderList): number {
  if (list.validation === Validity.UNCHECKED) list.validation = judge(list);
  return list.validation;
}

const PSEUDO_METHOD = 1;
const PSEUDO_SCHEME = 2;
const PSEUDO_PATH = 4;
const PSEUDO_AUTHORITY = 8;
const PSEUDO_STATUS = 16;

function judge(list: HeaderList): number {
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
      continue;
    }
    regularSeen = true;
    if (!validName(name) || connectionSpecific(name, value)) return Validity.MALFORMED;
    if (name === 'content-length' && !noteContentLength(list, value)) return Validity.MALFORMED;
  }
  if (pseudo === 0) return Validity.TRAILERS;
  if (pseudo === PSEUDO_STATUS)
    return /^[1-9][0-9][0-9]$/.test(statusOf(list)) ? Validity.RESPONSE : Validity.MALFORMED;
  return validRequest(list, pseudo) ? Validity.REQUEST : Validity.MALFORMED;
}

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

/** The pseudo-fields and Host of a request (section 8.3.1 and 8.5); all of its fields are well-formed. */
function validRequest(list: HeaderList, pseudo: number): boolean {
  const method = list.get(':method');
  const authority = list.get(':authority');
  if ((pseudo & PSEUDO_STATUS) !== 0 || method === undefined || !validToken(method)) return false;
  if (authority?.includes('@') || !hostAgrees(list, authority)) return false;
  if (method === 'CONNECT') return pseudo === (PSEUDO_METHOD | PSEUDO_AUTHORITY) && authority !== '';
  const scheme = list.get(':scheme');
  const path = list.get(':path');
  if (scheme === undefined || scheme === '' || path === undefined) return false;
  if (scheme !== 'http' && scheme !== 'https') return path !== '' && visible(path);
  // These schemes have an authority, named by either field, and a path from the root.
  if (authority === '' || (authority === undefined && list.get('host') === undefined)) return false;
  return visible(path) && (path.charCodeAt(0) === 0x2f || (path === '*' && method === 'OPTIONS'));
}

/** At most one Host, not empty, and the same as `:authority` where both are there: two answers are a way to smuggle. */
function hostAgrees(list: HeaderList, authority: string | undefined): boolean {
  let host: string | undefined;
  for (let i = 0; i < list.length; i++) {
    if (list.names[i] !== 'host') continue;
    if (host !== undefined) return false;
    host = list.values[i]!;
  }
  if (host === undefined) return true;
  if (host === '' || host.includes('@')) return false;
  return authority === undefined || authority.toLowerCase() === host.toLowerCase();
}

/** Remembers the declared length on the list; false when it is no number or contradicts another. */
function noteContentLength(list: HeaderList, value: string): boolean {
  if (!/^[0-9]{1,15}$/.test(value)) return false;
  const length = Number(value);
  if (list.contentLength >= 0 && list.contentLength !== length) return false;
  list.contentLength = length;
  return true;
}

/** RFC 9110 token characters: 1 for those that may be in a field name, which has no upper case, 2 for the others. */
const TOKEN_CHARACTER = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") TOKEN_CHARACTER[c.charCodeAt(0)] = 1;
for (const c of 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') TOKEN_CHARACTER[c.charCodeAt(0)] = 2;

function validName(name: string): boolean {
  if (name.length === 0) return false;
  for (let i = 0; i < name.length; i++) if (TOKEN_CHARACTER[name.charCodeAt(i) & 0xff] !== 1) return false;
  return true;
}

function validToken(text: string): boolean {
  if (text.length === 0) return false;
  for (let i = 0; i < text.length; i++) if (TOKEN_CHARACTER[text.charCodeAt(i) & 0xff] === 0) return false;
  return true;
}

/** No spaces or control characters. */
function visible(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c <= 0x20 || c === 0x7f) return false;
  }
  return true;
}

/** No NUL, CR or LF anywhere, and no space or tab at either end (section 8.2.1). */
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
