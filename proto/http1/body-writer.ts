/** Body octets onto a socket, plain or chunked (RFC 9112, section 7.1), as long as the socket takes them. */
import { type ByteSocket, copyBytes } from '../io/byte-socket.ts';

/** Body bytes per chunk: a chunk is written whole into one output buffer. */
const CHUNK_BYTES = 16_384;
/** Room for the size, at most four digits, and two line ends. */
const CHUNK_OVERHEAD_BYTES = 8;
/** Bytes handed to the socket between two looks at whether it still takes any. */
const QUANTUM_BYTES = 65_536;

/** What ends a chunked body without trailers. */
export const LAST_CHUNK: Buffer = Buffer.from('0\r\n\r\n', 'latin1');

/** Writes buffer[start, end) as it is; the index after the last byte taken. */
export function writePlain(io: ByteSocket, buffer: Buffer, start: number, end: number): number {
  while (start < end && io.writable) {
    const to = Math.min(end, start + QUANTUM_BYTES);
    io.write(buffer, start, to);
    start = to;
  }
  return start;
}

/** Writes buffer[start, end) in chunks; the index after the last byte taken. */
export function writeChunks(io: ByteSocket, buffer: Buffer, start: number, end: number): number {
  while (start < end && io.writable) {
    const to = Math.min(end, start + CHUNK_BYTES);
    writeChunk(io, buffer, start, to);
    start = to;
  }
  return start;
}

function writeChunk(io: ByteSocket, buffer: Buffer, start: number, end: number): void {
  const size = end - start;
  const out = io.reserve(size + CHUNK_OVERHEAD_BYTES);
  const from = io.position();
  let at = from;
  for (let shift = size > 0xfff ? 12 : size > 0xff ? 8 : size > 0xf ? 4 : 0; shift >= 0; shift -= 4) {
    const digit = (size >>> shift) & 15;
    out[at++] = digit < 10 ? 0x30 + digit : 0x57 + digit;
  }
  out[at++] = 0x0d;
  out[at++] = 0x0a;
  copyBytes(buffer, start, end, out, at);
  at += size;
  out[at++] = 0x0d;
  out[at++] = 0x0a;
  io.advance(at - from);
}
