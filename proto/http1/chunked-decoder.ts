/**
 * The chunked transfer coding, inwards (RFC 9112, section 7.1): sizes, extensions, data in place, trailers.
 *
 *   SIZE ▸ (extension) ▸ SIZE_LF ▸ DATA ▸ DATA_CR ▸ DATA_LF ▸ SIZE ... ▸ TRAILERS ▸ done
 *
 * Strict on purpose: no space around a size, no bare LF anywhere, extensions by their grammar and bounded over the whole
 * message. A lenient reader in front of a strict one, or the reverse, disagree about where the next request begins.
 */
import type { HeaderList } from '../http2/header-list.ts';
import { BACKSLASH, CR, EQUALS, HEX_VALUE, LF, QUOTE, SEMICOLON, TOKEN_LOWER, VALUE_OCTET } from './characters.ts';
import { Fault } from './faults.ts';
import { FAULTY, type HeadParser, INCOMPLETE } from './head-parser.ts';

/** What takes the decoded body. */
export interface ChunkSink {
  /** Body bytes, in place; `last` when the message ends with them. False: stop, nobody listens any more. */
  bodyBytes(buffer: Buffer, start: number, end: number, last: boolean): boolean;
  /** The message ended with a trailer section, or (null) without one after all bytes had been handed out. */
  bodyEnd(trailers: HeaderList | null): void;
}

const State = {
  SIZE: 0,
  EXTENSION_NAME: 1,
  EXTENSION_VALUE: 2,
  EXTENSION_QUOTED: 3,
  EXTENSION_ESCAPED: 4,
  EXTENSION_CLOSED: 5,
  SIZE_LF: 6,
  DATA: 7,
  DATA_CR: 8,
  DATA_LF: 9,
  TRAILERS: 10,
} as const;

/** Digits of a size, leading zeros included; 13 of them fill a double's integers. */
const MAX_SIZE_DIGITS = 16;
/** CR LF 0 CR LF CR LF: what follows the data of a body's last chunk. */
const CLOSING_BYTES = 7;

/** Where the decoder notes what its caller may need to know during and after a call. */
export interface DecoderNotes {
  /** Why `read` answered FAULTY. */
  fault: number;
  /** While the sink is called: the index after the last byte that belongs to the message so far. */
  position: number;
}

/** Decodes one message after another; owned by one connection. */
export class ChunkedDecoder {
  private readonly notes: DecoderNotes;
  private readonly parser: HeadParser;
  private readonly sink: ChunkSink;
  private state: number = State.SIZE;
  private size = 0;
  private digits = 0;
  private part = 0;
  private extensionBytes = 0;
  private total = 0;
  private trailer: Buffer | null = null;
  private trailerBytes = 0;
  private scanned = 0;
  private scannedLine = 0;
  private scannedLines = 0;

  constructor(parser: HeadParser, sink: ChunkSink, notes: DecoderNotes) {
    this.parser = parser;
    this.sink = sink;
    this.notes = notes;
  }

  /** Prepares for the next message. */
  begin(): void {
    this.state = State.SIZE;
    this.size = 0;
    this.digits = 0;
    this.extensionBytes = 0;
    this.total = 0;
  }

  /**
   * Decodes buffer[at, end). Returns the index after the last byte read, which is before `end` only when the message
   * has ended there or the sink said stop; or FAULTY.
   */
  read(buffer: Buffer, at: number, end: number): number {
    while (at < end) {
      switch (this.state) {
        case State.DATA: {
          const take = Math.min(end - at, this.size);
          this.size -= take;
          const to = at + take;
          if (this.size === 0) {
            if (closesAt(buffer, to, end)) {
              this.state = State.SIZE;
              this.notes.position = to + CLOSING_BYTES;
              this.sink.bodyBytes(buffer, at, to, true);
              return to + CLOSING_BYTES;
            }
            this.state = State.DATA_CR;
          }
          this.notes.position = to;
          if (!this.sink.bodyBytes(buffer, at, to, false)) return to;
          at = to;
          break;
        }
        case State.TRAILERS: {
          at = this.readTrailers(buffer, at, end);
          if (at < 0 || this.state !== State.TRAILERS) return at;
          break;
        }
        default: {
          const fault = this.step(buffer[at]!);
          if (fault !== Fault.NONE) {
            this.notes.fault = fault;
            return FAULTY;
          }
          at++;
        }
      }
    }
    return at;
  }

  /** Takes one octet of anything but data and trailers. */
  private step(c: number): number {
    switch (this.state) {
      case State.SIZE:
        return this.sizeOctet(c);
      case State.SIZE_LF:
        if (c !== LF) return Fault.BARE_CR;
        this.digits = 0;
        this.state = this.size > 0 ? State.DATA : State.TRAILERS;
        this.trailerBytes = 0;
        return Fault.NONE;
      case State.DATA_CR:
        this.state = State.DATA_LF;
        return c === CR ? Fault.NONE : Fault.BAD_CHUNK_END;
      case State.DATA_LF:
        this.state = State.SIZE;
        return c === LF ? Fault.NONE : Fault.BAD_CHUNK_END;
      default:
        return this.extensionOctet(c);
    }
  }

