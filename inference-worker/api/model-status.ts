/** GetModelStatus: the state of one version, or of all that are known. Labels in the request are ignored, as in TFS. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { MessageBuilder } from '../../proto/tensor/message-builder.ts';
import { readModelSpecRequest } from '../../proto/tensor/model-spec-request.ts';
import type { Servable } from '../batching/batcher.ts';
import type { ModelCard } from '../repository/model-card.ts';
import type { VersionStatus } from '../repository/model-repository.ts';
import { STATE_NUMBERS } from '../repository/version-state.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import { readModelSpec } from './model-spec.ts';
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
    const asked = readModelSpec(spec, buf);
    const statuses = this.service.status(asked);
    const serving = this.service.view.get(asked!.name)?.byVersion;
    for (const status of statuses) response.message(1, versionStatus(status, serving?.get(status.version)));
    call.reply(response.finish());
  }
}

/** Fields of our own behind TensorFlow Serving's: clients that do not know them pass over them. */
const CARD_FIELD = 101;
const PROVIDER_FIELD = 102;

function versionStatus({ version, state, error, card }: VersionStatus, servable?: Servable): MessageBuilder {
  const status = new MessageBuilder().int(1, error?.code ?? GrpcStatus.OK).text(2, error?.message ?? '');
  const message = new MessageBuilder().int(1, version).int(2, STATE_NUMBERS[state]).message(3, status);
  if (card !== null && card !== undefined) message.message(CARD_FIELD, cardMessage(card));
  return servable === undefined ? message : message.text(PROVIDER_FIELD, servable.stats.provider);
}

/** Field numbers of the texts of a ModelCard. */
const CARD_TEXTS: readonly (readonly [number, keyof ModelCard])[] = [
  [1, 'name'],
  [2, 'version'],
  [3, 'framework'],
  [4, 'task'],
  [6, 'outputType'],
  [8, 'trainedOn'],
  [9, 'createdBy'],
  [10, 'createdAt'],
  [11, 'status'],
];

function cardMessage(card: ModelCard): MessageBuilder {
  const message = new MessageBuilder();
  for (const [field, name] of CARD_TEXTS) if (card[name] !== '') message.text(field, card[name] as string);
  for (const size of card.inputShape) message.int(5, size);
  for (const [name, value] of card.metrics) message.message(7, new MessageBuilder().text(1, name).double(2, value));
  return message;
}
