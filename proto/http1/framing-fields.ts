/**
 * What the fields of one head say together about framing, host and connection (RFC 9112, section 3.2, 6 and 9.3). Every
 * contradiction is a fault: two readers that resolve one differently are how requests are smuggled.
 */
import { Fault } from './faults.ts';
import { FieldKind, type FieldLine } from './field-line.ts';
import { Method } from './methods.ts';
import { isAuthority, type RequestLine, type StatusLine } from './start-line.ts';

/** Digits of a content-length that a double holds exactly. */
const MAX_LENGTH_DIGITS = 15;

/** Options of the connection field, as bits. */
const CLOSE = 1;
const KEEP_ALIVE = 2;
const UPGRADE = 4;

/** Collects the fields of one head at a time; reused for every head. */
export class FramingFields {
  host = '';
  /** -1 when not declared. */
  contentLength = -1;
  chunked = false;
  expectsContinue = false;
  private fault: number = Fault.NONE;
  private hosts = 0;
  private lengths = 0;
  private codings = 0;
  private options = 0;
  private upgradeNamed = false;
  private badExpectation = false;

  reset(): void {
    this.host = '';
    this.contentLength = -1;
    this.chunked = false;
    this.expectsContinue = false;
    this.fault = Fault.NONE;
    this.hosts = 0;
    this.lengths = 0;
    this.codings = 0;
    this.options = 0;
    this.upgradeNamed = false;
    this.badExpectation = false;
  }

  /** Takes note of a field that is not plain. */
  note(field: FieldLine): void {
    switch (field.kind) {
      case FieldKind.HOST:
        this.hosts++;
        this.host = field.value;
        return;
      case FieldKind.CONTENT_LENGTH:
        this.lengths++;
        this.noteLength(field.value);
        return;
      case FieldKind.TRANSFER_ENCODING:
        this.codings++;
        this.noteCoding(field.value);
        return;
      case FieldKind.CONNECTION:
        this.options |= connectionOptions(field.value);
        return;
      case FieldKind.EXPECT:
        if (equalsIgnoringCase(field.value, '100-continue')) this.expectsContinue = true;
        else this.badExpectation = true;
        return;
      case FieldKind.UPGRADE:
        this.upgradeNamed = field.value.length > 0;
        return;
      default:
    }
  }

  /** Whether the sender keeps the connection (RFC 9112, section 9.3). */
  persistent(minor: number): boolean {
    if ((this.options & CLOSE) !== 0) return false;
    return minor === 1 || (this.options & KEEP_ALIVE) !== 0;
  }

  get wantsUpgrade(): boolean {
    return this.upgradeNamed && (this.options & UPGRADE) !== 0;
  }

  /** The fault of a request with these fields, or `Fault.NONE`. */
  judgeRequest(line: RequestLine, maxBodyBytes: number): number {
    const framing = this.judgeFraming(line.minor, maxBodyBytes);
    if (framing !== Fault.NONE) return framing;
    if (this.hosts > 1) return Fault.DUPLICATE_HOST;
    if (this.hosts === 0 && line.minor === 1) return Fault.MISSING_HOST;
    if (this.host.length > 0 && !isAuthority(this.host)) return Fault.BAD_HOST;
    if (line.methodCode === Method.CONNECT && (this.chunked || this.contentLength > 0)) return Fault.BODY_NOT_ALLOWED;
    if (this.badExpectation && line.minor === 1) return Fault.UNKNOWN_EXPECTATION;
    return Fault.NONE;
  }

  /** The fault of a response with these fields, or `Fault.NONE`. */
  judgeResponse(line: StatusLine, maxBodyBytes: number): number {
    const framing = this.judgeFraming(line.minor, maxBodyBytes);
    if (framing !== Fault.NONE) return framing;
    // A coding on an answer that cannot have a body is a sign of two readers at odds (RFC 9112, section 6.1).
    if (this.chunked && (line.status < 200 || line.status === 204)) return Fault.BODY_NOT_ALLOWED;
    return Fault.NONE;
  }

  private judgeFraming(minor: number, maxBodyBytes: number): number {
    if (this.lengths > 1) return Fault.DUPLICATE_CONTENT_LENGTH;
    if (this.codings > 0 && this.lengths > 0) return Fault.LENGTH_AND_CODING;
    if (this.codings > 1) return Fault.DUPLICATE_CODING;
    if (this.fault !== Fault.NONE) return this.fault;
    if (this.codings > 0 && minor === 0) return Fault.CODING_IN_1_0;
    if (this.contentLength > maxBodyBytes) return Fault.BODY_TOO_LARGE;
    return Fault.NONE;
  }

  private noteLength(value: string): void {
    const length = parseContentLength(value);
    if (length === -1) this.fault = Fault.BAD_CONTENT_LENGTH;
    else if (length === Number.POSITIVE_INFINITY) this.fault = Fault.BODY_TOO_LARGE;
    else this.contentLength = length;
  }

  private noteCoding(value: string): void {
    if (equalsIgnoringCase(value, 'chunked')) this.chunked = true;
    else this.fault = isCodingName(value) ? Fault.UNSUPPORTED_CODING : Fault.BAD_CODING;
  }
}

/** The number in a content-length: -1 when it is anything but digits, Infinity when it has more than 15 of them. */
export function parseContentLength(value: string): number {
  const { length } = value;
  if (length === 0) return -1;
  let number = 0;
  for (let i = 0; i < length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return length > MAX_LENGTH_DIGITS ? Number.POSITIVE_INFINITY : number;
}

/** Whether the value is a coding that exists and that we do not speak, alone or before a final `chunked`. */
function isCodingName(value: string): boolean {
  const lower = value.toLowerCase();
  const comma = lower.indexOf(',');
  const first = comma < 0 ? lower : lower.slice(0, comma).trim();
  if (comma >= 0 && lower.slice(comma + 1).trim() !== 'chunked') return false;
  return (
    first === 'gzip' || first === 'x-gzip' || first === 'deflate' || first === 'compress' || first === 'x-compress'
  );
}

/** The options we know among a connection field's, as bits. */
function connectionOptions(value: string): number {
  if (equalsIgnoringCase(value, 'keep-alive')) return KEEP_ALIVE;
  if (equalsIgnoringCase(value, 'close')) return CLOSE;
  let options = 0;
  for (const option of value.toLowerCase().split(',')) {
    const name = option.trim();
    if (name === 'close') options |= CLOSE;
    else if (name === 'keep-alive') options |= KEEP_ALIVE;
    else if (name === 'upgrade') options |= UPGRADE;
  }
  return options;
}

/** `lower` is lower-case ASCII. */
export function equalsIgnoringCase(text: string, lower: string): boolean {
  if (text.length !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    let c = text.charCodeAt(i);
    if (c >= 0x41 && c <= 0x5a) c |= 0x20;
    if (c !== lower.charCodeAt(i)) return false;
  }
  return true;
}
