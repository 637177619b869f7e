/** `grpc.health.v1.Health`: Check answers once, Watch answers at once and at every change until its caller leaves. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { MessageBuilder } from '../../proto/tensor/message-builder.ts';
import { readText } from '../../proto/tensor/text.ts';
import { WireReader } from '../../proto/tensor/wire.ts';
import { WorkerError } from '../worker-error.ts';
import type { GrpcCall, GrpcMethod } from './grpc-call.ts';
import type { ServingState } from './serving-state.ts';

const HealthStatus = { SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const;

/** The process as a whole, and the services by the short names TensorFlow Serving gives them and by their full ones. */
const SERVICES: readonly string[] = [
  '',
  'PredictionService',
  'ModelService',
  'tensorflow.serving.PredictionService',
  'tensorflow.serving.ModelService',
];

/** Watches open at once; more are refused, because each stays. */
export const MAX_WATCHES = 1_000;

export class HealthCheckMethod implements GrpcMethod {
  readonly path = '/grpc.health.v1.Health/Check';
  private readonly state: ServingState;

  constructor(state: ServingState) {
    this.state = state;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const service = readService(buf, start, end);
    if (!SERVICES.includes(service)) throw new WorkerError(GrpcStatus.NOT_FOUND, `unknown service ${service}`);
    call.reply(statusMessage(this.state.serving ? HealthStatus.SERVING : HealthStatus.NOT_SERVING));
  }
}

export class HealthWatchMethod implements GrpcMethod {
  readonly path = '/grpc.health.v1.Health/Watch';
  private readonly state: ServingState;
  private readonly watches = new Set<GrpcCall>();

  constructor(state: ServingState) {
    this.state = state;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    if (this.watches.size >= MAX_WATCHES) {
      throw new WorkerError(GrpcStatus.RESOURCE_EXHAUSTED, `more than ${MAX_WATCHES} watches`);
    }
    const known = SERVICES.includes(readService(buf, start, end));
    const send = (serving: boolean): void => {
      const status = serving ? HealthStatus.SERVING : HealthStatus.NOT_SERVING;
      const message = statusMessage(known ? status : HealthStatus.SERVICE_UNKNOWN);
      const reply = call.beginReply(message.length);
      message.copy(reply, PREFIX_BYTES);
      call.streamReply(reply, message.length);
    };
    const forget = known ? this.state.onChange(send) : (): void => {};
    this.watches.add(call);
    call.cancellable = {
      cancel: () => {
        forget();
        this.watches.delete(call);
      },
    };
    send(this.state.serving);
  }

  /** Ends every watch, so that none holds a draining connection open. */
  close(): void {
    for (const call of [...this.watches]) {
      call.failStatus(GrpcStatus.UNAVAILABLE, 'the server is shutting down');
      call.cancellable?.cancel();
    }
  }
}

function statusMessage(status: number): Buffer {
  return new MessageBuilder().int(1, status).finish();
}

/** Field 1 of HealthCheckRequest. @throws WireError */
function readService(buf: Buffer, start: number, end: number): string {
  const reader = new WireReader();
  let service = '';
  reader.reset(buf, start, end, 'HealthCheckRequest');
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag !== 0x0a) reader.skip(tag);
    else {
      const valueEnd = reader.readPayloadEnd();
      service = readText(buf, reader.pos, valueEnd, 'HealthCheckRequest.service');
      reader.pos = valueEnd;
    }
  }
  return service;
}
