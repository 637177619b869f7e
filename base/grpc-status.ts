/** gRPC status codes (https://grpc.io/docs/guides/status-codes/), their names, and the HTTP status each maps to. */

export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type GrpcStatusCode = (typeof GrpcStatus)[keyof typeof GrpcStatus];

const NAMES: readonly string[] = Object.keys(GrpcStatus);

/** `UNAVAILABLE` for 14; `CODE(99)` for a number outside the table. */
export function grpcStatusName(code: number): string {
  return NAMES[code] ?? `CODE(${code})`;
}

/** HTTP status per gRPC code, as TensorFlow Serving's REST front answers (`http_server.cc`). */
const HTTP_STATUS: readonly number[] = [
  200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
];

export function httpStatusFor(code: number): number {
  return HTTP_STATUS[code] ?? 500;
}

/** HTTP status per gRPC code as servers of the Open Inference Protocol answer: they know fewer than gRPC has codes. */
export function oipHttpStatusFor(code: number): number {
  switch (code) {
    case GrpcStatus.OK:
      return 200;
    case GrpcStatus.NOT_FOUND:
      return 404;
    case GrpcStatus.INTERNAL:
      return 500;
    case GrpcStatus.UNIMPLEMENTED:
      return 501;
    case GrpcStatus.UNAVAILABLE:
      return 503;
    case GrpcStatus.DEADLINE_EXCEEDED:
      return 504;
    default:
      return 400;
  }
}

/** gRPC code for an HTTP status that came without `grpc-status` (gRPC over HTTP/2, "HTTP to gRPC status mapping"). */
export function grpcStatusForHttp(status: number): GrpcStatusCode {
  switch (status) {
    case 400:
      return GrpcStatus.INTERNAL;
    case 401:
      return GrpcStatus.UNAUTHENTICATED;
    case 403:
      return GrpcStatus.PERMISSION_DENIED;
    case 404:
      return GrpcStatus.UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
      return GrpcStatus.UNAVAILABLE;
    default:
      return GrpcStatus.UNKNOWN;
  }
}
