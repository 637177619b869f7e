/** What both encodings of an Open Inference request share: checks in Triton's words, and inputs as tensors. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { dtypeToOip } from '../../proto/tensor/dtype.ts';
import { OipBinder } from '../../proto/tensor/oip-binding.ts';
import { OipData, type OipInferRequest, type OipInput } from '../../proto/tensor/oip-infer-request.ts';
import { PredictRequestView } from '../../proto/tensor/predict-message.ts';
import type { PipelineTensor } from '../config/pipeline-snapshot.ts';
import { CallFault, fitsShape, invalid, type PipelineRequest } from './call-form.ts';
import { tensorOfView } from './passed-tensor.ts';
import type { PipelinePlan } from './plan.ts';

const binder = new OipBinder();
const view = new PredictRequestView();

/** The request, parsed from `buf`, against the pipeline. @throws CallFault, OipError, WireError */
export function inferRequest(plan: PipelinePlan, request: OipInferRequest, buf: Buffer): PipelineRequest {
  checkOipVersion(plan, request.modelVersion);
  checkInputs(plan, request);
  const wanted = wantedOutputs(plan, request);
  const bytes = binder.bind(request, buf, view);
  const names = request.inputs.slice(0, request.inputCount).map(({ name }) => name);
  const inputs = plan.inputs.map(({ name }) => tensorOfView(bytes, view.inputs.tensors[names.indexOf(name)]!));
  return { inputs, wanted, inPlace: false };
}

/** @throws CallFault */
export function checkOipVersion({ config }: PipelinePlan, version: string): void {
  if (version === '' || version === config.version) return;
  const message = `Request for unknown model: '${config.name}' version ${version} is not found`;
  throw new CallFault(GrpcStatus.NOT_FOUND, message);
}

function checkInputs({ inputs, config }: PipelinePlan, request: OipInferRequest): void {
  const sent = request.inputs.slice(0, request.inputCount);
  const missing = inputs.filter(({ name }) => !sent.some((input) => input.name === name));
  if (sent.length !== inputs.length || missing.length > 0) throw inputCount(inputs, sent, missing, request);
  for (const input of sent) {
    const { name, dtype, shape } = inputs.find((declared) => declared.name === input.name)!;
    if (input.dtype !== dtype) {
      const expects = `model '${config.name}' expects '${dtypeToOip(dtype)}'`;
      throw invalid(`inference input '${name}' data-type is '${input.datatype}', but ${expects}`);
    }
    const dims = input.dims.slice(0, input.rank);
    if (!fitsShape(shape, dims)) {
      const expected = `Expected [${shape}], got [${dims}]. `;
      throw invalid(`unexpected shape for input '${name}' for model '${config.name}'. ${expected}`);
    }
    // No data at all is said in terms of bytes, as an empty raw range would be.
    if (input.data === OipData.none && input.elementCount > 0) {
      input.data = OipData.raw;
      input.start = 0;
      input.end = 0;
    }
  }
}

function inputCount(
  inputs: readonly PipelineTensor[],
  sent: readonly OipInput[],
  missing: readonly PipelineTensor[],
  { id, modelName }: OipInferRequest,
): CallFault {
  const list = (named: readonly { readonly name: string }[]): string =>
    `[${named.map(({ name }) => `'${name}'`).join(',')}]`;
  return invalid(
    `[request id: ${id === '' ? '<id_unknown>' : id}] expected ${inputs.length} inputs but got ${sent.length} inputs for model ` +
      `'${modelName}'. Got input(s) ${list(sent.toSorted((a, b) => (a.name < b.name ? -1 : 1)))}, but missing required ` +
      `input(s) ${list(missing)}. Please provide all required input(s).`,
  );
}

function wantedOutputs(plan: PipelinePlan, { outputs, modelName }: OipInferRequest): readonly number[] {
  if (outputs.length === 0) return plan.allOutputs;
  const wanted: number[] = [];
  for (const { name } of outputs) {
    const position = plan.outputs.findIndex((output) => output.name === name);
    if (position < 0) throw invalid(`unexpected inference output '${name}' for model '${modelName}'`);
    if (!wanted.includes(position)) wanted.push(position);
  }
  return wanted;
}
