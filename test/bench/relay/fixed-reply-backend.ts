/**
 * Process entry: the model server all proxies relay to. It answers every right request with the same reply, head, DATA
 * and trailers, and every wrong one with INVALID_ARGUMENT, and counts both.
 *
 * A request is right if its DATA is one message as long as it says and everything behind the model spec arrived as it
 * was sent. Arguments: the sizes of the request bodies in use. Over IPC it announces `{ port }` once and answers every
 * message with `{ good, bad }`.
 */
import { HeaderList } from '../../../proto/http2/header-list.ts';
import { Http2Server } from '../../../proto/http2/server.ts';
import type { Http2Stream, StreamHandler } from '../../../proto/http2/stream.ts';
import { fixedPartStart, PREFIX_BYTES, replyBody, requestBody } from './payload.ts';

const REPLY = replyBody();
const HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);
const TRAILERS = HeaderList.of(['grpc-status', '0']);
const WRONG = HeaderList.of([':status', '200'], ['content-type', 'application/grpc'], ['grpc-status', '3']);
const FIXED_START = fixedPartStart();
/** A rewritten model spec is longer by a version and perhaps a label, never by more than this. */
const MOST_GROWTH = 64;
const expected = process.argv.slice(2).map((size) => requestBody(Number(size)));

let good = 0;
let bad = 0;

class Exchange implements StreamHandler {
  private bytes = 0;
  /** The prefix's last four bytes, big-endian; its first, the compression flag, is 0 and shifts out. */
  private messageBytes = 0;
  private body: Buffer | null = null;
  /** How much longer the request is than it was sent. */
  private growth = 0;
  private intact = true;

  onHeaders(stream: Http2Stream, _headers: unknown, endStream: boolean): void {
    if (endStream) this.answer(stream);
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.bytes < PREFIX_BYTES) this.begin(buffer, start, end);
    if (this.body !== null) this.compare(this.body, buffer, start, end);
    this.bytes += end - start;
    stream.consume(end - start);
    if (endStream) this.answer(stream);
  }

  onSent(): void {}

  onReset(): void {
    bad++;
  }

  /** Reads the prefix, which may come in pieces; once it is whole, finds out which request this is. */
  private begin(buffer: Buffer, start: number, end: number): void {
    let at = this.bytes;
    for (let i = start; i < end && at < PREFIX_BYTES; i++, at++)
      this.messageBytes = (this.messageBytes << 8) | buffer[i]!;
    if (at < PREFIX_BYTES) return;
    for (const body of expected) {
      const growth = this.messageBytes + PREFIX_BYTES - body.length;
      if (growth < 0 || growth > MOST_GROWTH) continue;
      this.body = body;
      this.growth = growth;
    }
  }

  /** Compares the part of `buffer[start..end)` that no proxy may change. */
  private compare(body: Buffer, buffer: Buffer, start: number, end: number): void {
    const from = Math.max(FIXED_START, this.bytes - this.growth);
    const to = this.bytes - this.growth + (end - start);
    if (to <= from) return;
    const at = start + from + this.growth - this.bytes;
    if (to > body.length || body.compare(buffer, at, at + to - from, from, to) !== 0) this.intact = false;
  }

  private answer(stream: Http2Stream): void {
    if (this.body === null || !this.intact || this.bytes !== this.messageBytes + PREFIX_BYTES) {
      bad++;
      stream.sendHeaders(WRONG, true);
      return;
    }
    good++;
    stream.sendHeaders(HEAD, false);
    stream.sendData(REPLY, 0, REPLY.length, false);
    stream.sendHeaders(TRAILERS, true);
  }
}

const server = new Http2Server({
  acceptStream: () => new Exchange(),
  limits: { maxConcurrentStreams: 1024, streamWindowBytes: 1 << 20, connectionWindowBytes: 1 << 24 },
});
const address = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
process.on('message', () => process.send?.({ good, bad }));
process.on('disconnect', () => process.exit(0));
process.send?.({ port: address.kind === 'tcp' ? address.port : 0 });
