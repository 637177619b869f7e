/**
 * Heads and trailer sections: finding where one ends, and what it says. One parser serves all connections of a thread
 * that share limits, since it keeps nothing of a message between calls but what it remembers of repeated octets.
 *
 * Two steps, so that bytes may come as they like: `scan` looks only at line ends, can be continued, and refuses at once
 * what no later byte could mend (a bare CR or LF, a control character, a fold, a line or section beyond its bound);
 * `parseHead` then reads the whole section, line by line out of the caches of known lines.
 */
import { HeaderList } from '../http2/header-list.ts';
import { SPACE, TAB } from './characters.ts';
import { Fault } from './faults.ts';
import { FieldKind, type FieldLine, FieldLineParser } from './field-line.ts';
import { FramingFields } from './framing-fields.ts';
import type { Http1Limits } from './limits.ts';
import { hashLine, LineCache } from './line-cache.ts';
import { Framing, ParsedHead } from './parsed-head.ts';
import { parseRequestLine, parseStatusLine, type RequestLine, type StatusLine } from './start-line.ts';

/** `scan`'s answers below zero. */
export const INCOMPLETE = -1;
export const FAULTY = -2;

/** Heads longer than this are not remembered. */
const CACHED_HEAD_BYTES = 2048;
const CACHED_HEADS = 256;
const CACHED_FIELDS = 1024;
const CACHED_START_LINES = 256;

export class HeadParser {
  readonly limits: Http1Limits;
  /** Value of `:scheme` for requests that do not name one. */
  readonly scheme: string;
  /** Why the last `scan` or parse failed: one of `Fault`. */
  fault: number = Fault.NONE;
  /** Heads answered from memory, whole. */
  cacheHits = 0;
  /** Where an incomplete scan goes on, relative to the section's start. */
  scanned = 0;
  scannedLine = 0;
  scannedLines = 0;
  /** Ends of the lines of the section scanned last, relative to its start. */
  private readonly lineEnds: Int32Array;
  private readonly hashes: Int32Array;
  private lineCount = 0;
  private readonly framing = new FramingFields();
  private readonly fieldParser = new FieldLineParser();
  private readonly fields = new LineCache<FieldLine>(CACHED_FIELDS);
  private readonly requestLines = new LineCache<RequestLine>(CACHED_START_LINES);
  private readonly statusLines = new LineCache<StatusLine>(CACHED_START_LINES);
  private readonly requests = new HeadCache(CACHED_HEADS);
  private readonly responses = new HeadCache(CACHED_HEADS);

  constructor(limits: Http1Limits, scheme: 'http' | 'https' = 'http') {
    this.limits = limits;
    this.scheme = scheme;
    this.lineEnds = new Int32Array(limits.maxFields + 1);
    this.hashes = new Int32Array(limits.maxFields + 1);
  }

  /**
   * Looks for the end of the section that begins at `start`: the index after its empty line, `INCOMPLETE` (with
   * `scanned`, `scannedLine` and `scannedLines` to be handed back when more has come), or `FAULTY`. The section must
   * have at least one line: callers deal with leading empty lines.
   */
  scan(buffer: Buffer, start: number, end: number, from = 0, line = 0, lines = 0): number {
    const { lineEnds } = this;
    let lineAt = start + line;
    let at = start + from;
    for (;;) {
      // Most octets are neither a line end nor a fault: a loop of their own keeps them cheap.
      let c = 0;
      for (; at < end; at++) {
        c = buffer[at]!;
        if (c < 0x20 && c !== 0x09) break;
      }
      if (at === end) break;
      if (c !== 0x0d) return this.refuse(c === 0x0a ? Fault.BARE_LF : Fault.CONTROL_CHARACTER);
      if (at + 1 === end) break;
      if (buffer[at + 1] !== 0x0a) return this.refuse(Fault.BARE_CR);
      if (at === lineAt) {
        if (lines === 0) return this.refuse(Fault.BAD_REQUEST_LINE);
        if (at + 2 - start > this.limits.maxHeadBytes) return this.refuse(Fault.HEAD_TOO_LARGE);
        this.lineCount = lines;
        return at + 2;
      }
      if (!this.lineAllowed(buffer, lineAt, at, lines)) return FAULTY;
      lineEnds[lines++] = at - start;
      at += 2;
      lineAt = at;
    }
    // What is there of the last line is judged too, so that a line without end stops at its bound.
    if (lineAt < at && !this.lineAllowed(buffer, lineAt, at, lines)) return FAULTY;
    if (end - start > this.limits.maxHeadBytes) return this.refuse(Fault.HEAD_TOO_LARGE);
    this.scanned = at - start;
    this.scannedLine = lineAt - start;
    this.scannedLines = lines;
    return INCOMPLETE;
  }

