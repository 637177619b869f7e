/** How TLS handshakes end, as they are counted: one slot each, in both directions. */

export const TlsResult = {
  /** Both sides were satisfied. */
  OK: 0,
  /** The peer did not finish in time. */
  TIMED_OUT: 1,
  /** The peer's certificate leads to no authority we trust. */
  UNTRUSTED: 2,
  /** The peer's certificate is not valid now. */
  EXPIRED: 3,
  /** The peer's certificate is trusted, but names somebody else. */
  WRONG_NAME: 4,
  /** The peer showed no certificate where one is required. */
  NO_CERTIFICATE: 5,
  /** No common version or cipher, no common application protocol, an alert of the peer, bytes that are no TLS. */
  PROTOCOL: 6,
  /** The peer went away before the end. */
  CLOSED: 7,
  /** Not begun: too many handshakes were in progress. */
  OVERFLOW: 8,
  /** Not begun: the peer spoke without TLS where TLS is required. */
  PLAIN_REFUSED: 9,
} as const;

export const TLS_RESULT_SLOTS = 10;

const EXPIRED: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);
const UNTRUSTED: ReadonlySet<string> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'CERT_CHAIN_TOO_LONG',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
]);
const CLOSED: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ECONNREFUSED', 'EHOSTUNREACH', 'ETIMEDOUT']);

/** The row of a handshake that ended with `error`; null when the socket just closed. */
export function tlsResultOf(error: Error | null): number {
  if (error === null) return TlsResult.CLOSED;
  const { code = '' } = error as NodeJS.ErrnoException;
  if (error instanceof TlsRefusal) return error.result;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return TlsResult.WRONG_NAME;
  if (EXPIRED.has(code)) return TlsResult.EXPIRED;
  if (UNTRUSTED.has(code)) return TlsResult.UNTRUSTED;
  if (CLOSED.has(code) || code === 'ENOENT') return TlsResult.CLOSED;
  if (error.message.includes('peer did not return a certificate')) return TlsResult.NO_CERTIFICATE;
  return TlsResult.PROTOCOL;
}

/** A handshake that we ended ourselves, and why. */
export class TlsRefusal extends Error {
  readonly result: number;

  constructor(result: number, message: string) {
    super(message);
    this.result = result;
  }
}
