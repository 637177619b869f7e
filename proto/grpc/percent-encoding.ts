/** The encoding of `grpc-message` (gRPC over HTTP/2, "Status-Message"): UTF-8, with %XX outside of printable ASCII. */

const HEX = '0123456789ABCDEF';

/** Text as it goes into the header. Text that needs no escapes comes back as it is. */
export function encodeGrpcMessage(text: string): string {
  let i = 0;
  while (i < text.length && isPlain(text.charCodeAt(i))) i++;
  if (i === text.length) return text;
  const bytes = Buffer.from(text);
  let encoded = '';
  for (const byte of bytes) {
    encoded += isPlain(byte) ? String.fromCharCode(byte) : `%${HEX[byte >> 4]}${HEX[byte & 15]}`;
  }
  return encoded;
}

/**
 * Text of a received header, whose characters stand for bytes (latin1). Never fails: a `%` without two hex digits stays
 * as it is, and what is not UTF-8 becomes U+FFFD.
 */
export function decodeGrpcMessage(value: string): string {
  let plain = true;
  for (let i = 0; i < value.length && plain; i++) plain = value.charCodeAt(i) < 0x80 && value.charCodeAt(i) !== 0x25;
  if (plain) return value;
  const bytes = Buffer.allocUnsafe(value.length);
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    const high = code === 0x25 ? hexDigit(value.charCodeAt(i + 1)) : -1;
    const low = high >= 0 ? hexDigit(value.charCodeAt(i + 2)) : -1;
    if (low >= 0) {
      bytes[length++] = high * 16 + low;
      i += 2;
    } else {
      bytes[length++] = code;
    }
  }
  return bytes.toString('utf8', 0, length);
}

function isPlain(code: number): boolean {
  return code >= 0x20 && code <= 0x7e && code !== 0x25;
}

/** Value of a hex digit, -1 for anything else, NaN (behind the end) included. */
function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 65 && code <= 70) return code - 55;
  return code >= 97 && code <= 102 ? code - 87 : -1;
}