  private sizeOctet(c: number): number {
    const digit = HEX_VALUE[c]!;
    if (digit !== 255) {
      if (++this.digits > MAX_SIZE_DIGITS) return Fault.BAD_CHUNK_SIZE;
      this.size = this.size * 16 + digit;
      return this.size > Number.MAX_SAFE_INTEGER ? Fault.BAD_CHUNK_SIZE : Fault.NONE;
    }
    if (this.digits === 0) return Fault.BAD_CHUNK_SIZE;
    this.total += this.size;
    if (this.total > this.parser.limits.maxBodyBytes) return Fault.BODY_TOO_LARGE;
    this.part = 0;
    if (c === CR) this.state = State.SIZE_LF;
    else if (c === SEMICOLON) this.state = State.EXTENSION_NAME;
    else return Fault.BAD_CHUNK_SIZE;
    return Fault.NONE;
  }

  /** `;name`, `;name=token` and `;name="quoted"`, without spaces (RFC 9112, section 7.1.1). */
  private extensionOctet(c: number): number {
    if (++this.extensionBytes > this.parser.limits.maxChunkExtensionBytes) return Fault.CHUNK_EXTENSIONS_TOO_LARGE;
    switch (this.state) {
      case State.EXTENSION_QUOTED:
        if (c === QUOTE) this.state = State.EXTENSION_CLOSED;
        else if (c === BACKSLASH) this.state = State.EXTENSION_ESCAPED;
        else if (VALUE_OCTET[c] === 0) return Fault.BAD_CHUNK_EXTENSION;
        return Fault.NONE;
      case State.EXTENSION_ESCAPED:
        this.state = State.EXTENSION_QUOTED;
        return VALUE_OCTET[c] === 1 ? Fault.NONE : Fault.BAD_CHUNK_EXTENSION;
      case State.EXTENSION_CLOSED:
        return this.extensionEnds(c);
    }
    if (TOKEN_LOWER[c] !== 0) {
      this.part++;
      return Fault.NONE;
    }
    if (this.state === State.EXTENSION_VALUE && this.part === 0 && c === QUOTE) {
      this.state = State.EXTENSION_QUOTED;
      return Fault.NONE;
    }
    if (this.part === 0) return Fault.BAD_CHUNK_EXTENSION;
    if (this.state === State.EXTENSION_NAME && c === EQUALS) {
      this.state = State.EXTENSION_VALUE;
      this.part = 0;
      return Fault.NONE;
    }
    return this.extensionEnds(c);
  }

  private extensionEnds(c: number): number {
    this.part = 0;
    if (c === CR) this.state = State.SIZE_LF;
    else if (c === SEMICOLON) this.state = State.EXTENSION_NAME;
    else return Fault.BAD_CHUNK_EXTENSION;
    return Fault.NONE;
  }

  /** Gathers the trailer section, which is rare and small, then hands it out. */
  private readTrailers(buffer: Buffer, at: number, end: number): number {
    const before = this.trailerBytes;
    this.keepTrailer(buffer, at, end);
    const trailer = this.trailer!;
    const length = this.trailerBytes;
    if (trailer[0] === CR && length === 1) return end;
    if (trailer[0] === CR && trailer[1] === LF) return this.finish(at + 2 - before, null);
    const { parser } = this;
    if (before <= 1) {
      this.scanned = 0;
      this.scannedLine = 0;
      this.scannedLines = 0;
    }
    let stop = parser.scan(trailer, 0, length, this.scanned, this.scannedLine, this.scannedLines);
    if (stop === INCOMPLETE) {
      this.scanned = parser.scanned;
      this.scannedLine = parser.scannedLine;
      this.scannedLines = parser.scannedLines;
      return end;
    }
    // A continued scan knows only its own lines.
    if (stop !== FAULTY && before > 0) stop = parser.scan(trailer, 0, length);
    const list = stop === FAULTY ? null : parser.parseTrailers(trailer, 0);
    if (list === null) {
      this.notes.fault = parser.fault === Fault.TARGET_TOO_LONG ? Fault.FIELD_TOO_LONG : parser.fault;
      return FAULTY;
    }
    return this.finish(at + stop - before, list);
  }

  private finish(position: number, trailers: HeaderList | null): number {
    this.state = State.SIZE;
    this.notes.position = position;
    this.trailer = null;
    this.sink.bodyEnd(trailers);
    return position;
  }

  private keepTrailer(buffer: Buffer, at: number, end: number): void {
    const needed = this.trailerBytes + (end - at);
    if (this.trailer === null || this.trailer.length < needed) {
      const larger = Buffer.allocUnsafe(Math.max(256, needed * 2));
      if (this.trailer !== null) this.trailer.copy(larger, 0, 0, this.trailerBytes);
      this.trailer = larger;
    }
    buffer.copy(this.trailer, this.trailerBytes, at, end);
    this.trailerBytes = needed;
  }
}

function closesAt(buffer: Buffer, at: number, end: number): boolean {
  return (
    end - at >= CLOSING_BYTES &&
    buffer[at] === CR &&
    buffer[at + 1] === LF &&
    buffer[at + 2] === 0x30 &&
    buffer[at + 3] === CR &&
    buffer[at + 4] === LF &&
    buffer[at + 5] === CR &&
    buffer[at + 6] === LF
  );
}