  /** Reads a request head that `scan` has just found whole at [start, end); null with `fault` set when malformed. */
  parseRequest(buffer: Buffer, start: number, end: number): ParsedHead | null {
    const hash = this.hashLines(buffer, start);
    const known = this.requests.find(buffer, start, end, hash);
    if (known !== null) {
      this.cacheHits++;
      return known;
    }
    const line = this.requestLine(buffer, start);
    if (line === null) return null;
    const names = [':method', ':path', ':authority', ':scheme'];
    const values = [line.method, line.path, '', line.scheme.length > 0 ? line.scheme : this.scheme];
    const { framing } = this;
    framing.reset();
    if (!this.readFields(buffer, start, 1, names, values, true)) return null;
    const fault = framing.judgeRequest(line, this.limits.maxBodyBytes);
    if (fault !== Fault.NONE) {
      this.fault = fault;
      return null;
    }
    const authority = line.authority.length > 0 ? line.authority : framing.host;
    values[2] = authority;
    dropAbsentPseudos(names, values, authority.length === 0, line.path.length === 0);
    const head = new ParsedHead(
      new HeaderList(names, values),
      line.methodCode,
      0,
      line.minor,
      framing.chunked ? Framing.CHUNKED : framing.contentLength >= 0 ? Framing.LENGTH : Framing.NONE,
      framing.contentLength,
      framing.persistent(line.minor),
      framing.expectsContinue && line.minor === 1,
      framing.wantsUpgrade && line.minor === 1,
    );
    this.requests.offer(buffer, start, end, hash, head);
    return head;
  }

  /** Reads a response head that `scan` has just found whole; null with `fault` set when malformed. */
  parseResponse(buffer: Buffer, start: number, end: number): ParsedHead | null {
    const hash = this.hashLines(buffer, start);
    const known = this.responses.find(buffer, start, end, hash);
    if (known !== null) {
      this.cacheHits++;
      return known;
    }
    const line = this.statusLine(buffer, start);
    if (line === null) return null;
    const names = [':status'];
    const values = [line.statusText];
    const { framing } = this;
    framing.reset();
    if (!this.readFields(buffer, start, 1, names, values, false)) return null;
    const fault = framing.judgeResponse(line, this.limits.maxBodyBytes);
    if (fault !== Fault.NONE) {
      this.fault = fault;
      return null;
    }
    const head = new ParsedHead(
      new HeaderList(names, values),
      0,
      line.status,
      line.minor,
      framing.chunked ? Framing.CHUNKED : framing.contentLength >= 0 ? Framing.LENGTH : Framing.UNTIL_CLOSE,
      framing.contentLength,
      framing.persistent(line.minor),
      false,
      framing.wantsUpgrade,
    );
    this.responses.offer(buffer, start, end, hash, head);
    return head;
  }

  /** Reads a trailer section that `scan` has just found whole; null when a field may not be a trailer. */
  parseTrailers(buffer: Buffer, start: number): HeaderList | null {
    const names: string[] = [];
    const values: string[] = [];
    let from = start;
    for (let i = 0; i < this.lineCount; i++) {
      const to = start + this.lineEnds[i]!;
      const field = this.field(buffer, from, to, hashLine(buffer, from, to));
      if (field === null) return null;
      // Framing, routing and connection fields may not come late (RFC 9110, section 6.5.1).
      if (field.kind !== FieldKind.PLAIN) {
        this.fault = Fault.BAD_TRAILER;
        return null;
      }
      names.push(field.name);
      values.push(field.value);
      from = to + 2;
    }
    return new HeaderList(names, values);
  }

  private refuse(fault: number): number {
    this.fault = fault;
    return FAULTY;
  }

  private lineAllowed(buffer: Buffer, lineAt: number, at: number, lines: number): boolean {
    const { limits } = this;
    const first = buffer[lineAt]!;
    if (first === SPACE || first === TAB) this.fault = lines === 0 ? Fault.BAD_REQUEST_LINE : Fault.OBSOLETE_FOLD;
    else if (lines === 0) {
      if (at - lineAt <= limits.maxStartLineBytes) return true;
      this.fault = Fault.TARGET_TOO_LONG;
    } else if (at - lineAt > limits.maxFieldLineBytes) this.fault = Fault.FIELD_TOO_LONG;
    else if (lines > limits.maxFields) this.fault = Fault.TOO_MANY_FIELDS;
    else return true;
    return false;
  }

