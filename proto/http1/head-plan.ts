/**
 * Header lists as HTTP/1.1 octets. What a list means for framing, and the octets of each way of framing it, are made
 * once per list and remembered, since the lists of repeated messages are the same objects.
 *
 * The engine owns the connection: `connection`, `keep-alive`, `proxy-connection` and `transfer-encoding` of a list are
 * never written; what the connection itself needs is. So no list can contradict the framing of its message.
 */
import type { HeaderList } from '../http2/header-list.ts';
import { writeLatin1 } from '../http2/hpack/latin1.ts';
import { consistsOf, isToken, TARGET_OCTET, VALUE_OCTET } from './characters.ts';
import { parseContentLength } from './framing-fields.ts';
import { Method, methodCode } from './methods.ts';
import { reasonPhrase } from './reason-phrases.ts';
import { isAuthority } from './start-line.ts';

/** Ways of writing a head, as bits. */
export const Variant = {
  PLAIN: 0,
  /** `transfer-encoding: chunked`. */
  CHUNKED: 1,
  /** `content-length: 0`, which the list does not say. */
  EMPTY: 2,
  /** `connection: close`. */
  CLOSE: 4,
  /** `connection: keep-alive`, for HTTP/1.0. */
  KEEP_ALIVE: 8,
  /** The list's `upgrade`, with `connection: upgrade`. */
  UPGRADE: 16,
  /** Without the list's content-length: for answers that may not have one. */
  NO_LENGTH: 32,
} as const;

const VARIANTS = 64;
/** Octets longer than this are made again each time. */
const REMEMBERED_BYTES = 4096;

/** What one list means as a message head. */
export class HeadPlan {
  readonly list: HeaderList;
  /** Requests: the code of `:method`. */
  readonly method: number;
  /** Responses: the number of `:status`; 0 for requests. */
  readonly status: number;
  /** Declared bytes; -1 when there is no valid content-length. */
  readonly contentLength: number;
  readonly hasUpgrade: boolean;
  /** False when no octets can say what the list says: a space in a path, a name that is no token. */
  readonly expressible: boolean;
  private readonly octets: (Buffer | null)[] = [];

  constructor(list: HeaderList) {
    this.list = list;
    const status = list.get(':status');
    this.status = status === undefined ? 0 : Number(status);
    this.method = status === undefined ? methodCode(list.get(':method') ?? '') : Method.OTHER;
    const length = list.get('content-length');
    const declared = length === undefined ? -1 : parseContentLength(length);
    this.contentLength = declared > Number.MAX_SAFE_INTEGER ? -1 : declared;
    this.hasUpgrade = list.get('upgrade') !== undefined;
    this.expressible =
      fieldsExpressible(list) && (status === undefined ? requestExpressible(list) : this.status >= 100);
  }

  /** The head's octets, empty line included. Not to be changed. */
  bytes(variant: number): Buffer {
    const known = this.octets[variant];
    if (known !== undefined && known !== null) return known;
    const text = this.status > 0 ? responseText(this, variant) : requestText(this, variant);
    const made = Buffer.allocUnsafeSlow(text.length);
    writeLatin1(text, made, 0);
    if (made.length <= REMEMBERED_BYTES) {
      while (this.octets.length < VARIANTS && this.octets.length <= variant) this.octets.push(null);
      this.octets[variant] = made;
    }
    return made;
  }
}

const PLAN_SLOTS = 512;
const plans = new Array<HeadPlan | null>(PLAN_SLOTS).fill(null);

/** The plan of a list, out of a direct-mapped memory of the thread's latest lists. */
export function planOf(list: HeaderList): HeadPlan {
  const slot = list.serial & (PLAN_SLOTS - 1);
  const known = plans[slot]!;
  if (known !== null && known.list === list) return known;
  const plan = new HeadPlan(list);
  plans[slot] = plan;
  return plan;
}

/** Whether the list can be sent as an HTTP/1.1 request: what HTTP/2 takes is wider. */
export function isExpressible(list: HeaderList): boolean {
  return planOf(list).expressible;
}

