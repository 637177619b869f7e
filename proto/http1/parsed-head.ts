/** A message head as the parser understood it: the header list that everybody reads, and what framing made of it. */
import type { HeaderList } from '../http2/header-list.ts';

/** How a message's body is delimited, as its head says it; the exchange knows what the request's method changes. */
export const Framing = {
  /** No body: a request that declares none. */
  NONE: 0,
  /** `contentLength` bytes. */
  LENGTH: 1,
  CHUNKED: 2,
  /** A response that declares nothing: until the connection closes. */
  UNTIL_CLOSE: 3,
} as const;

/** Immutable, and shared by all messages with the same octets. */
export class ParsedHead {
  /** Pseudo fields first, as HTTP/2 has them: `:method :path :authority :scheme`, or `:status`. `host` is `:authority`. */
  readonly list: HeaderList;
  /** Of a request; `Method.OTHER` for responses. */
  readonly methodCode: number;
  /** Of a response; 0 for requests. */
  readonly status: number;
  /** 0 or 1: HTTP/1.0 or HTTP/1.1. */
  readonly minor: number;
  /** One of `Framing`. */
  readonly framing: number;
  /** Bytes declared; -1 when none are. */
  readonly contentLength: number;
  /** The sender means to keep the connection. */
  readonly persistent: boolean;
  /** HTTP/1.1 with `expect: 100-continue`. */
  readonly expectsContinue: boolean;
  /** `connection: upgrade` and an `upgrade` field. */
  readonly upgrade: boolean;
  /** The head's octets when it is remembered, else null. */
  bytes: Uint8Array | null = null;

  constructor(
    list: HeaderList,
    methodCode: number,
    status: number,
    minor: number,
    framing: number,
    contentLength: number,
    persistent: boolean,
    expectsContinue: boolean,
    upgrade: boolean,
  ) {
    this.list = list;
    this.methodCode = methodCode;
    this.status = status;
    this.minor = minor;
    this.framing = framing;
    this.contentLength = contentLength;
    this.persistent = persistent;
    this.expectsContinue = expectsContinue;
    this.upgrade = upgrade;
  }

  /** Whether buffer[start, end) begins with exactly this head. Only for heads that are remembered. */
  matches(buffer: Buffer, start: number, end: number): boolean {
    const bytes = this.bytes!;
    const { length } = bytes;
    if (end - start < length) return false;
    // From the end, where a head of another length differs at once.
    for (let i = length - 1; i >= 0; i--) if (bytes[i] !== buffer[start + i]) return false;
    return true;
  }
}
