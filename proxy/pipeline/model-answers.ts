/** What a pipeline answers when it is asked about and not run: status and metadata, as any model would. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { dtypeToOip } from '../../proto/tensor/dtype.ts';
import { MessageBuilder } from '../../proto/tensor/message-builder.ts';
import { MessageFields } from '../../proto/tensor/message-fields.ts';
import { metadataDocument, metadataMessage, SIGNATURE_DEF } from '../../proto/tensor/metadata-answer.ts';
import { readModelSpecRequest } from '../../proto/tensor/model-spec-request.ts';
import { VersionChoice } from '../../proto/tensor/model-spec-view.ts';
import type { PipelineTensor } from '../config/pipeline-snapshot.ts';
import { type CallAnswer, CallFault, checkVersion, invalid } from './call-form.ts';
import { checkOipVersion } from './infer-request.ts';
import { type PipelinePlan, SIGNATURE_NAME } from './plan.ts';
import { GRPC_TYPE } from './predict-form.ts';
import { JSON_TYPE } from './rest-predict-form.ts';

/** A pipeline is there as long as the configuration names it. */
const AVAILABLE = 30;
const PREDICT_METHOD_NAME = 'tensorflow/serving/predict';
const PLATFORM = 'understudy_pipeline';

/** The answer to a gRPC call that names the pipeline and does not run it. `[start, end)` is its message. @throws CallFault */
export function grpcModelAnswer(
  plan: PipelinePlan,
  method: string,
  body: Buffer,
  start: number,
  end: number,
): CallAnswer {
  const message = grpcMessage(plan, method, body, start, end);
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  message.copy(framed, writeMessagePrefix(framed, 0, message.length, false));
  return { body: framed, contentType: GRPC_TYPE, fields: [] };
}

function grpcMessage(plan: PipelinePlan, method: string, body: Buffer, start: number, end: number): Buffer {
  switch (method) {
    case 'GetModelStatus':
      checkSpec(plan, body, start, end, false);
      return statusMessage(plan);
    case 'GetModelMetadata':
      checkSpec(plan, body, start, end, true);
      return metadataMessage(described(plan));
    case 'ModelReady':
      return new MessageBuilder().int(1, isVersion(plan, askedVersion(body, start, end)) ? 1 : 0).finish();
    case 'ModelMetadata':
      checkOipVersion(plan, askedVersion(body, start, end));
      return oipMetadataMessage(plan);
    default:
      throw new CallFault(GrpcStatus.UNIMPLEMENTED, `pipeline ${plan.config.name} does not answer ${method}`);
  }
}

/** The answer to a REST GET; `rest` is what follows model and version in the path. @throws CallFault */
export function restModelAnswer(plan: PipelinePlan, api: 'v1' | 'v2', version: string, rest: string): CallAnswer {
  const path = rest.split('?', 1)[0]!.toLowerCase();
  const json = (document: string): CallAnswer => ({ body: Buffer.from(document), contentType: JSON_TYPE, fields: [] });
  if (api === 'v1') {
    if (path === '') {
      if (!isVersion(plan, version)) throw unknownVersion(plan, version);
      return json(statusDocument(plan));
    }
    checkVersion(plan, version);
    if (path === '/metadata') return json(metadataDocument(described(plan)));
    throw new CallFault(GrpcStatus.UNIMPLEMENTED, `pipeline ${plan.config.name} does not answer ${path.slice(1)}`);
  }
  if (path === '/ready') {
    if (!isVersion(plan, version)) throw invalid('Model version not ready');
    return { body: Buffer.alloc(0), contentType: JSON_TYPE, fields: [] };
  }
  checkOipVersion(plan, version);
  if (path === '') return json(JSON.stringify(oipMetadata(plan)));
  throw new CallFault(GrpcStatus.UNIMPLEMENTED, `pipeline ${plan.config.name} has no ${path.slice(1)}`);
}

function checkSpec(plan: PipelinePlan, body: Buffer, start: number, end: number, metadata: boolean): void {
  const { spec, metadataFields } = readModelSpecRequest(body, start, end, 'request');
  if (metadata) {
    if (metadataFields.length === 0) {
      throw invalid('GetModelMetadataRequest must specify at least one metadata_field');
    }
    const other = metadataFields.find((field) => field !== SIGNATURE_DEF);
    if (other !== undefined) throw invalid(`Metadata field ${other} is not supported`);
  }
  if (spec.versionChoice !== VersionChoice.version) return;
  const version = String(spec.version());
  if (metadata) checkVersion(plan, version);
  else if (!isVersion(plan, version)) throw unknownVersion(plan, version);
}

function isVersion({ config }: PipelinePlan, version: string): boolean {
  return version === '' || version === config.version;
}

function unknownVersion({ config }: PipelinePlan, version: string): CallFault {
  return new CallFault(GrpcStatus.NOT_FOUND, `Could not find version ${version} of model ${config.name}`);
}

/** Field 2 of a ModelReadyRequest or ModelMetadataRequest. */
function askedVersion(body: Buffer, start: number, end: number): string {
  let version = '';
  for (const fields = new MessageFields(body, start, end, 'request'); fields.next(); ) {
    if (fields.is(2)) version = fields.text();
  }
  return version;
}

function statusMessage({ config }: PipelinePlan): Buffer {
  const status = new MessageBuilder().int(1, GrpcStatus.OK).text(2, '');
  const version = new MessageBuilder().int(1, BigInt(config.version)).int(2, AVAILABLE).message(3, status);
  return new MessageBuilder().message(1, version).finish();
}

function statusDocument({ config }: PipelinePlan): string {
  const status = { error_code: 'OK', error_message: '' };
  const entry = { version: config.version, state: 'AVAILABLE', status };
  return `${JSON.stringify({ model_version_status: [entry] }, null, 1)}\n`;
}

function described({ config, inputs, outputs }: PipelinePlan) {
  const signature = { inputs, outputs, methodName: PREDICT_METHOD_NAME };
  return { model: config.name, version: BigInt(config.version), signatures: new Map([[SIGNATURE_NAME, signature]]) };
}

function oipMetadata({ config, inputs, outputs }: PipelinePlan) {
  const { name, version } = config;
  return {
    name,
    versions: [version],
    platform: PLATFORM,
    inputs: inputs.map(oipTensor),
    outputs: outputs.map(oipTensor),
  };
}

function oipTensor({ name, dtype, shape }: PipelineTensor) {
  return { name, datatype: dtypeToOip(dtype), shape };
}

function oipMetadataMessage(plan: PipelinePlan): Buffer {
  const { name, versions, platform, inputs, outputs } = oipMetadata(plan);
  const message = new MessageBuilder().text(1, name);
  for (const version of versions) message.text(2, version);
  message.text(3, platform);
  for (const input of inputs) message.message(4, oipTensorMessage(input));
  for (const output of outputs) message.message(5, oipTensorMessage(output));
  return message.finish();
}

function oipTensorMessage({ name, datatype, shape }: ReturnType<typeof oipTensor>): MessageBuilder {
  const message = new MessageBuilder().text(1, name).text(2, datatype);
  for (const dim of shape) message.int(3, dim);
  return message;
}
