/** Failures as REST callers are told them: a status and a JSON body, each API in its own way. */
import { GrpcStatus, httpStatusFor } from '../../base/grpc-status.ts';
import { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { putJsonString } from '../../proto/tensor/json-tensor-writer.ts';

/** HTTP status that stands for a gRPC status. */
export function restStatus(api: 'v1' | 'v2', grpcStatus: number): number {
  return api === 'v1' ? httpStatusFor(grpcStatus) : oipStatus(grpcStatus);
}

/** The Open Inference Protocol's servers know fewer statuses than gRPC has codes. */
function oipStatus(code: number): number {
  switch (code) {
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

const sink = new ByteSink();

/** `{"error": TEXT}`, in TensorFlow Serving's layout or on one line. */
export function restErrorBody(api: 'v1' | 'v2', message: string): Buffer {
  if (api === 'v2') return Buffer.from(JSON.stringify({ error: message }));
  sink.clear();
  sink.putAscii('{\n    "error": ');
  putJsonString(sink, message);
  sink.putAscii('\n}');
  return sink.take();
}
