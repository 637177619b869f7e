/** Text and bytes appended to one growing buffer, reused from answer to answer. */
const FIRST_BYTES = 16_384;
/** Kept between answers. */
const KEPT_BYTES = 1024 * 1024;

export class ByteSink {
  bytes: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  length = 0;

  clear(): void {
    this.length = 0;
    if (this.bytes.length > KEPT_BYTES) this.bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }

  /** Room for `size` more bytes; afterwards `bytes` may be written from `length` on. */
  reserve(size: number): void {
    if (this.length + size > this.bytes.length) this.grow(this.length + size);
  }

  putByte(byte: number): void {
    if (this.length === this.bytes.length) this.grow(this.length + 1);
    this.bytes[this.length++] = byte;
  }

  /** Appends text of the Latin-1 alphabet, such as punctuation and digits. */
  putAscii(text: string): void {
    this.reserve(text.length);
    if (text.length > 32) {
      this.length += this.bytes.write(text, this.length, 'latin1');
      return;
    }
    for (let i = 0; i < text.length; i++) this.bytes[this.length++] = text.charCodeAt(i);
  }

  /** Appends text as UTF-8. */
  putText(text: string): void {
    this.reserve(text.length * 3);
    this.length += this.bytes.write(text, this.length);
  }

  putBytes(source: Uint8Array, start: number, end: number): void {
    this.reserve(end - start);
    this.bytes.set(source.subarray(start, end), this.length);
    this.length += end - start;
  }

  /** What was appended; valid until the next `clear`. */
  view(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  /** A copy of what was appended. */
  take(): Buffer {
    return Buffer.from(this.view());
  }

  private grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }
}
