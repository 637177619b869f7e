/** TensorFlow Serving's REST Predict, rows and columns. */
import { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { type JsonPredictFormat, JsonPredictReader } from '../../proto/tensor/json-predict-request.ts';
import { JsonPredictWriter } from '../../proto/tensor/json-predict-response.ts';
import { PredictRequestView } from '../../proto/tensor/predict-message.ts';
import {
  type CallAnswer,
  type CallForm,
  checkInput,
  checkVersion,
  invalid,
  type PipelineRequest,
  refuseLabel,
} from './call-form.ts';
import { decodedOutput } from './decoded-output.ts';
import { type PassedTensor, tensorOfView } from './passed-tensor.ts';
import { type PipelinePlan, SIGNATURE_NAME } from './plan.ts';

export const JSON_TYPE = 'application/json';
const reader = new JsonPredictReader();
const view = new PredictRequestView();
const sink = new ByteSink();
const writer = new JsonPredictWriter(sink);

export class RestPredictForm implements CallForm {
  private readonly plan: PipelinePlan;
  private readonly version: string;
  private readonly label: string;
  private format: JsonPredictFormat = 'row';

  /** Version and label as the path has them; '' for none. */
  constructor(plan: PipelinePlan, version: string, label: string) {
    this.plan = plan;
    this.version = version;
    this.label = label;
  }

  read(body: Buffer, start: number, end: number): PipelineRequest {
    const { plan } = this;
    if (this.label !== '') refuseLabel(this.label);
    checkVersion(plan, this.version);
    try {
      reader.begin(body, start, end);
      const { signatureName } = reader;
      if (signatureName !== '' && signatureName !== SIGNATURE_NAME) {
        throw invalid(`Serving signature name: "${signatureName}" not found in signature def`);
      }
      const buf = reader.fill(plan.inputs, view);
      this.format = reader.format;
      const inputs = plan.inputs.map((input, i) => {
        const tensor = tensorOfView(buf, view.inputs.tensors[i]!);
        checkInput(input, tensor);
        return tensor;
      });
      return { inputs, wanted: plan.allOutputs, inPlace: false };
    } finally {
      reader.release();
    }
  }

  write(tensors: readonly PassedTensor[]): CallAnswer {
    const { outputs, config } = this.plan;
    sink.clear();
    writer.write(
      this.format,
      tensors.map((tensor, i) => decodedOutput(outputs[i]!.name, tensor, config.maxBytes)),
    );
    return { body: sink.take(), contentType: JSON_TYPE, fields: [] };
  }
}
