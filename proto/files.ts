/**
 * Where the `.proto` files are, for tools that load them (proto-loader, tests, demo clients).
 *
 * The serving paths never load them: they use the hand-written codecs in `tensor/` and `grpc/`.
 */

/** Absolute path of the include folder; give it to proto-loader as `includeDirs: [PROTO_DIR]`. */
export const PROTO_DIR: string = import.meta.dirname;

/** Files to name in a load, relative to `PROTO_DIR`; what they import follows. */
export const ProtoFile = {
  predictionService: 'tensorflow_serving/apis/prediction_service.proto',
  modelService: 'tensorflow_serving/apis/model_service.proto',
  predictionLog: 'tensorflow_serving/apis/prediction_log.proto',
  modelServerConfig: 'tensorflow_serving/config/model_server_config.proto',
  health: 'grpc/health/v1/health.proto',
  workerAdmin: 'understudy/worker/v1/worker_admin.proto',
  openInference: 'inference/grpc_service.proto',
} as const;
