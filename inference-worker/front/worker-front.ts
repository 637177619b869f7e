/** Composes everything the worker answers with over one serving service: TensorFlow Serving's API and the Open Inference
 * Protocol, each over gRPC and REST. */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { ExampleService } from '../api/examples/example-service.ts';
import type { GrpcMethod } from '../api/grpc-call.ts';
import { GrpcServer } from '../api/grpc-server.ts';
import { ModelInferMethod, oipPlainMethods } from '../api/oip/oip-grpc.ts';
import { OipInference } from '../api/oip/oip-inference.ts';
import { OipRestApi } from '../api/oip/oip-rest.ts';
import { OipService } from '../api/oip/oip-service.ts';
import type { HttpApi } from '../api/rest/http-call.ts';
import { RestApi } from '../api/rest/rest-api.ts';
import { RestExampleApi } from '../api/rest/rest-examples.ts';
import type { ServingService } from '../api/serving-service.ts';
import type { ServingState } from '../api/serving-state.ts';
import { RestHost } from './rest-host.ts';
import { ServingFront } from './serving-front.ts';

export interface WorkerFrontOptions {
  readonly service: ServingService;
  readonly state: ServingState;
  /** gRPC methods besides those of the Open Inference Protocol. */
  readonly methods: readonly GrpcMethod[];
  /** REST APIs besides those under `/v1/` and `/v2`, asked last: metrics. */
  readonly apis?: readonly HttpApi[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly maxMessageBytes: number;
  /** Milliseconds a REST request may take; Infinity never gives up. */
  readonly restTimeoutMs: number;
  readonly cors: boolean;
  readonly maxBatchSize: number;
  readonly batchTimeoutMicros: number;
  readonly serverVersion: string;
  /** Whether models may be loaded and unloaded over the Open Inference Protocol. */
  readonly managesModels: boolean;
  /** Streams one HTTP/2 connection may have open; 0 or absent leaves it to the front. */
  readonly maxConcurrentStreams?: number;
}

export function openWorkerFront(options: WorkerFrontOptions): ServingFront {
  const { service, state, clock, log, maxMessageBytes } = options;
  const { maxBatchSize, batchTimeoutMicros, serverVersion, managesModels } = options;
  const oip = new OipService({
    service,
    state,
    serverName: 'understudy',
    serverVersion,
    maxBatchSize,
    batchTimeoutMicros,
    managesModels,
  });
  const inference = new OipInference(service, clock);
  const grpc = new GrpcServer({
    methods: [...options.methods, new ModelInferMethod(inference), ...oipPlainMethods(oip)],
    clock,
    maxMessageBytes,
  });
  const rest = new RestHost({
    apis: [
      new RestApi(service, log, new RestExampleApi(new ExampleService(service))),
      new OipRestApi(oip, inference, log),
      ...(options.apis ?? []),
    ],
    clock,
    maxBodyBytes: maxMessageBytes,
    timeoutMs: options.restTimeoutMs,
    cors: options.cors,
  });
  const http2Limits = options.maxConcurrentStreams ? { maxConcurrentStreams: options.maxConcurrentStreams } : {};
  return new ServingFront({
    grpc,
    streams: { inference, clock, maxMessageBytes, open: new Set() },
    rest,
    clock,
    http2Limits,
  });
}
