/** Pieces of a request as texts for error messages: how a value is called, and the value itself, indented and bounded. */
import { Char, JsonScanner } from './json-scanner.ts';

/** Longest text of a value in a message, in characters. */
const MAX_TEXT = 1024;

/** `Object`, `Array`, `String`, `Number`, `True`, `False` or `Null`, by the first byte of a value. */
export function jsonTypeName(byte: number): string {
  switch (byte) {
    case Char.openObject:
      return 'Object';
    case Char.open:
      return 'Array';
    case Char.quote:
      return 'String';
    case 0x74:
      return 'True';
    case 0x66:
      return 'False';
    case 0x6e:
      return 'Null';
    default:
      return 'Number';
  }
}

/**
 * The checked value at `start`, each element and member on a line of its own, four spaces a level; cut at `MAX_TEXT`
 * characters. Numbers and strings stand as they were sent.
 */
export function jsonValueText(buf: Buffer, start: number, end: number): string {
  const scanner = new JsonScanner();
  scanner.reset(buf, start, end);
  let text = '';
  let depth = 0;
  const newLine = (): void => {
    text += `\n${'    '.repeat(depth)}`;
  };
  while (text.length <= MAX_TEXT) {
    const byte = scanner.peek();
    if (byte === -1) break;
    if (byte === Char.open || byte === Char.openObject) {
      text += String.fromCharCode(byte);
      scanner.pos++;
      if (scanner.peek() === byte + 2) {
        text += String.fromCharCode(byte + 2);
        scanner.pos++;
      } else {
        depth++;
        newLine();
        continue;
      }
    } else if (byte === Char.close || byte === Char.closeObject) {
      depth--;
      newLine();
      text += String.fromCharCode(byte);
      scanner.pos++;
    } else if (byte === Char.comma) {
      text += ',';
      scanner.pos++;
      newLine();
      continue;
    } else if (byte === Char.colon) {
      text += ': ';
      scanner.pos++;
      continue;
    } else {
      const from = scanner.pos;
      scanner.passValue();
      text += buf.toString('utf8', from, Math.min(scanner.pos, from + 4 * MAX_TEXT));
    }
    // A value at the top is all there is; inside, what follows decides.
    if (depth === 0) break;
  }
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}...` : text;
}
