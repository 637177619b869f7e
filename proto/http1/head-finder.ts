/** Where the head that a connection is receiving ends: a scan that goes on as bytes come, and a look at the last head. */
import { FAULTY, type HeadParser, INCOMPLETE } from './head-parser.ts';
import type { ParsedHead } from './parsed-head.ts';

export class HeadFinder {
  /** The head that came last, when it is remembered: most connections repeat themselves. */
  last: ParsedHead | null = null;
  private readonly parser: HeadParser;
  private scanned = 0;
  private line = 0;
  private lines = 0;

  constructor(parser: HeadParser) {
    this.parser = parser;
  }

  /** Whether the head at `at` is the one that came last, whole. */
  repeats(buffer: Buffer, at: number, end: number): boolean {
    const { last } = this;
    if (last === null || !last.matches(buffer, at, end)) return false;
    this.forget();
    return true;
  }

  /** The index after a head that begins at `at` and is whole, which the caller parses next; INCOMPLETE; or FAULTY. */
  find(buffer: Buffer, at: number, end: number): number {
    const { parser } = this;
    const continued = this.scanned > 0;
    const stop = parser.scan(buffer, at, end, this.scanned, this.line, this.lines);
    if (stop === INCOMPLETE) {
      this.scanned = parser.scanned;
      this.line = parser.scannedLine;
      this.lines = parser.scannedLines;
      return INCOMPLETE;
    }
    this.forget();
    // A continued scan knows only its own lines.
    return stop !== FAULTY && continued ? parser.scan(buffer, at, end) : stop;
  }

  private forget(): void {
    this.scanned = 0;
    this.line = 0;
    this.lines = 0;
  }
}
