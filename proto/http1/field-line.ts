/** Header and trailer lines (RFC 9112, section 5): a token, a colon at once, a trimmed value; and which ones we act on. */
import { readLatin1 } from '../http2/hpack/latin1.ts';
import { COLON, SPACE, TAB, TOKEN_LOWER, VALUE_OCTET } from './characters.ts';
import { Fault } from './faults.ts';

/** Fields with a part in framing, routing or the connection's life; all others are PLAIN. */
export const FieldKind = {
  PLAIN: 0,
  HOST: 1,
  CONTENT_LENGTH: 2,
  TRANSFER_ENCODING: 3,
  CONNECTION: 4,
  EXPECT: 5,
  UPGRADE: 6,
  TE: 7,
  KEEP_ALIVE: 8,
  PROXY_CONNECTION: 9,
  TRAILER: 10,
} as const;

const KINDS: ReadonlyMap<string, number> = new Map([
  ['host', FieldKind.HOST],
  ['content-length', FieldKind.CONTENT_LENGTH],
  ['transfer-encoding', FieldKind.TRANSFER_ENCODING],
  ['connection', FieldKind.CONNECTION],
  ['expect', FieldKind.EXPECT],
  ['upgrade', FieldKind.UPGRADE],
  ['te', FieldKind.TE],
  ['keep-alive', FieldKind.KEEP_ALIVE],
  ['proxy-connection', FieldKind.PROXY_CONNECTION],
  ['trailer', FieldKind.TRAILER],
]);

/** A field. Immutable: lines are shared by all messages that repeat them. */
export class FieldLine {
  /** Lower case. */
  readonly name: string;
  readonly value: string;
  readonly kind: number;

  constructor(name: string, value: string, kind: number) {
    this.name = name;
    this.value = value;
    this.kind = kind;
  }
}

export function fieldKind(name: string): number {
  return KINDS.get(name) ?? FieldKind.PLAIN;
}

/** Names seen lately, so that a line with a new value makes one string and not two. */
const NAME_SLOTS = 256;

class KnownName {
  readonly name: string;
  readonly kind: number;

  constructor(name: string) {
    this.name = name;
    this.kind = fieldKind(name);
  }
}

/** Parses field lines; owns the memory of their names. */
export class FieldLineParser {
  private readonly names = new Array<KnownName | null>(NAME_SLOTS).fill(null);

  /** Parses buffer[start, end), the line without its CRLF; a fault's number when it is malformed. */
  parse(buffer: Buffer, start: number, end: number): FieldLine | number {
    const lower = TOKEN_LOWER;
    const allowed = VALUE_OCTET;
    let colon = start;
    while (colon < end && lower[buffer[colon]!] !== 0) colon++;
    if (colon === start || colon === end || buffer[colon] !== COLON) return Fault.BAD_FIELD_NAME;
    let from = colon + 1;
    let to = end;
    while (from < to && (buffer[from] === SPACE || buffer[from] === TAB)) from++;
    while (to > from && (buffer[to - 1] === SPACE || buffer[to - 1] === TAB)) to--;
    for (let i = from; i < to; i++) if (allowed[buffer[i]!] === 0) return Fault.BAD_FIELD_VALUE;
    const known = this.nameOf(buffer, start, colon);
    return new FieldLine(known.name, from === to ? '' : readLatin1(buffer, from, to), known.kind);
  }

  private nameOf(buffer: Buffer, start: number, end: number): KnownName {
    const length = end - start;
    const first = TOKEN_LOWER[buffer[start]!]!;
    const middle = TOKEN_LOWER[buffer[start + (length >>> 1)]!]!;
    const last = TOKEN_LOWER[buffer[end - 1]!]!;
    const slot = (Math.imul(length * 31 + first, 0x9e3779b1) ^ Math.imul(middle * 31 + last, 0x85ebca6b)) >>> 24;
    const known = this.names[slot]!;
    if (known !== null && sameName(known.name, buffer, start, length)) return known;
    const fresh = new KnownName(readLatin1(buffer, start, end).toLowerCase());
    // Long names are not worth keeping; what a peer makes up only displaces, it never adds.
    if (length <= 64) this.names[slot] = fresh;
    return fresh;
  }
}

function sameName(name: string, buffer: Buffer, start: number, length: number): boolean {
  if (name.length !== length) return false;
  const lower = TOKEN_LOWER;
  for (let i = 0; i < length; i++) if (name.charCodeAt(i) !== lower[buffer[start + i]!]) return false;
  return true;
}
