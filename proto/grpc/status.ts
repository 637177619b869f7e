/** gRPC status codes, where users of the wire layer look for them; the table itself is in base. */
export {
  GrpcStatus,
  type GrpcStatusCode,
  grpcStatusForHttp,
  grpcStatusName,
  httpStatusFor,
} from '../../base/grpc-status.ts';
