/** Failures as REST callers are told them: a status and a JSON body, each API in its own way. */
import { httpStatusFor, oipHttpStatusFor } from '../../base/grpc-status.ts';
import { restErrorView } from '../../proto/tensor/rest-error.ts';

/** HTTP status that stands for a gRPC status. */
export function restStatus(api: 'v1' | 'v2', grpcStatus: number): number {
  return api === 'v1' ? httpStatusFor(grpcStatus) : oipHttpStatusFor(grpcStatus);
}

/** `{"error": TEXT}`, in TensorFlow Serving's layout or on one line. */
export function restErrorBody(api: 'v1' | 'v2', message: string): Buffer {
  return api === 'v2' ? Buffer.from(JSON.stringify({ error: message })) : Buffer.from(restErrorView(message));
}
