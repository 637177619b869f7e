/** What the threads say about the pair store; apart from it, because who only talks about it should not load SQLite. */

export interface PairStoreOptions {
  readonly path: string;
  /** Pairs kept in all, at least 10. */
  readonly maxPairs: number;
  /** Bytes of the file, at least 64 KiB; its log beside it may take a quarter of that for a while. */
  readonly maxBytes: number;
}

/** What became of the pairs that were to be kept. */
export interface StoreCounts {
  /** Pairs in the file now. */
  readonly pairs: number;
  readonly written: number;
  /** Given up, by why; a file found broken when it is opened counts as one. */
  readonly full: number;
  readonly locked: number;
  readonly corrupt: number;
  readonly failed: number;
}

export const NO_STORE_COUNTS: StoreCounts = { pairs: 0, written: 0, full: 0, locked: 0, corrupt: 0, failed: 0 };
