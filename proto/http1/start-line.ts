/** Request lines and status lines (RFC 9112, section 3 and 4). Each parser answers with the line or a fault's number. */
import { readLatin1 } from '../http2/hpack/latin1.ts';
import {
  AUTHORITY_OCTET,
  COLON,
  consistsOf,
  SPACE,
  TAB,
  TARGET_OCTET,
  TOKEN_LOWER,
  VALUE_OCTET,
} from './characters.ts';
import { Fault } from './faults.ts';
import { methodCode } from './methods.ts';

/** Longest method taken, bytes. The longest registered one has 17. */
const MAX_METHOD_BYTES = 32;

/** A request line. Immutable: lines are shared by all requests that repeat them. */
export class RequestLine {
  readonly method: string;
  readonly methodCode: number;
  /** Path and query as sent; `*` for a server-wide OPTIONS; empty for CONNECT. */
  readonly path: string;
  /** Of an absolute or authority form; empty for the origin form, whose authority is the host field. */
  readonly authority: string;
  /** Of an absolute form, lower case; empty otherwise. */
  readonly scheme: string;
  /** 0 or 1: HTTP/1.0 or HTTP/1.1. */
  readonly minor: number;

  constructor(method: string, path: string, authority: string, scheme: string, minor: number) {
    this.method = method;
    this.methodCode = methodCode(method);
    this.path = path;
    this.authority = authority;
    this.scheme = scheme;
    this.minor = minor;
  }
}

/** A status line; the reason phrase means nothing and is dropped. */
export class StatusLine {
  readonly status: number;
  readonly statusText: string;
  readonly minor: number;

  constructor(status: number, minor: number) {
    this.status = status;
    this.statusText = String(status);
    this.minor = minor;
  }
}

/** Parses buffer[start, end), the line without its CRLF. */
export function parseRequestLine(buffer: Buffer, start: number, end: number): RequestLine | number {
  let at = start;
  while (at < end && TOKEN_LOWER[buffer[at]!] !== 0) at++;
  if (at === start || at === end || buffer[at] !== SPACE) return at === end ? Fault.BAD_REQUEST_LINE : Fault.BAD_METHOD;
  if (at - start > MAX_METHOD_BYTES) return Fault.METHOD_TOO_LONG;
  const method = readLatin1(buffer, start, at);
  const targetStart = ++at;
  while (at < end && TARGET_OCTET[buffer[at]!] === 1) at++;
  if (at === targetStart || at === end) return Fault.BAD_REQUEST_LINE;
  if (buffer[at] !== SPACE) return Fault.BAD_TARGET;
  const minor = parseVersion(buffer, at + 1, end);
  if (minor < 0) return -minor;
  return parseTarget(method, readLatin1(buffer, targetStart, at), minor);
}

/** The minor version of exactly `HTTP/1.0` or `HTTP/1.1`, or a fault's number, negative. */
function parseVersion(buffer: Buffer, start: number, end: number): number {
  if (end - start !== 8 || !startsWithHttp(buffer, start) || buffer[start + 6] !== 0x2e) return -Fault.BAD_VERSION;
  const major = buffer[start + 5]! - 0x30;
  const minor = buffer[start + 7]! - 0x30;
  if (major < 0 || major > 9 || minor < 0 || minor > 9) return -Fault.BAD_VERSION;
  return major === 1 && minor <= 1 ? minor : -Fault.UNSUPPORTED_VERSION;
}

function startsWithHttp(buffer: Buffer, at: number): boolean {
  return (
    buffer[at] === 0x48 &&
    buffer[at + 1] === 0x54 &&
    buffer[at + 2] === 0x54 &&
    buffer[at + 3] === 0x50 &&
    buffer[at + 4] === 0x2f
  );
}

/** The four forms of a target (RFC 9112, section 3.2). */
function parseTarget(method: string, target: string, minor: number): RequestLine | number {
  if (method === 'CONNECT') {
    const named = isAuthority(target) && target.lastIndexOf(':') > 0 && !target.endsWith(':') && !target.endsWith(']');
    return named ? new RequestLine(method, '', target, '', minor) : Fault.BAD_TARGET;
  }
  if (target.charCodeAt(0) === 0x2f) return new RequestLine(method, target, '', '', minor);
  if (target === '*') return method === 'OPTIONS' ? new RequestLine(method, '*', '', '', minor) : Fault.BAD_TARGET;
  return parseAbsolute(method, target, minor);
}

function parseAbsolute(method: string, target: string, minor: number): RequestLine | number {
  const colon = target.indexOf('://');
  if (colon < 0 || colon > 5) return Fault.BAD_TARGET;
  const scheme = target.slice(0, colon).toLowerCase();
  if (scheme !== 'http' && scheme !== 'https') return Fault.BAD_TARGET;
  const from = colon + 3;
  let end = from;
  while (end < target.length && target[end] !== '/' && target[end] !== '?') end++;
  const authority = target.slice(from, end);
  if (authority.length === 0 || !isAuthority(authority)) return Fault.BAD_TARGET;
  let path = target.slice(end);
  if (path.length === 0) path = method === 'OPTIONS' ? '*' : '/';
  else if (path.startsWith('?')) path = `/${path}`;
  return new RequestLine(method, path, authority, scheme, minor);
}

/** Whether `text` is a host with an optional port (RFC 3986, section 3.2), without user information; not empty. */
export function isAuthority(text: string): boolean {
  if (text.length === 0 || !consistsOf(text, AUTHORITY_OCTET)) return false;
  let portAt = text.indexOf(':');
  if (text.charCodeAt(0) === 0x5b) {
    const close = text.indexOf(']');
    if (close < 2 || text.indexOf('[', 1) >= 0 || text.indexOf(']', close + 1) >= 0) return false;
    if (close + 1 === text.length) return true;
    portAt = close + 1;
    if (text.charCodeAt(portAt) !== COLON) return false;
  } else if (text.includes('[') || text.includes(']')) return false;
  if (portAt < 0) return true;
  if (portAt === 0 || text.length - portAt > 6) return false;
  for (let i = portAt + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x30 || c > 0x39) return false;
  }
  return true;
}

/** Parses a status line; the space before an empty reason may be missing, as it is from many servers. */
export function parseStatusLine(buffer: Buffer, start: number, end: number): StatusLine | number {
  if (end - start < 12 || buffer[start + 8] !== SPACE) return Fault.BAD_STATUS_LINE;
  const minor = parseVersion(buffer, start, start + 8);
  if (minor < 0) return -minor;
  let status = 0;
  for (let i = start + 9; i < start + 12; i++) {
    const digit = buffer[i]! - 0x30;
    if (digit < 0 || digit > 9) return Fault.BAD_STATUS_LINE;
    status = status * 10 + digit;
  }
  if (status < 100 || (end - start > 12 && buffer[start + 12] !== SPACE)) return Fault.BAD_STATUS_LINE;
  for (let i = start + 12; i < end; i++) {
    if (VALUE_OCTET[buffer[i]!] === 0 && buffer[i] !== TAB) return Fault.BAD_STATUS_LINE;
  }
  return new StatusLine(status, minor);
}
