// Owns the ways a header block can be wrong. Every one of them is a connection error of type COMPRESSION_ERROR
// (RFC 9113 section 4.3): once thrown, the two tables are out of step and the connection is finished.

const MESSAGES = {
  hpack_truncated: 'header block ends inside a field',
  hpack_integer_overflow: 'integer exceeds 31 bits or five continuation octets',
  hpack_index_zero: 'indexed field with index 0',
  hpack_index_out_of_range: 'index beyond the static and dynamic tables',
  hpack_string_overrun: 'string literal is longer than the rest of its block',
  hpack_huffman_eos: 'Huffman string contains the EOS symbol',
  hpack_huffman_padding: 'Huffman string is not padded with fewer than eight one bits',
  hpack_table_update_too_large: 'dynamic table size update exceeds the acknowledged maximum',
  hpack_table_update_late: 'dynamic table size update after the first field',
  hpack_table_update_missing: 'the table maximum was lowered and the next block did not acknowledge it',
  hpack_decoder_failed: 'an earlier block of this connection could not be decoded',
} as const;

export type HpackErrorCode = keyof typeof MESSAGES;

/** A header block that cannot be decoded. `code` is stable and safe for logs; no octets of the block are quoted. */
export class HpackError extends Error {
  readonly code: HpackErrorCode;

  constructor(code: HpackErrorCode) {
    super(`${code}: ${MESSAGES[code]}`);
    this.name = 'HpackError';
    this.code = code;
  }
}
