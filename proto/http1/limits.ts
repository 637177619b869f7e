/** What one HTTP/1.1 connection may cost us. Every number has a verdict when it is passed: a status and a close. */

export interface Http1Limits {
  /** Longest request or status line, bytes: 414. */
  readonly maxStartLineBytes: number;
  /** Longest header or trailer line, bytes: 431. */
  readonly maxFieldLineBytes: number;
  /** Largest head or trailer section, bytes: 431. */
  readonly maxHeadBytes: number;
  /** Most header lines in a section: 431. */
  readonly maxFields: number;
  /** Largest body, bytes, whatever its framing: 413. Bodies are streamed, so this is policy and not memory. */
  readonly maxBodyBytes: number;
  /** Chunk extensions over a whole message, bytes: 400. */
  readonly maxChunkExtensionBytes: number;
  /** Body bytes handed out and not consumed above which reading pauses. At most one read more is handed out. */
  readonly windowBytes: number;
  /** Bytes of pipelined requests kept while an earlier one is answered; at the bound reading pauses. */
  readonly maxPipelinedBytes: number;
  /** Rest of a body read and dropped after its answer, so that the connection can be kept, bytes; more closes it. */
  readonly maxDiscardBytes: number;
  /** Informational answers (1xx) to one request; more end the connection. */
  readonly maxInformational: number;
  /** From a connection's opening, or a request's first byte, to the end of its head, ms: 408. */
  readonly headTimeoutMs: number;
  /** Between requests, ms: FIN. */
  readonly idleTimeoutMs: number;
  /** Without a byte of a body that is wanted, ms: 408. */
  readonly bodyTimeoutMs: number;
  /** Without the peer taking a byte of what waits for it, ms: the connection ends. */
  readonly sendTimeoutMs: number;
  /** After the last answer, for the peer to close, ms. */
  readonly lingerMs: number;
  /** How long a draining connection without a request waits for one that is on its way, ms. */
  readonly drainIdleMs: number;
}

/** Head sizes are those of the HTTP/2 engine, so that what one takes the other takes. */
export const DEFAULT_HTTP1_LIMITS: Http1Limits = {
  maxStartLineBytes: 16 * 1024,
  maxFieldLineBytes: 32 * 1024,
  maxHeadBytes: 64 * 1024,
  maxFields: 256,
  maxBodyBytes: Number.MAX_SAFE_INTEGER,
  maxChunkExtensionBytes: 4096,
  windowBytes: 256 * 1024,
  maxPipelinedBytes: 64 * 1024,
  maxDiscardBytes: 256 * 1024,
  maxInformational: 16,
  headTimeoutMs: 10_000,
  idleTimeoutMs: 75_000,
  bodyTimeoutMs: 60_000,
  sendTimeoutMs: 60_000,
  lingerMs: 2000,
  drainIdleMs: 500,
};
