/** TensorFlow Serving's REST API: paths under `/v1/` to the operations of the serving service. */
import { GrpcStatus } from '../../../base/grpc-status.ts';
import type { Logger } from '../../../base/logger.ts';
import { metadataDocument, SIGNATURE_DEF } from '../../../proto/tensor/metadata-answer.ts';
import { WorkerError } from '../../worker-error.ts';
import type { ServingService } from '../serving-service.ts';
import { EMPTY_BODY, type HttpApi, type HttpCall, JSON_TYPE } from './http-call.ts';
import { statusDocument } from './rest-documents.ts';
import { asWorkerError, internalError, replyFailure } from './rest-failure.ts';
import { RestPredict } from './rest-predict.ts';
import { type RestRoute, restRoute } from './rest-route.ts';

/** Answers `classify` and `regress`, where there is something that does. Must not throw but WorkerError and JsonError. */
export interface RestExamples {
  handle(call: HttpCall, route: RestRoute): void;
}

export class RestApi implements HttpApi {
  private readonly service: ServingService;
  private readonly log: Logger;
  private readonly predict: RestPredict;
  private readonly examples: RestExamples | null;

  constructor(service: ServingService, log: Logger, examples: RestExamples | null = null) {
    this.service = service;
    this.log = log;
    this.predict = new RestPredict(service);
    this.examples = examples;
  }

  handle(call: HttpCall): boolean {
    const { method, path } = call.request;
    if (!isOurs(path)) return false;
    // A preflight asks nothing of a model; the front adds the fields that answer it.
    if (method === 'OPTIONS') {
      call.reply(200, JSON_TYPE, EMPTY_BODY);
      return true;
    }
    try {
      const route = restRoute(method, path);
      if (route instanceof WorkerError) throw route;
      this.act(call, route);
    } catch (error) {
      const known = asWorkerError(error);
      if (known === null) this.log.error('rest_call_threw', { path, error });
      replyFailure(call, known ?? internalError(error));
    }
    return true;
  }

  expire(call: HttpCall): void {
    replyFailure(call, new WorkerError(GrpcStatus.DEADLINE_EXCEEDED, 'Timed out waiting for the answer'));
  }

  private act(call: HttpCall, route: RestRoute): void {
    switch (route.action) {
      case 'predict':
        this.predict.handle(call, route);
        return;
      case 'classify':
      case 'regress':
        if (this.examples === null) throw new WorkerError(GrpcStatus.UNIMPLEMENTED, `${route.action} is not served`);
        this.examples.handle(call, route);
        return;
      case 'status':
        call.reply(200, JSON_TYPE, Buffer.from(statusDocument(this.service.status(specOf(route)))));
        return;
      case 'metadata':
        call.reply(
          200,
          JSON_TYPE,
          Buffer.from(metadataDocument(this.service.metadata(specOf(route), [SIGNATURE_DEF]))),
        );
    }
  }
}

function specOf({ model, version, label }: RestRoute) {
  return { name: model, version, label, signatureName: '' };
}

function isOurs(path: string): boolean {
  return path.length >= 4 && (path.startsWith('/v1/') || path.startsWith('/V1/'));
}
