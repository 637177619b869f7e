/**
 * Predict: parses the request where it lies, lets the servable copy its tensors into a batch, and writes the answer from
 * the batch's rows. Nothing is kept of the request but the call.
 */
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { VersionChoice } from '../../proto/tensor/model-spec-view.ts';
import { PredictRequestView, parsePredictRequest } from '../../proto/tensor/predict-message.ts';
import { PredictMessageWriter } from '../../proto/tensor/tensor-writer.ts';
import { textEquals } from '../../proto/tensor/text.ts';
import { type OutputView, PredictCall } from '../batching/batcher.ts';
import type { ServableView } from '../repository/servable-view.ts';
import { WorkerError } from '../worker-error.ts';
import type { Cancellable, GrpcCall, GrpcMethod } from './grpc-call.ts';
import { readModelSpec } from './model-spec.ts';
import { chooseOutputs, type PredictTarget } from './predict-target.ts';
import type { ServingService } from './serving-service.ts';

export class PredictMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.PredictionService/Predict';
  private readonly service: ServingService;
  private readonly request = new PredictRequestView();
  private readonly writer: PredictMessageWriter;
  /** The last target found for a spec without label and signature, and what it was found by. */
  private lastView: ServableView | null = null;
  private lastTarget: PredictTarget | null = null;
  private lastChoice = 0;
  private lastVersionLo = 0;
  private lastVersionHi = 0;

  /** `asContent`: answers carry `tensor_content` instead of the typed lists. */
  constructor(service: ServingService, asContent = false) {
    this.service = service;
    this.writer = new PredictMessageWriter('response', asContent);
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { request } = this;
    parsePredictRequest(request, buf, start, end);
    const target = this.isLastTarget(buf) ? this.lastTarget! : this.resolve(buf);
    if (target instanceof WorkerError) {
      call.fail(target);
      return;
    }
    const filter = request.filterCount === 0 ? target.allOutputs : chooseOutputs(target, filterNames(request, buf));
    if (filter instanceof WorkerError) {
      call.fail(filter);
      return;
    }
    const task = new PredictTask(call, target, filter, this.writer);
    const refusal = target.servable.submit(task, request, buf);
    if (refusal === null) call.cancellable = task;
    else call.fail(refusal);
  }

  private isLastTarget(buf: Buffer): boolean {
    const { modelSpec } = this.request;
    const { lastTarget } = this;
    return (
      lastTarget !== null &&
      this.lastView === this.service.view &&
      modelSpec.signatureStart === modelSpec.signatureEnd &&
      modelSpec.versionChoice === this.lastChoice &&
      modelSpec.versionLo === this.lastVersionLo &&
      modelSpec.versionHi === this.lastVersionHi &&
      textEquals(buf, modelSpec.nameStart, modelSpec.nameEnd, lastTarget.servable.model)
    );
  }

  private resolve(buf: Buffer): PredictTarget | WorkerError {
    const { modelSpec } = this.request;
    const { view } = this.service;
    const target = this.service.findTarget(readModelSpec(modelSpec, buf));
    const named = modelSpec.signatureStart !== modelSpec.signatureEnd;
    if (target instanceof WorkerError || named || modelSpec.versionChoice === VersionChoice.label) return target;
    this.lastView = view;
    this.lastTarget = target;
    this.lastChoice = modelSpec.versionChoice;
    this.lastVersionLo = modelSpec.versionLo;
    this.lastVersionHi = modelSpec.versionHi;
    return target;
  }
}

function filterNames(request: PredictRequestView, buf: Buffer): string[] {
  const names: string[] = [];
  for (let i = 0; i < request.filterCount; i++) names.push(request.filterAt(buf, i));
  return names;
}

/** One accepted Predict call, until the core answers it. */
class PredictTask extends PredictCall implements Cancellable {
  private readonly call: GrpcCall;
  private readonly target: PredictTarget;
  private readonly filter: readonly number[];
  private readonly writer: PredictMessageWriter;

  constructor(call: GrpcCall, target: PredictTarget, filter: readonly number[], writer: PredictMessageWriter) {
    super(target.signature);
    this.call = call;
    this.target = target;
    this.filter = filter;
    this.writer = writer;
    this.deadlineMs = call.deadlineMs;
    this.priority = call.head.priority;
  }

  cancel(): void {
    this.cancelled = true;
  }

  onOutputs(outputs: readonly OutputView[], rowStart: number, rowCount: number): void {
    if (this.call.ended) return;
    const { writer, filter, target } = this;
    writer.begin(target.modelSpecField);
    for (let i = 0; i < filter.length; i++) {
      this.add(outputs[target.graphOutputs[filter[i]!]!]!, filter[i]!, rowStart, rowCount);
    }
    const { byteLength } = writer;
    const buf = this.call.beginReply(byteLength);
    writer.write(buf, PREFIX_BYTES);
    this.call.finishReply(buf, byteLength, this);
  }

  onFailure(error: WorkerError): void {
    this.call.fail(error);
  }

  private add(output: OutputView, position: number, rowStart: number, rowCount: number): void {
    const { spec, dims, data, rowElements } = output;
    const key = this.target.outputKeys[position]!;
    if (!output.batched) this.writer.add(key, spec.dtype, dims, -1, data, 0, rowElements);
    else this.writer.add(key, spec.dtype, dims, rowCount, data, rowStart * rowElements, rowCount * rowElements);
  }
}
