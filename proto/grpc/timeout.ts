/**
 * The `grpc-timeout` header: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
 * What is written never lets the next hop wait longer than what was given, beyond a rounding of one part in 10^4.
 */

const MAX_DIGITS = 8;
const MAX_VALUE = 99999999;

/** Milliseconds meant by a `grpc-timeout` value, NaN where it is malformed. 0 is legal and means: already expired. */
export function parseGrpcTimeoutMs(value: string): number {
  const digits = value.length - 1;
  if (digits < 1 || digits > MAX_DIGITS) return Number.NaN;
  let amount = 0;
  for (let i = 0; i < digits; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    amount = amount * 10 + digit;
  }
  switch (value.charCodeAt(digits)) {
    case 109: // m
      return amount;
    case 83: // S
      return amount * 1000;
    case 117: // u
      return amount / 1000;
    case 110: // n
      return amount / 1000000;
    case 77: // M
      return amount * 60000;
    case 72: // H
      return amount * 3600000;
    default:
      return Number.NaN;
  }
}

/**
 * The header value for `ms` milliseconds: whole milliseconds where that is exact, else the finest unit that fits, rounded
 * down. What is not above zero becomes `1n`, because the protocol has no zero; Infinity is an error of the caller.
 */
export function formatGrpcTimeout(ms: number): string {
  if (!(ms > 0)) return '1n';
  if (ms <= MAX_VALUE && Math.floor(ms) === ms) return `${ms}m`;
  if (ms * 1000 <= MAX_VALUE) {
    const micros = Math.floor(ms * 1000);
    return micros > 0 ? `${micros}u` : `${Math.max(1, Math.floor(ms * 1000000))}n`;
  }
  if (ms <= MAX_VALUE) return `${Math.floor(ms)}m`;
  if (ms <= MAX_VALUE * 1000) return `${Math.floor(ms / 1000)}S`;
  return `${Math.min(MAX_VALUE, Math.floor(ms / 60000))}M`;
}
