// Owns the decoded form of an HTTP/2 header section. A list never changes once built, so it may be shared between
// requests, and what others derive from it may be remembered on it.

/** What each field costs beyond its octets when a section is measured (RFC 9113 section 6.5.2, RFC 7541 section 4.1). */
export const FIELD_OVERHEAD_BYTES = 32;

let nextSerial = 0;

/**
 * An immutable decoded header section in wire order. Strings hold one octet per character (latin1). Names are exactly
 * what the peer sent: the HTTP/2 engine refuses upper-case, empty and otherwise malformed ones.
 */
export class HeaderList {
  readonly names: readonly string[];
  readonly values: readonly string[];
  /** True if any field must never enter a dynamic table (RFC 7541 section 6.2.3). */
  readonly sensitive: boolean;
  /** Octets of all names and values plus 32 per field. */
  readonly listSize: number;
  /** Owned by whoever processes this list: route lookups, rewritten lists and the like. Null at the start. */
  memo: unknown;
  /** Owned by the HTTP/2 engine: its verdict on this list, so that a cached list is validated once. 0 is "not looked at". */
  validation: number;
  /** Owned by the HTTP/2 engine: the content-length found when the list was validated; -1 for none. */
  contentLength: number;
  /** Owned by HpackEncoder: the first encoder of this list, its latest encoding, and the table state that belongs to. */
  encodedBy: object | null;
  encodedGeneration: number;
  encodedBytes: Buffer | null;
  /** Numbers the lists of this thread, wrapping at 31 bits: spreads them over direct-mapped tables. */
  readonly serial: number;
  private readonly neverIndexed: readonly boolean[] | null;

  /**
   * Takes ownership of the arrays; they must be equally long and hold latin1 only. `neverIndexed` flags fields by
   * position and may be shorter than the list. `listSize` may be given by a caller that has already summed it.
   */
  constructor(
    names: readonly string[],
    values: readonly string[],
    neverIndexed: readonly boolean[] | null = null,
    listSize = -1,
  ) {
    this.names = names;
    this.values = values;
    this.sensitive = neverIndexed !== null;
    this.listSize = listSize >= 0 ? listSize : measure(names, values);
    this.memo = null;
    this.validation = 0;
    this.contentLength = -1;
    this.encodedBy = null;
    this.encodedGeneration = 0;
    this.encodedBytes = null;
    this.serial = nextSerial = (nextSerial + 1) & 0x7fffffff;
    this.neverIndexed = neverIndexed;
  }

  /** Builds a list of ordinary fields. Throws TypeError if a string holds anything beyond latin1. */
  static of(...pairs: [string, string][]): HeaderList {
    const names: string[] = [];
    const values: string[] = [];
    for (const [name, value] of pairs) {
      requireLatin1(name);
      requireLatin1(value);
      names.push(name);
      values.push(value);
    }
    return new HeaderList(names, values);
  }

  /** How many fields the list has. */
  get length(): number {
    return this.names.length;
  }

  /** Whether field `i` must be sent on as a never-indexed literal (RFC 7541 section 6.2.3). */
  isNeverIndexed(i: number): boolean {
    return this.neverIndexed !== null && this.neverIndexed[i] === true;
  }

  /** The first value of `name` (lower case), or undefined. Linear: lists are short. */
  get(name: string): string | undefined {
    const names = this.names;
    for (let i = 0; i < names.length; i++) {
      if (names[i] === name) return this.values[i];
    }
    return undefined;
  }
}

/**
 * What a decoder answers for a section beyond its limits: an empty, frozen list, to be recognised by identity. The
 * section has been read to its end, so the connection can go on.
 */
export const HEADER_LIST_TOO_LARGE: HeaderList = freeze(new HeaderList([], []));

function freeze(list: HeaderList): HeaderList {
  Object.freeze(list.names);
  Object.freeze(list.values);
  Object.freeze(list);
  return list;
}

function measure(names: readonly string[], values: readonly string[]): number {
  let bytes = names.length * FIELD_OVERHEAD_BYTES;
  for (let i = 0; i < names.length; i++) bytes += names[i]!.length + values[i]!.length;
  return bytes;
}

function requireLatin1(text: string): void {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0xff) throw new TypeError(`header text must be latin1: ${JSON.stringify(text)}`);
  }
}
