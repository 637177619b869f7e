/** GetModelMetadata: the signatures of a servable as a SignatureDefMap, the one kind of metadata there is. */
import { metadataMessage } from '../../proto/tensor/metadata-answer.ts';
import { readModelSpecRequest } from '../../proto/tensor/model-spec-request.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import { readModelSpec } from './model-spec.ts';
import type { ServingService } from './serving-service.ts';

export class GetModelMetadataMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.PredictionService/GetModelMetadata';
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { spec, metadataFields } = readModelSpecRequest(buf, start, end, 'GetModelMetadataRequest');
    call.reply(metadataMessage(this.service.metadata(readModelSpec(spec, buf), metadataFields)));
  }
}
