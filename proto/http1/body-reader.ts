/** Where the body of the message being read stands, whatever delimits it (RFC 9112, section 6.3). */
import { ChunkedDecoder, type ChunkSink } from './chunked-decoder.ts';
import { Fault } from './faults.ts';
import { FAULTY, type HeadParser } from './head-parser.ts';
import { Framing } from './parsed-head.ts';

/** Reads one body after another; owned by one connection, which is its sink. */
export class BodyReader {
  /** Why `read` answered FAULTY. */
  fault: number = Fault.NONE;
  /** While the sink is called: the index after the last byte that belongs to the message so far. */
  position = 0;
  private readonly parser: HeadParser;
  private readonly sink: ChunkSink;
  private framing: number = Framing.NONE;
  private left = 0;
  private chunked: ChunkedDecoder | null = null;

  constructor(parser: HeadParser, sink: ChunkSink) {
    this.parser = parser;
    this.sink = sink;
  }

  /** Whether a body is being read; the next bytes are a head otherwise. */
  get active(): boolean {
    return this.framing !== Framing.NONE;
  }

  /** Prepares for a body; one of no bytes is none. */
  begin(framing: number, contentLength: number): void {
    this.framing = framing;
    this.left = contentLength;
    if (framing === Framing.LENGTH && contentLength === 0) this.framing = Framing.NONE;
    else if (framing === Framing.CHUNKED) {
      this.chunked ??= new ChunkedDecoder(this.parser, this.sink, this);
      this.chunked.begin();
    } else if (framing === Framing.UNTIL_CLOSE) this.left = this.parser.limits.maxBodyBytes;
  }

  /** The body has ended, or nobody wants the rest of it. */
  stop(): void {
    this.framing = Framing.NONE;
  }

  /** Hands buffer[at, end) out as far as it belongs to the body. Returns the index after that, or FAULTY. */
  read(buffer: Buffer, at: number, end: number): number {
    if (this.framing === Framing.CHUNKED) return this.chunked!.read(buffer, at, end);
    const take = Math.min(end - at, this.left);
    if (take === 0) {
      this.fault = Fault.BODY_TOO_LARGE;
      return FAULTY;
    }
    this.left -= take;
    this.position = at + take;
    this.sink.bodyBytes(buffer, at, at + take, this.framing === Framing.LENGTH && this.left === 0);
    return at + take;
  }

  /** Whether the connection's end is this body's end. */
  get endsByClose(): boolean {
    return this.framing === Framing.UNTIL_CLOSE;
  }
}
