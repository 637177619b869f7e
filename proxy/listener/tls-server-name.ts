/**
 * The server name a TLS client asks for (RFC 6066, section 3), read from the first bytes of a connection that is passed
 * through without being terminated. Only for the access log: nothing is decided by it, and a hello that is cut, unusual
 * or no TLS at all simply has no name.
 */

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const EXTENSION_SERVER_NAME = 0;
const NAME_TYPE_HOST = 0;
const RECORD_HEADER_BYTES = 5;
const MAX_NAME_BYTES = 255;

/** The host name in the client hello that `buffer[0..length)` begins with; '' when there is none to be read. */
export function tlsServerName(buffer: Uint8Array, length: number): string {
  const reader = new HelloReader(buffer, length);
  if (reader.byte() !== HANDSHAKE) return '';
  reader.skip(RECORD_HEADER_BYTES - 1);
  if (reader.byte() !== CLIENT_HELLO) return '';
  reader.skip(3 + 2 + 32); // length, version, random
  reader.skip(reader.byte()); // session id
  reader.skip(reader.pair()); // cipher suites
  reader.skip(reader.byte()); // compression methods
  const extensionsEnd = reader.pair() + reader.at;
  while (reader.at < extensionsEnd && !reader.over) {
    const type = reader.pair();
    const size = reader.pair();
    if (type !== EXTENSION_SERVER_NAME) {
      reader.skip(size);
      continue;
    }
    reader.skip(2); // length of the list: its first entry is read
    if (reader.byte() !== NAME_TYPE_HOST) return '';
    return reader.text(reader.pair());
  }
  return '';
}

/** Reads forward; beyond the end everything is 0 and `over` is set, so no caller checks every step. */
class HelloReader {
  at = 0;
  over = false;
  private readonly bytes: Uint8Array;
  private readonly end: number;

  constructor(bytes: Uint8Array, end: number) {
    this.bytes = bytes;
    this.end = end;
  }

  byte(): number {
    if (this.at >= this.end) {
      this.over = true;
      return 0;
    }
    return this.bytes[this.at++]!;
  }

  pair(): number {
    return (this.byte() << 8) | this.byte();
  }

  skip(count: number): void {
    this.at += count;
  }

  text(size: number): string {
    if (size === 0 || size > MAX_NAME_BYTES || this.at + size > this.end) return '';
    const text = Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.at, size).toString('latin1');
    return /^[A-Za-z0-9._-]+$/.test(text) ? text : '';
  }
}
