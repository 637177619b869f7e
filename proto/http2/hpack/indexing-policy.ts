// Owns the decision whether a field is worth a place in the dynamic table. A place pays only if the same value comes
// again before it is evicted, and every insertion also shifts the positions that remembered encodings rely on.
//
// Known names are decided by a list. Any other name may insert its first values freely; one that keeps changing must
// then show a value twice, and may insert only once in so many encodings, so a name can never make the table churn.

/** Send the field as a literal and add it to both tables. */
export const INDEX = 0;
/** Send the field as a literal only. */
export const LITERAL = 1;
/** Send the field as a literal that no hop may index. */
export const NEVER = 2;

/** Values a name may insert before it must prove itself. */
const FREE_INSERTIONS = 8;
/** Encodings of a changing name between two insertions. */
const SKIPS_BETWEEN_INSERTIONS = 64;
/** Names judged at a time; when more come, all are forgotten and begin anew. */
const MAX_NAMES = 128;
/** Recent fields remembered, by hash, to recognise a value that repeats. */
const RECENT_FIELDS = 256;

// Credentials are never indexed: one upstream connection carries many callers, and a shared table would let one of
// them learn another's secret by guessing and watching sizes (RFC 7541 section 7.1).
const CREDENTIALS = ['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-api-key'];

// Names whose values are new on nearly every message.
const CHANGING = [
  ...['grpc-timeout', 'grpc-message', 'grpc-status-details-bin', 'grpc-trace-bin', 'grpc-tags-bin'],
  ...['x-request-id', 'x-correlation-id', 'idempotency-key', 'traceparent', 'tracestate', 'baggage', 'b3'],
  ...['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'uber-trace-id', 'x-cloud-trace-context', 'x-amzn-trace-id'],
  ...['x-datadog-trace-id', 'x-datadog-parent-id', 'x-envoy-upstream-service-time', 'x-envoy-expected-rq-timeout-ms'],
  ...['content-length', 'content-range', 'range', 'date', 'age', 'etag', 'expires', 'last-modified', 'location'],
  ...['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range', 'server-timing'],
];

const KNOWN: ReadonlyMap<string, number> = new Map([
  ...CREDENTIALS.map((name): [string, number] => [name, NEVER]),
  ...CHANGING.map((name): [string, number] => [name, LITERAL]),
]);

class NameHistory {
  insertions = 0;
  skips = 0;
}

/** Decides for one encoder. Deterministic: the same fields in the same order give the same verdicts. */
export class IndexingPolicy {
  private readonly histories = new Map<string, NameHistory>();
  private readonly recent = new Int32Array(RECENT_FIELDS);

  /** The verdict for a field that no table holds. `maxTableSize` is the dynamic table's bound in bytes. */
  decide(name: string, value: string, maxTableSize: number): number {
    const known = KNOWN.get(name);
    if (known !== undefined) return known;
    // One field shall not sweep out most others.
    if ((name.length + value.length + 32) * 2 > maxTableSize) return LITERAL;
    let history = this.histories.get(name);
    if (history === undefined) {
      if (this.histories.size >= MAX_NAMES) this.histories.clear();
      history = new NameHistory();
      this.histories.set(name, history);
    }
    if (history.insertions >= FREE_INSERTIONS && !this.hasProven(history, name, value)) return LITERAL;
    history.insertions++;
    history.skips = 0;
    return INDEX;
  }

  private hasProven(history: NameHistory, name: string, value: string): boolean {
    const hash = hashField(name, value);
    const slot = hash & (RECENT_FIELDS - 1);
    const repeats = this.recent[slot] === hash;
    this.recent[slot] = hash;
    history.skips++;
    return repeats && history.skips > SKIPS_BETWEEN_INSERTIONS;
  }
}

function hashField(name: string, value: string): number {
  let hash = name.length;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  for (let i = 0; i < value.length; i++) hash = Math.imul(hash ^ value.charCodeAt(i), 0x01000193);
  return hash ^ (hash >>> 15);
}
