/** ModelInfer over gRPC: typed contents or raw bytes, the answer as the request. */
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { OipInferRequest, parseInferRequest } from '../../proto/tensor/oip-infer-request.ts';
import { hasContents, inferHead, OipMessageWriter } from '../../proto/tensor/oip-response.ts';
import { type CallAnswer, type CallForm, invalid, type PipelineRequest } from './call-form.ts';
import { decodedOutput } from './decoded-output.ts';
import { inferRequest } from './infer-request.ts';
import type { PassedTensor } from './passed-tensor.ts';
import type { PipelinePlan } from './plan.ts';
import { GRPC_TYPE } from './predict-form.ts';

const request = new OipInferRequest();
const writer = new OipMessageWriter();

export class InferForm implements CallForm {
  /** The request's id; '' for none. */
  id = '';
  private readonly plan: PipelinePlan;
  private wanted: readonly number[] = [];
  private raw = false;

  constructor(plan: PipelinePlan) {
    this.plan = plan;
  }

  read(body: Buffer, start: number, end: number): PipelineRequest {
    parseInferRequest(request, body, start, end);
    const { name } = this.plan.config;
    // Over a stream each message names its model again.
    if (request.modelName !== name) throw invalid(`this call is for model '${name}', not for '${request.modelName}'`);
    this.id = request.id;
    this.raw = request.usesRaw;
    const read = inferRequest(this.plan, request, body);
    this.wanted = read.wanted;
    return read;
  }

  write(tensors: readonly PassedTensor[]): CallAnswer {
    const { outputs, config } = this.plan;
    const decoded = tensors.map((tensor, i) => {
      return decodedOutput(outputs[this.wanted[i]!]!.name, tensor, config.maxBytes);
    });
    // 16-bit floats only travel raw, and then all outputs do.
    const raw = this.raw || decoded.some(({ dtype }) => !hasContents(dtype));
    writer.begin(inferHead(config.name, config.version, this.id), raw);
    for (const output of decoded) writer.add(output);
    const body = Buffer.allocUnsafe(PREFIX_BYTES + writer.byteLength);
    writer.write(body, writeMessagePrefix(body, 0, writer.byteLength, false));
    return { body, contentType: GRPC_TYPE, fields: [] };
  }
}
