/** Names and small rules of gRPC's header fields. All names are lower-case, as HTTP/2 carries them. */

export const GrpcHeader = {
  status: 'grpc-status',
  message: 'grpc-message',
  statusDetails: 'grpc-status-details-bin',
  timeout: 'grpc-timeout',
  encoding: 'grpc-encoding',
  acceptEncoding: 'grpc-accept-encoding',
  /** Retries made before this attempt, as a client that retries says. */
  previousAttempts: 'grpc-previous-rpc-attempts',
  /** Milliseconds until a retry is welcome; a negative number: none is. */
  retryPushback: 'grpc-retry-pushback-ms',
} as const;

export const GRPC_CONTENT_TYPE = 'application/grpc';
/** What gRPC demands of requests in `te`, so that proxies that drop trailers are noticed. */
export const GRPC_TE = 'trailers';

/** Whether a content type is gRPC: `application/grpc`, alone or followed by `+codec` or `;parameters`; never `grpc-web`. */
export function isGrpcContentType(value: string): boolean {
  const length = GRPC_CONTENT_TYPE.length;
  if (value.length < length) return false;
  for (let i = 0; i < length; i++) {
    if ((value.charCodeAt(i) | 0x20) !== (GRPC_CONTENT_TYPE.charCodeAt(i) | 0x20)) return false;
  }
  if (value.length === length) return true;
  const next = value.charCodeAt(length);
  return next === 0x2b || next === 0x3b || next === 0x20;
}

/** Numeric `grpc-status`; -1 where it is no number of one to three digits. */
export function parseGrpcStatus(value: string): number {
  if (value.length === 0 || value.length > 3) return -1;
  let status = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    status = status * 10 + digit;
  }
  return status;
}

/** Whether a field carries bytes as base64 instead of text. */
export function isBinaryHeader(name: string): boolean {
  return name.endsWith('-bin');
}

/** Bytes as a `-bin` field carries them: base64 without padding. */
export function encodeBinaryHeader(bytes: Buffer): string {
  const padded = bytes.toString('base64');
  let end = padded.length;
  while (end > 0 && padded.charCodeAt(end - 1) === 0x3d) end--;
  return padded.slice(0, end);
}

/** Bytes of a `-bin` field, padded or not. Characters that are not base64 are passed over. */
export function decodeBinaryHeader(value: string): Buffer {
  return Buffer.from(value, 'base64');
}
