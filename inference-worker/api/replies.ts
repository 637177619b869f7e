/** The header sections the worker answers with. The constant ones are encoded once per connection. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { ACCEPT_ENCODING, unknownEncodingText } from '../../proto/grpc/compression.ts';
import { encodeGrpcMessage } from '../../proto/grpc/percent-encoding.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';

/** Trailer that tells a proxy why a call failed, beyond its status. */
export const REASON_TRAILER = 'x-understudy-reason';

export const REPLY_HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);
export const TRAILERS_OK = HeaderList.of(['grpc-status', '0']);
/** To a request that is not gRPC (the gRPC protocol's own answer to another content type). */
export const NOT_GRPC = HeaderList.of([':status', '415']);

let lastCode = -1;
let lastMessage = '';
let lastReason = '';
let lastList = TRAILERS_OK;

/**
 * A whole answer in one header section: status, message and, when there is one, the reason. Under overload one refusal
 * follows another, so the last list is kept.
 */
export function failureHeaders(code: number, message: string, reason = ''): HeaderList {
  if (code === lastCode && message === lastMessage && reason === lastReason) return lastList;
  const pairs: [string, string][] = [
    [':status', '200'],
    ['content-type', 'application/grpc'],
    ['grpc-status', String(code)],
  ];
  if (message !== '') pairs.push(['grpc-message', messageValue(message)]);
  if (reason !== '') pairs.push([REASON_TRAILER, reason]);
  lastCode = code;
  lastMessage = message;
  lastReason = reason;
  lastList = HeaderList.of(...pairs);
  return lastList;
}

/** Trailers of a call whose head has been sent. */
export function failureTrailers(code: number, message: string): HeaderList {
  return HeaderList.of(['grpc-status', String(code)], ['grpc-message', messageValue(message)]);
}

/** To a call in an encoding we cannot read: UNIMPLEMENTED, with what we can. */
export function unknownEncoding(encoding: string): HeaderList {
  return HeaderList.of(
    [':status', '200'],
    ['content-type', 'application/grpc'],
    ['grpc-status', String(GrpcStatus.UNIMPLEMENTED)],
    ['grpc-message', messageValue(unknownEncodingText(encoding))],
    ['grpc-accept-encoding', ACCEPT_ENCODING],
  );
}

/** A field value must not begin or end with a space (RFC 9113, section 8.2.1), and a text of TFS does end with one. */
function messageValue(message: string): string {
  const encoded = encodeGrpcMessage(message);
  if (!encoded.startsWith(' ') && !encoded.endsWith(' ')) return encoded;
  return encoded.replace(/^ +| +$/g, (spaces) => '%20'.repeat(spaces.length));
}
