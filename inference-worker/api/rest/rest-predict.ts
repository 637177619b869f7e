/** REST Predict: reads the body's tensors into the view a servable takes, and writes its rows or columns as JSON. */
import { GrpcStatus } from '../../../base/grpc-status.ts';
import { ByteSink } from '../../../proto/tensor/byte-sink.ts';
import { type JsonPredictFormat, JsonPredictReader } from '../../../proto/tensor/json-predict-request.ts';
import { JsonPredictWriter } from '../../../proto/tensor/json-predict-response.ts';
import { PredictRequestView } from '../../../proto/tensor/tensor-view.ts';
import { EntryPoint } from '../../metrics/entry-points.ts';
import { DEFAULT_SIGNATURE_NAME } from '../../session/signature.ts';
import { WorkerError } from '../../worker-error.ts';
import { type PredictAnswer, PredictOperation, type PredictReceiver } from '../predict-operation.ts';
import { type PredictTarget, predictTarget } from '../predict-target.ts';
import type { ServingService } from '../serving-service.ts';
import { timingFields } from '../task-timing.ts';
import { type HttpCall, JSON_TYPE } from './http-call.ts';
import { asWorkerError, internalError, replyFailure } from './rest-failure.ts';
import type { RestRoute } from './rest-route.ts';

export class RestPredict {
  private readonly service: ServingService;
  private readonly reader = new JsonPredictReader();
  private readonly view = new PredictRequestView();
  private readonly sink = new ByteSink();
  private readonly writer = new JsonPredictWriter(this.sink);

  constructor(service: ServingService) {
    this.service = service;
  }

  /** @throws WorkerError, JsonError */
  handle(call: HttpCall, route: RestRoute): void {
    const { reader } = this;
    const { body, start, end } = call.request;
    try {
      reader.begin(body, start, end);
      const target = this.target(route, reader.signatureName);
      const buf = reader.fill(target.signature.inputs, this.view);
      const receiver = new RestReceiver(call, this, reader.format);
      const operation = new PredictOperation(
        target,
        target.allOutputs,
        { inputs: [], deadlineMs: call.deadlineMs, priority: call.priority },
        receiver,
      );
      operation.entry = EntryPoint.predictRest;
      const refusal = target.servable.submit(operation, this.view, buf);
      if (refusal !== null) throw refusal;
      call.cancellable = operation;
    } finally {
      reader.release();
    }
  }

  /** Writes an answer; the call copies it. */
  answer(call: HttpCall, format: JsonPredictFormat, answer: PredictAnswer): void {
    const { sink } = this;
    sink.clear();
    this.writer.write(format, answer.outputs);
    call.reply(200, JSON_TYPE, sink.view(), timingFields(call.request.headers, answer));
  }

  /** A signature nobody has is named in other words over REST than over gRPC. */
  private target({ model, version, label }: RestRoute, signatureName: string): PredictTarget {
    const servable = this.service.servable({ name: model, version, label, signatureName });
    const target = predictTarget(servable, signatureName);
    if (!(target instanceof WorkerError)) return target;
    const name = signatureName === '' ? DEFAULT_SIGNATURE_NAME : signatureName;
    const message = `Serving signature name: "${name}" not found in signature def`;
    throw new WorkerError(GrpcStatus.INVALID_ARGUMENT, message);
  }
}

/** Waits for the answer of one call. */
class RestReceiver implements PredictReceiver {
  private readonly call: HttpCall;
  private readonly predict: RestPredict;
  private readonly format: JsonPredictFormat;

  constructor(call: HttpCall, predict: RestPredict, format: JsonPredictFormat) {
    this.call = call;
    this.predict = predict;
    this.format = format;
  }

  onAnswer(answer: PredictAnswer): void {
    if (this.call.ended) return;
    try {
      this.predict.answer(this.call, this.format, answer);
    } catch (error) {
      replyFailure(this.call, asWorkerError(error) ?? internalError(error));
    }
  }

  onFailure(error: WorkerError): void {
    replyFailure(this.call, error);
  }
}