/** A trailer section's octets, after the last chunk. Pseudo, framing and connection fields are left out. */
export function trailerBytes(list: HeaderList): Buffer {
  let text = '0\r\n';
  for (let i = 0; i < list.length; i++) {
    const name = list.names[i]!;
    const value = list.values[i]!;
    if (name.charCodeAt(0) === 0x3a || name === 'content-length' || name === 'host' || ownedByEngine(name)) continue;
    if (isToken(name) && consistsOf(value, VALUE_OCTET)) text += `${name}: ${value}\r\n`;
  }
  return Buffer.from(`${text}\r\n`, 'latin1');
}

function fieldsExpressible(list: HeaderList): boolean {
  for (let i = 0; i < list.length; i++) {
    const name = list.names[i]!;
    if (name.charCodeAt(0) !== 0x3a && !isToken(name)) return false;
    if (!consistsOf(list.values[i]!, VALUE_OCTET)) return false;
  }
  return true;
}

function requestExpressible(list: HeaderList): boolean {
  const method = list.get(':method');
  const authority = list.get(':authority') ?? list.get('host');
  const path = list.get(':path');
  if (method === undefined || !isToken(method)) return false;
  if (authority !== undefined && authority.length > 0 && !isAuthority(authority)) return false;
  if (method === 'CONNECT') return authority !== undefined && authority.length > 0;
  if (path === undefined || !consistsOf(path, TARGET_OCTET)) return false;
  return path.startsWith('/') || (path === '*' && method === 'OPTIONS');
}

function requestText(plan: HeadPlan, variant: number): string {
  const { list } = plan;
  const method = list.get(':method')!;
  const authority = list.get(':authority') ?? list.get('host') ?? '';
  const target = plan.method === Method.CONNECT ? authority : list.get(':path')!;
  return `${method} ${target} HTTP/1.1\r\nhost: ${authority}\r\n${fieldsText(list, variant, true)}`;
}

function responseText(plan: HeadPlan, variant: number): string {
  const { list, status } = plan;
  return `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n${fieldsText(list, variant, false)}`;
}

function fieldsText(list: HeaderList, variant: number, request: boolean): string {
  let text = '';
  let cookie = '';
  let lengthWritten = (variant & (Variant.CHUNKED | Variant.EMPTY | Variant.NO_LENGTH)) !== 0;
  let options = (variant & Variant.CLOSE) !== 0 ? 'close' : (variant & Variant.KEEP_ALIVE) !== 0 ? 'keep-alive' : '';
  for (let i = 0; i < list.length; i++) {
    const name = list.names[i]!;
    const value = list.values[i]!;
    if (name.charCodeAt(0) === 0x3a || ownedByEngine(name)) continue;
    if (name === 'host' && request) continue;
    if (name === 'content-length') {
      if (lengthWritten) continue;
      lengthWritten = true;
    } else if (name === 'upgrade') {
      if ((variant & Variant.UPGRADE) === 0) continue;
      options = withOption(options, 'upgrade');
    } else if (name === 'te') options = withOption(options, 'te');
    else if (name === 'cookie' && request) {
      // HTTP/2 may send a cookie in pieces (RFC 9113, section 8.2.3).
      cookie = cookie.length === 0 ? value : `${cookie}; ${value}`;
      continue;
    }
    text += `${name}: ${value}\r\n`;
  }
  if (cookie.length > 0) text += `cookie: ${cookie}\r\n`;
  if (options.length > 0) text += `connection: ${options}\r\n`;
  if ((variant & Variant.CHUNKED) !== 0) text += 'transfer-encoding: chunked\r\n';
  else if ((variant & Variant.EMPTY) !== 0) text += 'content-length: 0\r\n';
  return `${text}\r\n`;
}

function withOption(options: string, option: string): string {
  return options.length === 0 ? option : `${options}, ${option}`;
}

function ownedByEngine(name: string): boolean {
  switch (name) {
    case 'connection':
    case 'keep-alive':
    case 'proxy-connection':
    case 'transfer-encoding':
      return true;
    default:
      return false;
  }
}
