/** GetModelStatus: the state of one version, or of all that are known. Labels in the request are ignored, as in TFS. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { VersionChoice } from '../../proto/tensor/model-spec-view.ts';
import type { VersionStatus } from '../repository/model-repository.ts';
import { STATE_NUMBERS } from '../repository/version-state.ts';
import { emptyModelName, missingModelSpec, statusNotFound } from '../worker-error.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import { MessageBuilder } from './message-builder.ts';
import { readModelSpecRequest } from './model-spec-request.ts';

/** Who knows the states of versions, highest first. */
export interface StatusSource {
  statusOf(model: string): readonly VersionStatus[] | undefined;
}

export class GetModelStatusMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.ModelService/GetModelStatus';
  private readonly source: StatusSource;

  constructor(source: StatusSource) {
    this.source = source;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { spec } = readModelSpecRequest(buf, start, end, 'GetModelStatusRequest');
    if (!spec.present) throw missingModelSpec();
    const name = spec.name(buf);
    if (name === '') throw emptyModelName();
    const version = spec.versionChoice === VersionChoice.version ? spec.version() : null;
    const known = this.source.statusOf(name) ?? [];
    const statuses = version === null ? known : known.filter((status) => status.version === version);
    if (statuses.length === 0) throw statusNotFound(name, version);
    const response = new MessageBuilder();
    for (const status of statuses) response.message(1, versionStatus(status));
    call.reply(response.finish());
  }
}

function versionStatus({ version, state, error }: VersionStatus): MessageBuilder {
  const status = new MessageBuilder().int(1, error?.code ?? GrpcStatus.OK).text(2, error?.message ?? '');
  return new MessageBuilder().int(1, version).int(2, STATE_NUMBERS[state]).message(3, status);
}
