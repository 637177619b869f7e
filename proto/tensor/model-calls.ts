/** The gRPC methods that name a model: their paths, and where their messages keep the name. */
import { ScanKind } from './model-spec.ts';

export interface ModelCall {
  /** `:path` of the request. */
  readonly path: string;
  readonly method: string;
  readonly api: 'tensorflow-serving' | 'open-inference';
  /** One of `ScanKind`. */
  readonly requestKind: number;
  /** One of `ScanKind`, -1 where the response names no model. */
  readonly responseKind: number;
  /** Whether the call runs the model, as opposed to asking about it. */
  readonly isInference: boolean;
  /** Request and answer are streams of messages, each of which names its model. */
  readonly isStream: boolean;
}

const PREDICTION = '/tensorflow.serving.PredictionService/';
const MODEL = '/tensorflow.serving.ModelService/';
const INFERENCE = '/inference.GRPCInferenceService/';

function call(
  prefix: string,
  method: string,
  requestKind: number,
  responseKind: number,
  isInference: boolean,
  isStream = false,
): ModelCall {
  const api = prefix === INFERENCE ? 'open-inference' : 'tensorflow-serving';
  return Object.freeze({ path: prefix + method, method, api, requestKind, responseKind, isInference, isStream });
}

/** By path. HandleReloadConfigRequest and the server-wide Open Inference calls name no model. */
export const MODEL_CALLS: ReadonlyMap<string, ModelCall> = new Map(
  [
    call(PREDICTION, 'Predict', ScanKind.specAt1, ScanKind.specAt2, true),
    call(PREDICTION, 'Classify', ScanKind.specAt1, ScanKind.specAt2, true),
    call(PREDICTION, 'Regress', ScanKind.specAt1, ScanKind.specAt2, true),
    call(PREDICTION, 'MultiInference', ScanKind.tasks, ScanKind.tasks, true),
    call(PREDICTION, 'GetModelMetadata', ScanKind.specAt1, ScanKind.specAt1, false),
    call(MODEL, 'GetModelStatus', ScanKind.specAt1, -1, false),
    call(INFERENCE, 'ModelInfer', ScanKind.openInference, ScanKind.openInference, true),
    call(INFERENCE, 'ModelStreamInfer', ScanKind.openInference, -1, true, true),
    call(INFERENCE, 'ModelMetadata', ScanKind.openInference, -1, false),
    call(INFERENCE, 'ModelReady', ScanKind.openInference, -1, false),
  ].map((entry) => [entry.path, entry]),
);
