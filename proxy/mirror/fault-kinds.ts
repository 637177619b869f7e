/** What can be wrong with an answer, as bits: an answer, or a row of it, has a set of faults. */

/** In the order of their bits; the names appear in the admin API. */
export const FAULT_KINDS = [
  'nan',
  'inf',
  'missing_output',
  'dtype',
  'shape',
  'malformed',
  'too_large',
  'no_message',
  'range',
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

export const Fault = {
  NONE: 0,
  /** A float output holds NaN, or an infinity. */
  NAN: 1 << 0,
  INF: 1 << 1,
  /** An output of the primary's answer is not in the shadow's. */
  MISSING_OUTPUT: 1 << 2,
  /** An output has another element type, or other dimensions, than the primary's. */
  DTYPE: 1 << 3,
  SHAPE: 1 << 4,
  /** Not a gRPC message with a PredictResponse in it, or a tensor that contradicts itself. */
  MALFORMED: 1 << 5,
  /** More bytes or elements than are compared. */
  TOO_LARGE: 1 << 6,
  /** Status OK, but no message: none was sent, or it was too large to be kept. */
  NO_MESSAGE: 1 << 7,
  /** An output is outside the range its model declares. */
  RANGE: 1 << 8,
} as const;
