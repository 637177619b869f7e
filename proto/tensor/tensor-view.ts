/** The tensor codec's front door: what readers and writers of Predict messages import. */

export { ModelSpecView, VersionChoice } from './model-spec-view.ts';
export {
  MAX_FILTERS,
  MAX_TENSORS,
  PredictRequestView,
  PredictResponseView,
  parsePredictRequest,
  parsePredictResponse,
  TensorList,
} from './predict-message.ts';
export { copyTensorInto } from './tensor-elements.ts';
export { ElementPlace, MAX_ELEMENTS, MAX_RANK, TensorView } from './tensor-proto.ts';
export { copyStringsInto } from './tensor-strings.ts';
export { modelSpecField, PredictMessageWriter, type TensorData, tensorKey } from './tensor-writer.ts';
