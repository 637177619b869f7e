/**
 * Reads protobuf text format, as much of it as TensorFlow Serving's configuration files use: `field: scalar`,
 * `field { ... }` (also `field: { ... }` and `< ... >`), `[a, b]` lists of scalars, comments, and adjacent strings. It
 * knows no schema: what a field means, and whether it may occur, is for the reader of the tree to say.
 */

import { isUtf8 } from 'node:buffer';

/** One field as written. A number, boolean or enum stays the text it was. */
export interface TextField {
  readonly name: string;
  readonly value: TextScalar | TextMessage;
  /** 1-based, for messages to people. */
  readonly line: number;
}

export interface TextScalar {
  readonly kind: 'scalar';
  readonly text: string;
  /** Whether it was in quotes. */
  readonly quoted: boolean;
}

export interface TextMessage {
  readonly kind: 'message';
  readonly fields: readonly TextField[];
}

/** A mistake in the text. */
export class TextProtoError extends Error {
  override readonly name = 'TextProtoError';

  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
  }
}

/** Nesting beyond this is refused; configuration files nest four deep. */
const MAX_DEPTH = 32;

interface Token {
  readonly kind: 'word' | 'string' | 'mark' | 'end';
  readonly text: string;
  readonly line: number;
}

const TOKEN =
  /[ \t\r\f\v]+|#[^\n]*|(\n)|([A-Za-z0-9_.+-]+)|"((?:[^"\\\n]|\\[^\n])*)"|'((?:[^'\\\n]|\\[^\n])*)'|([{}<>:;,[\]])/y;

/** The whole text as one message. Throws TextProtoError. */
export function parseTextProto(text: string): TextMessage {
  const reader = new TokenReader(tokens(text));
  const message = readMessage(reader, 'end', '', 0);
  return message;
}

class TokenReader {
  private readonly list: readonly Token[];
  private at = 0;

  constructor(list: readonly Token[]) {
    this.list = list;
  }

  get next(): Token {
    return this.list[this.at]!;
  }

  take(): Token {
    const token = this.list[this.at]!;
    if (token.kind !== 'end') this.at++;
    return token;
  }

  /** Takes the next token if it is this mark. */
  accept(mark: string): boolean {
    const found = this.next.kind === 'mark' && this.next.text === mark;
    if (found) this.at++;
    return found;
  }
}

function tokens(text: string): Token[] {
  const list: Token[] = [];
  let line = 1;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const start = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new TextProtoError(line, `unexpected ${JSON.stringify(text[start])}`);
    if (match[1] !== undefined) line++;
    else if (match[2] !== undefined) list.push({ kind: 'word', text: match[2], line });
    else if (match[5] !== undefined) list.push({ kind: 'mark', text: match[5], line });
    else if (match[3] !== undefined || match[4] !== undefined) {
      list.push({ kind: 'string', text: unescapeText(match[3] ?? match[4]!, line), line });
    }
  }
  list.push({ kind: 'end', text: 'end of text', line });
  return list;
}

const ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  t: 9,
  n: 10,
  v: 11,
  f: 12,
  r: 13,
  '"': 34,
  "'": 39,
  '?': 63,
  '\\': 92,
};
const ESCAPE = /\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))/g;

/** Octal and hexadecimal escapes are bytes of UTF-8, so that a letter may take several. */
function unescapeText(body: string, line: number): string {
  if (!body.includes('\\')) return body;
  const bytes: Buffer[] = [];
  let at = 0;
  for (const match of body.matchAll(ESCAPE)) {
    const [whole, octal, hex, letter] = match;
    const byte = octal !== undefined ? Number.parseInt(octal, 8) : hex !== undefined ? Number.parseInt(hex, 16) : -1;
    const value = letter === undefined ? byte : (ESCAPES[letter] ?? -1);
    if (value < 0 || value > 255) throw new TextProtoError(line, `unsupported escape ${whole}`);
    bytes.push(Buffer.from(body.slice(at, match.index)), Buffer.of(value));
    at = match.index + whole.length;
  }
  bytes.push(Buffer.from(body.slice(at)));
  const text = Buffer.concat(bytes);
  if (!isUtf8(text)) throw new TextProtoError(line, 'escapes that are not UTF-8');
  return text.toString();
}

function readMessage(reader: TokenReader, endKind: 'end' | 'mark', endText: string, depth: number): TextMessage {
  const fields: TextField[] = [];
  for (;;) {
    const token = reader.take();
    if (token.kind === endKind && (endKind === 'end' || token.text === endText)) return { kind: 'message', fields };
    if (token.kind !== 'word') throw new TextProtoError(token.line, `expected a field name, got ${token.text}`);
    readField(reader, token, depth, fields);
    if (!reader.accept(',')) reader.accept(';');
  }
}

function readField(reader: TokenReader, name: Token, depth: number, fields: TextField[]): void {
  const colon = reader.accept(':');
  const push = (value: TextScalar | TextMessage): void => {
    fields.push({ name: name.text, value, line: name.line });
  };
  for (const [open, close] of [
    ['{', '}'],
    ['<', '>'],
  ] as const) {
    if (!reader.accept(open)) continue;
    if (depth >= MAX_DEPTH) throw new TextProtoError(name.line, `more than ${MAX_DEPTH} levels`);
    push(readMessage(reader, 'mark', close, depth + 1));
    return;
  }
  if (!colon) throw new TextProtoError(name.line, `expected : or { after ${name.text}`);
  if (!reader.accept('[')) {
    push(readScalar(reader));
    return;
  }
  if (reader.accept(']')) return;
  do push(readScalar(reader));
  while (reader.accept(','));
  if (!reader.accept(']')) throw new TextProtoError(reader.next.line, `expected , or ], got ${reader.next.text}`);
}

function readScalar(reader: TokenReader): TextScalar {
  const token = reader.take();
  if (token.kind === 'word') return { kind: 'scalar', text: token.text, quoted: false };
  if (token.kind !== 'string') throw new TextProtoError(token.line, `expected a value, got ${token.text}`);
  let { text } = token;
  while (reader.next.kind === 'string') text += reader.take().text;
  return { kind: 'scalar', text, quoted: true };
}
