/**
 * Walks a JSON document over its bytes without building anything. The first walk (`checkDocument`) proves the syntax and
 * bounds the depth; later walks over parts of the same bytes rely on that and only find their way.
 *
 * Beyond RFC 8259, as TensorFlow Serving's parser does: NaN, Inf and Infinity (with a sign) are numbers, and a lone
 * surrogate escape is refused because it has no UTF-8 form.
 */
import { failSyntax, JsonError, JsonSyntax } from './json-error.ts';
import { textEquals } from './text.ts';

/** Containers in containers. A tensor has at most 254 dimensions; requests put two or three more around it. */
export const MAX_JSON_DEPTH = 260;

export const Char = {
  quote: 0x22,
  plus: 0x2b,
  comma: 0x2c,
  minus: 0x2d,
  dot: 0x2e,
  zero: 0x30,
  nine: 0x39,
  colon: 0x3a,
  open: 0x5b,
  backslash: 0x5c,
  close: 0x5d,
  openObject: 0x7b,
  closeObject: 0x7d,
} as const;

const EMPTY = Buffer.alloc(0);

/** 1 for bytes that neither end a string nor need a look inside one. */
const PLAIN = new Uint8Array(256).fill(1, 0x20);
PLAIN[Char.quote] = 0;
PLAIN[Char.backslash] = 0;

const SPECIALS: readonly Buffer[] = ['NaN', 'Infinity', 'Inf'].map((word) => Buffer.from(word));

export class JsonScanner {
  buf: Buffer = EMPTY;
  pos = 0;
  end = 0;
  /** Where the document began, for offsets in errors. */
  base = 0;
  /** The content of the last string passed, without its quotes, and whether it has escapes. */
  stringStart = 0;
  stringEnd = 0;
  stringEscaped = false;
  private readonly closers = new Uint8Array(MAX_JSON_DEPTH);

  reset(buf: Buffer, start: number, end: number, base = start): void {
    this.buf = buf;
    this.pos = start;
    this.end = end;
    this.base = base;
  }

  /** Lets go of the buffer. */
  release(): void {
    this.reset(EMPTY, 0, 0);
  }

