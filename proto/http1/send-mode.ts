/** The framing of a message we send, decided when its head is written. */

/** How the message we send is delimited. */
export const SendMode = {
  /** Nothing may be sent yet. */
  UNDECIDED: 0,
  LENGTH: 1,
  CHUNKED: 2,
  /** The connection's end is the body's end: answers to HTTP/1.0. */
  UNTIL_CLOSE: 3,
  /** Bytes are dropped: the message has no body (HEAD, 204, 304). */
  DROPPED: 4,
} as const;
