/** Every gRPC method of the TensorFlow Serving API that the worker has, and of its own admin service, over one service. */
import { ExampleMethod, MultiInferenceMethod } from './examples/example-methods.ts';
import { ExampleService } from './examples/example-service.ts';
import type { GrpcMethod } from './grpc-call.ts';
import { AddModelMethod, GetConfigMethod, ReloadConfigMethod, RemoveModelMethod } from './model-management.ts';
import { GetModelMetadataMethod } from './model-metadata.ts';
import { GetModelStatusMethod } from './model-status.ts';
import { PredictMethod } from './predict.ts';
import type { ServingService } from './serving-service.ts';

export interface TfsMethodsOptions {
  /** Predict answers carry `tensor_content` instead of the typed lists; false is TensorFlow Serving's default. */
  readonly serializeAsTensorContent: boolean;
}

export function tfsMethods(service: ServingService, options: TfsMethodsOptions): GrpcMethod[] {
  const examples = new ExampleService(service);
  return [
    new PredictMethod(service, options.serializeAsTensorContent),
    new ExampleMethod(examples, 'classify'),
    new ExampleMethod(examples, 'regress'),
    new MultiInferenceMethod(examples),
    new GetModelMetadataMethod(service),
    new GetModelStatusMethod(service),
    new ReloadConfigMethod(service),
    new GetConfigMethod(service),
    new AddModelMethod(service),
    new RemoveModelMethod(service),
  ];
}
