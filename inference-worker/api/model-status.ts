/** GetModelStatus: the state of one version, or of all that are known. Labels in the request are ignored, as in TFS. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import type { VersionStatus } from '../repository/model-repository.ts';
import { STATE_NUMBERS } from '../repository/version-state.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import { MessageBuilder } from './message-builder.ts';
import { readModelSpec } from './model-spec.ts';
import { readModelSpecRequest } from './model-spec-request.ts';
import type { ServingService } from './serving-service.ts';

export class GetModelStatusMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.ModelService/GetModelStatus';
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { spec } = readModelSpecRequest(buf, start, end, 'GetModelStatusRequest');
    const response = new MessageBuilder();
    for (const status of this.service.status(readModelSpec(spec, buf))) response.message(1, versionStatus(status));
    call.reply(response.finish());
  }
}

function versionStatus({ version, state, error }: VersionStatus): MessageBuilder {
  const status = new MessageBuilder().int(1, error?.code ?? GrpcStatus.OK).text(2, error?.message ?? '');
  return new MessageBuilder().int(1, version).int(2, STATE_NUMBERS[state]).message(3, status);
}
