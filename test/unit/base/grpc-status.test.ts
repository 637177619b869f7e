import t from 'tap';
import { GrpcStatus, grpcStatusName, httpStatusFor } from '../../../base/grpc-status.ts';

t.test('each gRPC code has the HTTP status of TensorFlow Serving', async (t) => {
  const expected: Record<keyof typeof GrpcStatus, number> = {
    OK: 200,
    CANCELLED: 499,
    UNKNOWN: 500,
    INVALID_ARGUMENT: 400,
    DEADLINE_EXCEEDED: 504,
    NOT_FOUND: 404,
    ALREADY_EXISTS: 409,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 429,
    FAILED_PRECONDITION: 400,
    ABORTED: 409,
    OUT_OF_RANGE: 400,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    DATA_LOSS: 500,
    UNAUTHENTICATED: 401,
  };
  for (const [name, code] of Object.entries(GrpcStatus)) {
    t.equal(httpStatusFor(code), expected[name as keyof typeof GrpcStatus], name);
    t.equal(grpcStatusName(code), name);
  }
  t.equal(httpStatusFor(99), 500);
  t.equal(grpcStatusName(99), 'CODE(99)');
});
