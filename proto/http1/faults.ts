/**
 * What can be wrong with an HTTP/1.1 message: a number while it is being found, a row here (status, reason) when it is
 * told. Reasons are stable names for counters and logs, texts are for people; neither quotes the peer.
 */

export const Fault = {
  NONE: 0,
  BAD_REQUEST_LINE: 1,
  BAD_METHOD: 2,
  METHOD_TOO_LONG: 3,
  TARGET_TOO_LONG: 4,
  BAD_TARGET: 5,
  BAD_VERSION: 6,
  UNSUPPORTED_VERSION: 7,
  BAD_STATUS_LINE: 8,
  BARE_CR: 9,
  BARE_LF: 10,
  CONTROL_CHARACTER: 11,
  OBSOLETE_FOLD: 12,
  BAD_FIELD_NAME: 13,
  BAD_FIELD_VALUE: 14,
  FIELD_TOO_LONG: 15,
  HEAD_TOO_LARGE: 16,
  TOO_MANY_FIELDS: 17,
  MISSING_HOST: 18,
  DUPLICATE_HOST: 19,
  BAD_HOST: 20,
  BAD_CONTENT_LENGTH: 21,
  DUPLICATE_CONTENT_LENGTH: 22,
  LENGTH_AND_CODING: 23,
  DUPLICATE_CODING: 24,
  BAD_CODING: 25,
  UNSUPPORTED_CODING: 26,
  CODING_IN_1_0: 27,
  BODY_NOT_ALLOWED: 28,
  BODY_TOO_LARGE: 29,
  BAD_CHUNK_SIZE: 30,
  BAD_CHUNK_EXTENSION: 31,
  CHUNK_EXTENSIONS_TOO_LARGE: 32,
  BAD_CHUNK_END: 33,
  BAD_TRAILER: 34,
  UNKNOWN_EXPECTATION: 35,
  HEAD_TIMEOUT: 36,
  BODY_TIMEOUT: 37,
  TRUNCATED: 38,
  UNSOLICITED: 39,
  TOO_MANY_INFORMATIONAL: 40,
  UNEXPECTED_SWITCH: 41,
} as const;

/** Status, stable reason, text; by fault number. For responses the status is meaningless: a gateway answers 502. */
const ROWS: readonly (readonly [number, string, string])[] = [
  [500, 'none', 'no fault'],
  [400, 'bad_request_line', 'malformed request line'],
  [400, 'bad_method', 'the method is not a token'],
  [501, 'method_too_long', 'the method is too long'],
  [414, 'target_too_long', 'the request line is too long'],
  [400, 'bad_target', 'malformed request target'],
  [400, 'bad_version', 'malformed protocol version'],
  [505, 'unsupported_version', 'only HTTP/1.0 and HTTP/1.1 are spoken here'],
  [400, 'bad_status_line', 'malformed status line'],
  [400, 'bare_cr', 'a carriage return without a line feed'],
  [400, 'bare_lf', 'a line feed without a carriage return'],
  [400, 'control_character', 'a control character in the head'],
  [400, 'obsolete_fold', 'a folded header line'],
  [400, 'bad_field_name', 'malformed field name'],
  [400, 'bad_field_value', 'malformed field value'],
  [431, 'field_too_long', 'a header line is too long'],
  [431, 'head_too_large', 'the header section is too large'],
  [431, 'too_many_fields', 'too many header lines'],
  [400, 'missing_host', 'HTTP/1.1 requires a host field'],
  [400, 'duplicate_host', 'more than one host field'],
  [400, 'bad_host', 'malformed host'],
  [400, 'bad_content_length', 'malformed content-length'],
  [400, 'duplicate_content_length', 'more than one content-length'],
  [400, 'length_and_coding', 'both content-length and transfer-encoding'],
  [400, 'duplicate_coding', 'more than one transfer-encoding'],
  [400, 'bad_coding', 'malformed transfer-encoding'],
  [501, 'unsupported_coding', 'chunked is the only transfer coding spoken here'],
  [400, 'coding_in_1_0', 'transfer-encoding in HTTP/1.0'],
  [400, 'body_not_allowed', 'this message may not have a body'],
  [413, 'body_too_large', 'the body is too large'],
  [400, 'bad_chunk_size', 'malformed chunk size'],
  [400, 'bad_chunk_extension', 'malformed chunk extension'],
  [400, 'chunk_extensions_too_large', 'too many bytes of chunk extensions'],
  [400, 'bad_chunk_end', 'a chunk does not end where its size says'],
  [400, 'bad_trailer', 'a field that may not be a trailer'],
  [417, 'unknown_expectation', '100-continue is the only expectation known here'],
  [408, 'head_timeout', 'the request head took too long'],
  [408, 'body_timeout', 'the body stopped coming'],
  [400, 'truncated', 'the message ended early'],
  [400, 'unsolicited', 'bytes that nobody asked for'],
  [400, 'too_many_informational', 'too many informational answers'],
  [400, 'unexpected_switch', 'a switch of protocols that nobody asked for'],
];

/** How many kinds of fault there are; their numbers are below it. */
export const FAULT_KINDS: number = ROWS.length;

export function faultReason(fault: number): string {
  return ROWS[fault]![1];
}

/** A message that broke the rules, as its connection's owner gets to know it. */
export class Http1Error extends Error {
  override readonly name = 'Http1Error';
  readonly code = 'http1_error';
  /** One of `Fault`. */
  readonly fault: number;
  /** HTTP status a server answers with. */
  readonly status: number;
  /** Stable name of the fault: `bare_lf`. */
  readonly reason: string;

  constructor(fault: number) {
    const row = ROWS[fault]!;
    super(row[2]);
    this.fault = fault;
    this.status = row[0];
    this.reason = row[1];
  }
}
