// Owns the passage between octets and header strings. Node's Buffer has these two methods, which skip the encoding
// lookup of toString and write, but its published types do not name them.

interface Latin1Buffer {
  latin1Slice(start: number, end: number): string;
  latin1Write(text: string, offset: number, length: number): number;
}

/** The octets of bytes[start, end), one character each. */
export function readLatin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as unknown as Latin1Buffer).latin1Slice(start, end);
}

/** Writes `text`, whose characters are all octets, at `offset`. */
export function writeLatin1(text: string, out: Buffer, offset: number): void {
  (out as unknown as Latin1Buffer).latin1Write(text, offset, text.length);
}
