/** Predict over gRPC: tensors are taken from the request and put into the answer as the bytes they are. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { VersionChoice } from '../../proto/tensor/model-spec-view.ts';
import { PredictRequestView, parsePredictRequest } from '../../proto/tensor/predict-message.ts';
import {
  type CallAnswer,
  CallFault,
  type CallForm,
  checkInput,
  checkInputNames,
  checkVersion,
  invalid,
  type PipelineRequest,
  refuseLabel,
  wantedOutputs,
} from './call-form.ts';
import { framedResponse, type PassedTensor, tensorInPlace } from './passed-tensor.ts';
import { type PipelinePlan, SIGNATURE_NAME } from './plan.ts';

export const GRPC_TYPE = 'application/grpc';
const view = new PredictRequestView();

export class PredictForm implements CallForm {
  private readonly plan: PipelinePlan;
  private wanted: readonly number[] = [];

  constructor(plan: PipelinePlan) {
    this.plan = plan;
  }

  read(body: Buffer, start: number, end: number): PipelineRequest {
    const { plan } = this;
    parsePredictRequest(view, body, start, end);
    const { modelSpec, inputs } = view;
    if (modelSpec.versionChoice === VersionChoice.label) refuseLabel(modelSpec.label(body));
    if (modelSpec.versionChoice === VersionChoice.version) checkVersion(plan, String(modelSpec.version()));
    const name = modelSpec.name(body);
    // A spec may come twice, and the second time name another model than the one it was routed by.
    if (name !== plan.config.name) throw invalid(`this call is for model '${plan.config.name}', not for '${name}'`);
    const signature = modelSpec.signatureName(body);
    if (signature !== '' && signature !== SIGNATURE_NAME) {
      throw new CallFault(GrpcStatus.FAILED_PRECONDITION, `Serving signature key "${signature}" not found.`);
    }
    const names: string[] = [];
    for (let i = 0; i < inputs.count; i++) names.push(inputs.nameAt(body, i));
    checkInputNames(plan, names);
    const tensors = plan.inputs.map((input) => {
      const tensor = inputs.tensors[names.indexOf(input.name)]!;
      if (tensor.problem !== '') throw invalid(`tensor parsing error: ${input.name}`);
      const passed = tensorInPlace(body, tensor);
      checkInput(input, passed);
      return passed;
    });
    const filter: string[] = [];
    for (let i = 0; i < view.filterCount; i++) filter.push(view.filterAt(body, i));
    this.wanted = wantedOutputs(plan, filter);
    return { inputs: tensors, wanted: this.wanted, inPlace: true };
  }

  write(outputs: readonly PassedTensor[]): CallAnswer {
    const { answerSpecField, outputKeys } = this.plan;
    const keys = this.wanted.map((output) => outputKeys[output]!);
    return { body: framedResponse(answerSpecField, keys, outputs), contentType: GRPC_TYPE, fields: [] };
  }
}