  /** Passes over white space and returns the byte there, not consumed; -1 at the end. */
  peek(): number {
    const { buf, end } = this;
    let { pos } = this;
    while (pos < end) {
      const byte = buf[pos];
      if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) {
        this.pos = pos;
        return byte;
      }
      pos++;
    }
    this.pos = pos;
    return -1;
  }

  /** Consumes the byte `expected` after white space, or fails with `problem`. */
  expect(expected: number, problem: string): void {
    if (this.peek() !== expected) this.fail(problem);
    this.pos++;
  }

  /** Passes over a string at `pos` (its opening quote) and notes where its content is. */
  passString(): void {
    const { buf, end } = this;
    let pos = this.pos + 1;
    this.stringStart = pos;
    this.stringEscaped = false;
    for (;;) {
      while (pos < end && PLAIN[buf[pos]] === 1) pos++;
      this.pos = pos;
      if (pos >= end) this.fail(JsonSyntax.quote);
      const byte = buf[pos];
      if (byte === Char.quote) break;
      if (byte !== Char.backslash) this.fail(byte === 0 ? JsonSyntax.quote : JsonSyntax.encoding);
      this.stringEscaped = true;
      pos = this.passEscape(pos);
    }
    this.stringEnd = pos;
    this.pos = pos + 1;
  }

  /** The content of the last string passed, as text; malformed UTF-8 shows as replacement characters. */
  stringText(): string {
    const { buf, stringStart, stringEnd } = this;
    if (!this.stringEscaped) return buf.toString('utf8', stringStart, stringEnd);
    return JSON.parse(buf.toString('utf8', stringStart - 1, stringEnd + 1)) as string;
  }

  /** Whether the last string passed is `text`. */
  stringIs(text: string): boolean {
    if (this.stringEscaped) return this.stringText() === text;
    return textEquals(this.buf, this.stringStart, this.stringEnd, text);
  }

  /** Passes over one value, checking its syntax. Iterative: depth costs one byte a level. */
  passValue(): void {
    const { closers } = this;
    let depth = 0;
    for (;;) {
      const byte = this.peek();
      if (byte === Char.open || byte === Char.openObject) {
        if (depth === MAX_JSON_DEPTH) throw new JsonError('too_large', `JSON nested deeper than ${MAX_JSON_DEPTH}`);
        // The closing bracket lies two behind the opening one in ASCII.
        closers[depth++] = byte + 2;
        this.pos++;
        if (this.peek() !== byte + 2) {
          if (byte === Char.openObject) this.passKey();
          continue;
        }
        this.pos++;
        depth--;
      } else {
        this.passScalar(byte);
      }
      // Behind a value: end the containers it completes.
      for (;;) {
        if (depth === 0) return;
        const closer = closers[depth - 1];
        const next = this.peek();
        if (next === Char.comma) {
          this.pos++;
          if (closer === Char.closeObject) this.passKey();
          break;
        }
        if (next !== closer) this.fail(closer === Char.close ? JsonSyntax.elementEnd : JsonSyntax.memberEnd);
        this.pos++;
        depth--;
      }
    }
  }

  /** Passes over a member's name (noted as string) and its colon. */
  passKey(): void {
    if (this.peek() !== Char.quote) this.fail(JsonSyntax.memberName);
    this.passString();
    this.expect(Char.colon, JsonSyntax.memberColon);
  }

  /** Checks that nothing but white space follows. */
  expectEnd(): void {
    if (this.peek() !== -1) this.fail(JsonSyntax.trailing);
  }

  fail(problem: string): never {
    failSyntax(problem, this.pos - this.base);
  }

  private passScalar(byte: number): void {
    if (byte === Char.quote) this.passString();
    else if (byte === Char.minus || (byte >= Char.zero && byte <= Char.nine)) this.passNumber();
    else if (byte === 0x74) this.passWord('true');
    else if (byte === 0x66) this.passWord('false');
    else if (byte === 0x6e) this.passWord('null');
    else if (!this.passSpecial())
      this.fail(byte === -1 && this.pos === this.base ? JsonSyntax.empty : JsonSyntax.value);
  }

  private passNumber(): void {
    const { buf, end } = this;
    let { pos } = this;
    if (buf[pos] === Char.minus) pos++;
    const first = pos < end ? buf[pos] : 0;
    this.pos = pos;
    if (first === Char.zero) pos++;
    else if (first > Char.zero && first <= Char.nine) pos = digitsEnd(buf, pos + 1, end);
    else if (this.passSpecial()) return;
    else this.fail(JsonSyntax.value);
    if (pos < end && buf[pos] === Char.dot) pos = this.passDigits(pos + 1, JsonSyntax.fraction);
    if (pos < end && (buf[pos] | 0x20) === 0x65) {
      pos++;
      if (pos < end && (buf[pos] === Char.plus || buf[pos] === Char.minus)) pos++;
      pos = this.passDigits(pos, JsonSyntax.exponent);
    }
    this.pos = pos;
  }

  private passDigits(from: number, problem: string): number {
    const pos = digitsEnd(this.buf, from, this.end);
    if (pos === from) {
      this.pos = pos;
      this.fail(problem);
    }
    return pos;
  }

  private passWord(word: string): void {
    for (let i = 0; i < word.length; i++) {
      if (this.pos + i >= this.end || this.buf[this.pos + i] !== word.charCodeAt(i)) this.fail(JsonSyntax.value);
    }
    this.pos += word.length;
  }

  /** NaN and infinities at `pos`, the sign already passed. False where there is none. */
  passSpecial(): boolean {
    const { buf, pos, end } = this;
    for (const word of SPECIALS) {
      if (pos + word.length > end || buf.compare(word, 0, word.length, pos, pos + word.length) !== 0) continue;
      this.pos += word.length;
      return true;
    }
    return false;
  }

  /** Passes over the escape whose backslash is at `pos`. */
  private passEscape(pos: number): number {
    const { buf, end } = this;
    const letter = pos + 1 < end ? buf[pos + 1] : 0;
    if (letter !== 0x75) {
      if (ESCAPES.indexOf(letter) < 0) this.fail(pos + 1 < end ? JsonSyntax.escape : JsonSyntax.quote);
      return pos + 2;
    }
    const unit = this.hexUnit(pos + 2);
    if (unit < 0xd800 || unit > 0xdfff) return pos + 6;
    const paired = unit <= 0xdbff && pos + 7 < end && buf[pos + 6] === Char.backslash && buf[pos + 7] === 0x75;
    if (!paired) this.fail(JsonSyntax.surrogate);
    const low = this.hexUnit(pos + 8);
    if (low < 0xdc00 || low > 0xdfff) this.fail(JsonSyntax.surrogate);
    return pos + 12;
  }

  private hexUnit(at: number): number {
    let unit = 0;
    for (let i = at; i < at + 4; i++) {
      const digit = i < this.end ? hexDigit(this.buf[i]) : -1;
      if (digit < 0) this.fail(JsonSyntax.hex);
      unit = unit * 16 + digit;
    }
    return unit;
  }
}

/** What may follow a backslash besides `u`: "\/bfnrt. */
const ESCAPES = Buffer.from('"\\/bfnrt');

function digitsEnd(buf: Buffer, pos: number, end: number): number {
  while (pos < end) {
    const byte = buf[pos];
    if (byte < Char.zero || byte > Char.nine) break;
    pos++;
  }
  return pos;
}

export function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Checks that `[start, end)` is one JSON document. @throws JsonError */
export function checkDocument(scanner: JsonScanner, buf: Buffer, start: number, end: number): void {
  if (start === end) throw new JsonError('syntax', 'JSON Parse error: The document is empty');
  scanner.reset(buf, start, end);
  if (scanner.peek() === -1) scanner.fail(JsonSyntax.empty);
  scanner.passValue();
  scanner.expectEnd();
}
