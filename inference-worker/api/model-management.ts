/**
 * Changing what is served while serving: TensorFlow Serving's HandleReloadConfigRequest, which replaces the whole set,
 * and our WorkerAdmin service, which adds and removes single models and tells the configuration in force. Each answers
 * once the models that are new serve; a caller that goes away or runs out of time does not undo the change.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { MessageBuilder } from '../../proto/tensor/message-builder.ts';
import { MessageFields } from '../../proto/tensor/message-fields.ts';
import type { ModelConfig } from '../repository/managed-model.ts';
import { WorkerError } from '../worker-error.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import { readModelConfig, readServerConfig, serverConfigMessage } from './model-config-message.ts';
import type { ServingService } from './serving-service.ts';

export class ReloadConfigMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.ModelService/HandleReloadConfigRequest';
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    let models: readonly ModelConfig[] | null = null;
    for (const fields = new MessageFields(buf, start, end, 'ReloadConfigRequest'); fields.next(); ) {
      if (fields.is(1)) models = readServerConfig(fields.message('ModelServerConfig'));
    }
    const ok = new MessageBuilder().int(1, GrpcStatus.OK).text(2, '');
    answer(call, this.service.reload(models), () => new MessageBuilder().message(1, ok));
  }
}

const ADMIN = '/understudy.worker.v1.WorkerAdmin';

export class GetConfigMethod implements GrpcMethod {
  readonly path = `${ADMIN}/GetConfig`;
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  handle(call: GrpcCall): void {
    const { configuration, names } = this.service.admin;
    const message = new MessageBuilder().message(1, serverConfigMessage(configuration));
    for (const name of names) {
      if (!configuration.some((config) => config.name === name)) message.text(2, name);
    }
    call.reply(message.finish());
  }
}

export class AddModelMethod implements GrpcMethod {
  readonly path = `${ADMIN}/AddModel`;
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    let config: ModelConfig = { name: '', basePath: '', policy: { kind: 'latest', count: 1 }, labels: new Map() };
    for (const fields = new MessageFields(buf, start, end, 'AddModelRequest'); fields.next(); ) {
      if (fields.is(1)) config = readModelConfig(fields.message('ModelConfig'));
    }
    answer(call, this.service.admin.addModel(config), () => new MessageBuilder());
  }
}

export class RemoveModelMethod implements GrpcMethod {
  readonly path = `${ADMIN}/RemoveModel`;
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    let name = '';
    for (const fields = new MessageFields(buf, start, end, 'RemoveModelRequest'); fields.next(); ) {
      if (fields.is(1)) name = fields.text();
    }
    answer(call, this.service.admin.removeModel(name), () => new MessageBuilder());
  }
}

/** Answers when `done` has; the call may have ended by then. */
function answer(call: GrpcCall, done: Promise<void>, message: () => MessageBuilder): void {
  done.then(
    () => call.reply(message().finish()),
    (error: unknown) => {
      if (error instanceof WorkerError) call.fail(error);
      else call.failStatus(GrpcStatus.INTERNAL, (error as Error).message);
    },
  );
}
