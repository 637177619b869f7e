/** Which octets HTTP/1.1 allows where (RFC 9110, section 5.6.2 and 5.5; RFC 9112, section 3.2), as tables. */

/** For a token character its lower-case octet, else 0. */
export const TOKEN_LOWER = new Uint8Array(256);
/** 1 for what a field value may hold: visible characters, space, tab and octets above 0x7f. */
export const VALUE_OCTET = new Uint8Array(256);
/** 1 for what a request target may hold: visible ASCII without `#`, which never leaves a client. */
export const TARGET_OCTET = new Uint8Array(256);
/** 1 for what an authority may hold: names, addresses and a port; no user information, no comma. */
export const AUTHORITY_OCTET = new Uint8Array(256);
/** The digit's value, or 255. */
export const HEX_VALUE = new Uint8Array(256).fill(255);

const ALPHANUMERIC = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

for (const c of `!#$%&'*+-.^_\`|~${ALPHANUMERIC}`) TOKEN_LOWER[c.charCodeAt(0)] = c.toLowerCase().charCodeAt(0);
for (const c of `-._~%!$&'()*+;=:[]${ALPHANUMERIC}`) AUTHORITY_OCTET[c.charCodeAt(0)] = 1;
for (let c = 0x20; c < 256; c++) if (c !== 0x7f) VALUE_OCTET[c] = 1;
VALUE_OCTET[0x09] = 1;
for (let c = 0x21; c < 0x7f; c++) TARGET_OCTET[c] = 1;
TARGET_OCTET[0x23] = 0;
for (let i = 0; i < 10; i++) HEX_VALUE[0x30 + i] = i;
for (let i = 0; i < 6; i++) {
  HEX_VALUE[0x61 + i] = 10 + i;
  HEX_VALUE[0x41 + i] = 10 + i;
}

export const TAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SPACE = 0x20;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const QUOTE = 0x22;
export const BACKSLASH = 0x5c;

/** Whether `text` is a token (RFC 9110, section 5.6.2), for names and methods we are asked to write. */
export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 0xff || TOKEN_LOWER[c] === 0) return false;
  }
  return text.length > 0;
}

/** Whether every character of `text` is marked in `table`. */
export function consistsOf(text: string, table: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 0xff || table[c] === 0) return false;
  }
  return true;
}
