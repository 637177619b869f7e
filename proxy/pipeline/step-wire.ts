/** What a step's model is sent and what its answer holds: Predict, where tensors stay the bytes they are, or ModelInfer. */
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { OipBinder } from '../../proto/tensor/oip-binding.ts';
import { OipError } from '../../proto/tensor/oip-error.ts';
import { OipInferRequest, parseInferResponse } from '../../proto/tensor/oip-infer-request.ts';
import { inferHead, OipMessageWriter } from '../../proto/tensor/oip-response.ts';
import { PredictRequestView, PredictResponseView, parsePredictResponse } from '../../proto/tensor/predict-message.ts';
import type { TensorView } from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { decodedOutput } from './decoded-output.ts';
import { framedRequest, type PassedTensor, tensorInPlace, tensorOfView } from './passed-tensor.ts';
import type { StepPlan } from './plan.ts';

const RAW_INPUT_CONTENTS = 7;

const predictAnswer = new PredictResponseView();
const inferWriter = new OipMessageWriter(RAW_INPUT_CONTENTS);
const inferAnswer = new OipInferRequest();
const inferView = new PredictRequestView();
const binder = new OipBinder();

/** The framed request of a step. `maxBytes` bounds a tensor that has to be written out. @throws CallFault, WireError */
export function stepRequest(step: StepPlan, inputs: readonly PassedTensor[], maxBytes: number): Buffer {
  const { config } = step;
  if (config.protocol === 'tensorflow-serving') return framedRequest(step.specField, step.inputKeys, inputs);
  inferWriter.begin(inferHead(config.model, '', ''), true);
  for (const [i, tensor] of inputs.entries()) {
    inferWriter.add(decodedOutput(config.inputs[i]!.name, tensor, maxBytes));
  }
  const request = Buffer.allocUnsafe(PREFIX_BYTES + inferWriter.byteLength);
  inferWriter.write(request, writeMessagePrefix(request, 0, inferWriter.byteLength, false));
  return request;
}

/** The outputs that others use, of the answer at `[start, end)`, or what is wrong with it. */
export function stepOutputs(
  { config }: StepPlan,
  buf: Buffer,
  start: number,
  end: number,
): readonly PassedTensor[] | string {
  try {
    if (config.protocol === 'open-inference') return inferOutputs(config.outputs, buf, start, end);
    parsePredictResponse(predictAnswer, buf, start, end);
  } catch (error) {
    if (!(error instanceof WireError || error instanceof OipError)) throw error;
    return `malformed answer: ${error.message}`;
  }
  return pick(
    config.outputs,
    (name) => predictAnswer.outputs.find(buf, name),
    (view) => tensorInPlace(buf, view),
  );
}

function inferOutputs(
  names: readonly string[],
  buf: Buffer,
  start: number,
  end: number,
): readonly PassedTensor[] | string {
  parseInferResponse(inferAnswer, buf, start, end);
  const { inputs, inputCount } = inferAnswer;
  for (let i = 0; i < inputCount; i++) {
    const { name, dtype, datatype } = inputs[i]!;
    if (dtype === 0) return `output ${name} is of the unknown type ${datatype}`;
  }
  const bytes = binder.bind(inferAnswer, buf, inferView);
  const { tensors } = inferView.inputs;
  return pick(
    names,
    (name) => {
      const at = inputs.findIndex((output, i) => i < inputCount && output.name === name);
      return at < 0 ? null : tensors[at]!;
    },
    (view) => tensorOfView(bytes, view),
  );
}

function pick(
  names: readonly string[],
  find: (name: string) => TensorView | null,
  pass: (view: TensorView) => PassedTensor,
): readonly PassedTensor[] | string {
  const outputs: PassedTensor[] = [];
  for (const name of names) {
    const view = find(name);
    if (view === null) return `the answer has no output ${name}`;
    if (view.problem !== '') return `output ${name}: ${view.problem}`;
    outputs.push(pass(view));
  }
  return outputs;
}
