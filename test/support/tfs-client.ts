/** A TensorFlow Serving client made of grpc-js and our .proto files: the independent caller of workers and proxies. */
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PROTO_DIR, ProtoFile } from '../../proto/files.ts';

const definitions = loadSync(Object.values(ProtoFile), {
  includeDirs: [PROTO_DIR],
  keepCase: true,
  longs: String,
  enums: Number,
  bytes: Buffer,
  defaults: true,
  oneofs: true,
});

// biome-ignore lint/suspicious/noExplicitAny: messages are shaped by the schema, which TypeScript does not see
export type Message = any;

const MAX_BYTES = 1024 * 1024 * 1024;

export interface CallOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** Milliseconds; 10 s when absent, so that no test hangs. */
  readonly deadlineMs?: number;
}

/** One channel. `target` is `host:port` or `unix:/path`. */
export class TfsClient {
  private readonly client: grpc.Client;

  constructor(
    target: string,
    options: grpc.ClientOptions = {},
    credentials: grpc.ChannelCredentials = grpc.credentials.createInsecure(),
  ) {
    this.client = new grpc.Client(target, credentials, {
      'grpc.max_receive_message_length': MAX_BYTES,
      'grpc.max_send_message_length': MAX_BYTES,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 100,
      // One connection per client, so that tests do not share one by accident.
      'grpc.use_local_subchannel_pool': 1,
      ...options,
    });
  }

  predict(request: object, options?: CallOptions): Promise<Message> {
    return this.unary('tensorflow.serving.PredictionService', 'Predict', request, options);
  }

  metadata(request: object, options?: CallOptions): Promise<Message> {
    return this.unary('tensorflow.serving.PredictionService', 'GetModelMetadata', request, options);
  }

  status(request: object, options?: CallOptions): Promise<Message> {
    return this.unary('tensorflow.serving.ModelService', 'GetModelStatus', request, options);
  }

  check(service: string, options?: CallOptions): Promise<Message> {
    return this.unary('grpc.health.v1.Health', 'Check', { service }, options);
  }

  /** Any unary method. Rejects with grpc-js's ServiceError (`code`, `details`, `metadata`). */
  unary(service: string, method: string, request: object, options: CallOptions = {}): Promise<Message> {
    return this.start(service, method, request, options).reply;
  }

  /** A unary call that can be cancelled. */
  start(
    service: string,
    method: string,
    request: object,
    { metadata = {}, deadlineMs = 10_000 }: CallOptions = {},
  ): { reply: Promise<Message>; cancel: () => void } {
    const { path, requestSerialize, responseDeserialize } = methodOf(service, method);
    const headers = new grpc.Metadata();
    for (const [name, value] of Object.entries(metadata)) headers.set(name, value);
    let cancel = (): void => {};
    const reply = new Promise<Message>((resolve, reject) => {
      const call = this.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        headers,
        { deadline: Date.now() + deadlineMs },
        (error, value) => (error === null ? resolve(value) : reject(error)),
      );
      cancel = () => call.cancel();
    });
    return { reply, cancel };
  }

  /** A server-streaming call. */
  stream(service: string, method: string, request: object): grpc.ClientReadableStream<Message> {
    const { path, requestSerialize, responseDeserialize } = methodOf(service, method);
    return this.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  }

  /** A call with a stream of messages both ways. */
  bidirectional(service: string, method: string): grpc.ClientDuplexStream<object, Message> {
    const { path, requestSerialize, responseDeserialize } = methodOf(service, method);
    return this.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  }

  close(): void {
    this.client.close();
  }
}

function methodOf(service: string, method: string): grpc.MethodDefinition<object, Message> {
  const definition = definitions[service] as grpc.ServiceDefinition | undefined;
  const found = definition?.[method];
  if (found === undefined) throw new Error(`no method ${service}/${method}`);
  return found as grpc.MethodDefinition<object, Message>;
}

/** A TensorProto of floats. */
export function floats(dims: readonly number[], values: readonly number[]): object {
  return { dtype: 1, tensor_shape: { dim: dims.map((size) => ({ size })) }, float_val: values };
}

/** A model_spec; the version as a number or decimal text. */
export function modelSpec(name: string, version?: number | string, signature = ''): object {
  const spec: Record<string, unknown> = { name, signature_name: signature };
  if (version !== undefined) spec['version'] = { value: String(version) };
  return spec;
}
