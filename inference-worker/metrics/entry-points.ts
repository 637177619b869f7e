/** Where tasks enter the worker, as TensorFlow Serving's metrics tell them apart: the API called and its transport. */

/** Set on a call before it is submitted; a plain number, because it is an index on the hot path. */
export const EntryPoint = {
  predictGrpc: 0,
  predictRest: 1,
  classifyGrpc: 2,
  classifyRest: 3,
  regressGrpc: 4,
  regressRest: 5,
  multiInferenceGrpc: 6,
  inferGrpc: 7,
  inferRest: 8,
  /** A part of a larger task, which itself came in elsewhere. */
  part: 9,
} as const;

export const ENTRY_POINT_LABELS: readonly { readonly API: string; readonly entrypoint: string }[] = [
  { API: 'Predict', entrypoint: 'GRPC' },
  { API: 'Predict', entrypoint: 'REST' },
  { API: 'Classify', entrypoint: 'GRPC' },
  { API: 'Classify', entrypoint: 'REST' },
  { API: 'Regress', entrypoint: 'GRPC' },
  { API: 'Regress', entrypoint: 'REST' },
  { API: 'MultiInference', entrypoint: 'GRPC' },
  { API: 'ModelInfer', entrypoint: 'GRPC' },
  { API: 'ModelInfer', entrypoint: 'REST' },
  { API: 'Part', entrypoint: 'LOCAL' },
];
