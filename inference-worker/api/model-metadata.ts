/** GetModelMetadata: the signatures of a servable as a SignatureDefMap, the one kind of metadata there is. */
import type { Signature, TensorSpec } from '../session/signature.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import { MessageBuilder } from './message-builder.ts';
import { readModelSpec } from './model-spec.ts';
import { readModelSpecRequest } from './model-spec-request.ts';
import { type ModelMetadata, type ServingService, SIGNATURE_DEF } from './serving-service.ts';

const SIGNATURE_DEF_MAP_URL = 'type.googleapis.com/tensorflow.serving.SignatureDefMap';

export class GetModelMetadataMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.PredictionService/GetModelMetadata';
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { spec, metadataFields } = readModelSpecRequest(buf, start, end, 'GetModelMetadataRequest');
    call.reply(metadataResponse(this.service.metadata(readModelSpec(spec, buf), metadataFields)));
  }
}

function metadataResponse({ model, version, signatures }: ModelMetadata): Buffer {
  const modelSpec = new MessageBuilder().text(1, model).message(2, new MessageBuilder().int(1, version));
  const any = new MessageBuilder().text(1, SIGNATURE_DEF_MAP_URL).bytes(2, signatureDefMap(signatures));
  const entry = new MessageBuilder().text(1, SIGNATURE_DEF).message(2, any);
  return new MessageBuilder().message(1, modelSpec).message(2, entry).finish();
}

function signatureDefMap(signatures: ModelMetadata['signatures']): Buffer {
  const map = new MessageBuilder();
  for (const [name, signature] of signatures) {
    map.message(1, new MessageBuilder().text(1, name).message(2, signatureDef(signature)));
  }
  return map.finish();
}

function signatureDef(signature: Signature): MessageBuilder {
  const message = new MessageBuilder();
  for (const input of signature.inputs) message.message(1, tensorEntry(input));
  for (const output of signature.outputs) message.message(2, tensorEntry(output));
  return message.text(3, signature.methodName);
}

/** TensorFlow names a graph's tensor `operation:index`; clients show it, none resolves it. */
function tensorEntry(spec: TensorSpec): MessageBuilder {
  const shape = new MessageBuilder();
  for (const size of spec.shape) shape.message(2, new MessageBuilder().int(1, size));
  const info = new MessageBuilder().text(1, `${spec.name}:0`).int(2, spec.dtype).message(3, shape);
  return new MessageBuilder().text(1, spec.name).message(2, info);
}