  /** Hashes every line of the scanned section and all of them together. */
  private hashLines(buffer: Buffer, start: number): number {
    const { hashes, lineEnds, lineCount } = this;
    let from = start;
    let all = lineCount;
    for (let i = 0; i < lineCount; i++) {
      const to = start + lineEnds[i]!;
      const hash = hashLine(buffer, from, to);
      hashes[i] = hash;
      all = Math.imul(all ^ hash, 0x9e3779b1);
      all ^= all >>> 15;
      from = to + 2;
    }
    return all;
  }

  private requestLine(buffer: Buffer, start: number): RequestLine | null {
    const end = start + this.lineEnds[0]!;
    const hash = this.hashes[0]!;
    const known = this.requestLines.find(buffer, start, end, hash);
    if (known !== null) return known;
    const line = parseRequestLine(buffer, start, end);
    if (typeof line === 'number') {
      this.fault = line;
      return null;
    }
    if (this.requestLines.admits(start, end, hash)) this.requestLines.record(buffer, start, end, hash, line);
    return line;
  }

  private statusLine(buffer: Buffer, start: number): StatusLine | null {
    const end = start + this.lineEnds[0]!;
    const hash = this.hashes[0]!;
    const known = this.statusLines.find(buffer, start, end, hash);
    if (known !== null) return known;
    const line = parseStatusLine(buffer, start, end);
    if (typeof line === 'number') {
      this.fault = line;
      return null;
    }
    if (this.statusLines.admits(start, end, hash)) this.statusLines.record(buffer, start, end, hash, line);
    return line;
  }

  private readFields(
    buffer: Buffer,
    start: number,
    firstLine: number,
    names: string[],
    values: string[],
    request: boolean,
  ): boolean {
    let from = start + this.lineEnds[firstLine - 1]! + 2;
    for (let i = firstLine; i < this.lineCount; i++) {
      const to = start + this.lineEnds[i]!;
      const field = this.field(buffer, from, to, this.hashes[i]!);
      if (field === null) return false;
      if (field.kind !== FieldKind.PLAIN) this.framing.note(field);
      // The host field is the authority, under the name that HTTP/2 gives it.
      if (field.kind !== FieldKind.HOST || !request) {
        names.push(field.name);
        values.push(field.value);
      }
      from = to + 2;
    }
    return true;
  }

  private field(buffer: Buffer, start: number, end: number, hash: number): FieldLine | null {
    const known = this.fields.find(buffer, start, end, hash);
    if (known !== null) return known;
    const field = this.fieldParser.parse(buffer, start, end);
    if (typeof field === 'number') {
      this.fault = field;
      return null;
    }
    if (this.fields.admits(start, end, hash)) this.fields.record(buffer, start, end, hash, field);
    return field;
  }
}

/** CONNECT has no path and no scheme; HTTP/1.0 may have no authority. */
function dropAbsentPseudos(names: string[], values: string[], noAuthority: boolean, noPath: boolean): void {
  if (noPath) {
    names.splice(3, 1);
    values.splice(3, 1);
  }
  if (noAuthority) {
    names.splice(2, 1);
    values.splice(2, 1);
  }
  if (noPath) {
    names.splice(1, 1);
    values.splice(1, 1);
  }
}

/** Heads seen lately, direct-mapped; one must come twice to displace another. */
class HeadCache {
  private readonly slots: (ParsedHead | null)[];
  private readonly hashes: Int32Array;
  private readonly challengers: Int32Array;
  private readonly mask: number;

  constructor(slots: number) {
    this.slots = new Array<ParsedHead | null>(slots).fill(null);
    this.hashes = new Int32Array(slots);
    this.challengers = new Int32Array(slots);
    this.mask = slots - 1;
  }

  find(buffer: Buffer, start: number, end: number, hash: number): ParsedHead | null {
    const slot = hash & this.mask;
    const head = this.slots[slot]!;
    if (head === null || this.hashes[slot] !== hash || head.bytes!.length !== end - start) return null;
    return head.matches(buffer, start, end) ? head : null;
  }

  offer(buffer: Buffer, start: number, end: number, hash: number, head: ParsedHead): void {
    if (end - start > CACHED_HEAD_BYTES) return;
    const slot = hash & this.mask;
    if (this.slots[slot] !== null && this.challengers[slot] !== hash) {
      this.challengers[slot] = hash;
      return;
    }
    head.bytes = Uint8Array.prototype.slice.call(buffer, start, end);
    this.slots[slot] = head;
    this.hashes[slot] = hash;
  }
}
