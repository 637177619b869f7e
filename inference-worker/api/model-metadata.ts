/** GetModelMetadata: the signatures of a servable as a SignatureDefMap, the one kind of metadata there is. */
import type { Servable } from '../batching/batcher.ts';
import type { Signature, TensorSpec } from '../session/signature.ts';
import { metadataFieldMissing, metadataFieldUnsupported, missingModelSpec, WorkerError } from '../worker-error.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import { MessageBuilder } from './message-builder.ts';
import { readModelSpecRequest } from './model-spec-request.ts';
import type { ViewSource } from './predict.ts';
import { findServable } from './servable-lookup.ts';

const SIGNATURE_DEF = 'signature_def';
const SIGNATURE_DEF_MAP_URL = 'type.googleapis.com/tensorflow.serving.SignatureDefMap';

export class GetModelMetadataMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.PredictionService/GetModelMetadata';
  private readonly source: ViewSource;

  constructor(source: ViewSource) {
    this.source = source;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { spec, metadataFields } = readModelSpecRequest(buf, start, end, 'GetModelMetadataRequest');
    if (!spec.present) throw missingModelSpec();
    if (metadataFields.length === 0) throw metadataFieldMissing();
    const unsupported = metadataFields.find((field) => field !== SIGNATURE_DEF);
    if (unsupported !== undefined) throw metadataFieldUnsupported(unsupported);
    const servable = findServable(this.source.view, spec, buf);
    if (servable instanceof WorkerError) throw servable;
    call.reply(metadataResponse(servable));
  }
}

function metadataResponse(servable: Servable): Buffer {
  const modelSpec = new MessageBuilder()
    .text(1, servable.model)
    .message(2, new MessageBuilder().int(1, servable.version));
  const any = new MessageBuilder().text(1, SIGNATURE_DEF_MAP_URL).bytes(2, signatureDefMap(servable));
  const entry = new MessageBuilder().text(1, SIGNATURE_DEF).message(2, any);
  return new MessageBuilder().message(1, modelSpec).message(2, entry).finish();
}

function signatureDefMap(servable: Servable): Buffer {
  const map = new MessageBuilder();
  for (const [name, signature] of servable.signatures) {
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
