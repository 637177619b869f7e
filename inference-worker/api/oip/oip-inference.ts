/**
 * One inference of the Open Inference Protocol, however it came: checks the request against the model in Triton's order
 * and words, lets the servable copy its tensors, and hands back the outputs asked for.
 */
import type { Clock } from '../../../base/clock.ts';
import { dtypeToOip } from '../../../proto/tensor/dtype.ts';
import type { JsonOutput } from '../../../proto/tensor/json-tensor-writer.ts';
import { OipBinder } from '../../../proto/tensor/oip-binding.ts';
import { OipError } from '../../../proto/tensor/oip-error.ts';
import { OipData, type OipInferRequest, type OipInput } from '../../../proto/tensor/oip-infer-request.ts';
import { numberParameter, type OipParameters } from '../../../proto/tensor/oip-parameters.ts';
import { PredictRequestView } from '../../../proto/tensor/tensor-view.ts';
import { Priority } from '../../batching/batcher.ts';
import type { Signature, TensorSpec } from '../../session/signature.ts';
import { WorkerError } from '../../worker-error.ts';
import { type PredictAnswer, PredictOperation, type PredictReceiver } from '../predict-operation.ts';
import { type PredictTarget, predictTarget } from '../predict-target.ts';
import type { ServingService } from '../serving-service.ts';
import type { TaskTiming } from '../task-timing.ts';
import { classify } from './oip-classification.ts';
import * as errors from './oip-errors.ts';
import { asOipFailure } from './oip-failure.ts';
import { findOipServable, mainSignature } from './oip-lookup.ts';

/** Told how an inference ended: one of the two, once, never before `infer` returned. */
export interface OipReceiver {
  /** `outputs` are valid only during the call; `asked[i]` are the parameters output `i` was asked for with. */
  onOutputs(
    model: string,
    version: string,
    outputs: readonly JsonOutput[],
    asked: readonly (OipParameters | null)[],
    timing: TaskTiming,
  ): void;
  onFailure(error: WorkerError): void;
}

export interface OipCallOptions {
  /** When the caller or server gives up, on the clock. */
  readonly deadlineMs: number;
  /** One of `Priority`. */
  readonly priority: number;
  /** One of `EntryPoint`, for metrics. */
  readonly entry: number;
}

/** Parameter of a tensor outside of the message. */
const SHARED_MEMORY = 'shared_memory_region';

/** Triton's priorities count from 1, the highest; 0 is the default. */
const HIGHEST_PRIORITY = 1;

export class OipInference {
  private readonly service: ServingService;
  private readonly clock: Clock;
  private readonly binder = new OipBinder();
  private readonly view = new PredictRequestView();

  constructor(service: ServingService, clock: Clock) {
    this.service = service;
    this.clock = clock;
  }

  /** The servable and signature a request means. @throws WorkerError */
  target(modelName: string, modelVersion: string): PredictTarget {
    const servable = findOipServable(this.service.view, modelName, modelVersion);
    if (servable instanceof WorkerError) throw servable;
    const target = predictTarget(servable, mainSignature(servable).name);
    if (target instanceof WorkerError) throw target;
    return target;
  }

  /**
   * Starts the inference of `request`, whose bytes are in `buf` and not used after this returns. The operation can be
   * cancelled. @throws WorkerError, OipError, WireError for every refusal, and then nothing else follows.
   */
  infer(request: OipInferRequest, buf: Buffer, options: OipCallOptions, receiver: OipReceiver): PredictOperation {
    const target = this.target(request.modelName, request.modelVersion);
    checkInputs(request, target.signature);
    const { positions, asked } = chooseOipOutputs(request, target);
    const bytes = this.binder.bind(request, buf, this.view);
    const { modelName, id, parameters } = request;
    const operation = new PredictOperation(
      target,
      positions,
      { inputs: [], deadlineMs: this.deadline(parameters, options), priority: priorityOf(parameters, options) },
      new InferenceReceiver({ modelName, id }, asked, receiver),
    );
    operation.entry = options.entry;
    const refusal = target.servable.submit(operation, this.view, bytes);
    if (refusal !== null) throw errors.translate(refusal, request);
    return operation;
  }

  /** `timeout` counts microseconds from now; 0 is none. */
  private deadline(parameters: OipParameters | null, { deadlineMs }: OipCallOptions): number {
    const micros = numberParameter(parameters, 'timeout', 0);
    return micros > 0 ? Math.min(deadlineMs, this.clock.nowMs() + micros / 1000) : deadlineMs;
  }
}

/** A caller ranks its own requests; a copy that nobody waits for stays behind all of them. */
function priorityOf(parameters: OipParameters | null, { priority }: OipCallOptions): number {
  const ranked = numberParameter(parameters, 'priority', 0);
  if (!(ranked > 0) || priority === Priority.shadow) return priority;
  return ranked <= HIGHEST_PRIORITY ? Priority.urgent : Priority.low;
}

/** Input names, data types and shapes, in that order. The batch size is the core's to check. */
function checkInputs(request: OipInferRequest, { inputs }: Signature): void {
  if (request.inputCount !== inputs.length) throw errors.inputCount(request, inputs.map(nameOf));
  for (let i = 0; i < inputs.length; i++) {
    const input = request.inputs[i];
    const spec = inputs[i].name === input.name ? inputs[i] : inputs.find(({ name }) => name === input.name);
    if (spec === undefined) throw errors.unexpectedInput(request, input.name);
    if (input.parameters?.has(SHARED_MEMORY)) throw errors.sharedMemoryUnsupported();
    if (input.dtype !== spec.dtype) {
      throw errors.inputDatatype(request, input.name, input.datatype, dtypeToOip(spec.dtype));
    }
    if (input.data === OipData.none && input.elementCount > 0) checkFilled(input);
    if (!shapeFits(spec, input))
      throw errors.inputShape(request, input.name, spec.shape, input.dims.slice(0, input.rank));
  }
  for (const { name } of inputs) if (!isNamed(request, name)) throw errors.inputCount(request, inputs.map(nameOf));
}

function checkFilled(input: OipInput): void {
  // Without any data the binding would say so too, in terms of bytes; an empty raw range says the same.
  input.data = OipData.raw;
  input.start = 0;
  input.end = 0;
}

function isNamed(request: OipInferRequest, name: string): boolean {
  for (let i = 0; i < request.inputCount; i++) if (request.inputs[i].name === name) return true;
  return false;
}

/** An input declared without dimensions takes any shape, as in Predict. */
function shapeFits({ shape }: TensorSpec, input: OipInput): boolean {
  if (shape.length === 0) return true;
  if (input.rank !== shape.length) return false;
  for (let i = 0; i < shape.length; i++) if (shape[i] !== -1 && shape[i] !== input.dims[i]) return false;
  return true;
}

interface OutputChoice {
  readonly positions: readonly number[];
  readonly asked: readonly (OipParameters | null)[];
}

const NOTHING_ASKED: readonly null[] = [];

function chooseOipOutputs(request: OipInferRequest, target: PredictTarget): OutputChoice {
  const { outputs } = request;
  if (outputs.length === 0) return { positions: target.allOutputs, asked: NOTHING_ASKED };
  const positions: number[] = [];
  const asked: (OipParameters | null)[] = [];
  for (const { name, parameters } of outputs) {
    const position = target.outputNames.indexOf(name);
    if (position < 0) throw errors.unexpectedOutput(request, name);
    if (parameters?.has(SHARED_MEMORY)) throw errors.sharedMemoryUnsupported();
    if (positions.includes(position)) continue;
    positions.push(position);
    asked.push(parameters);
  }
  return { positions, asked };
}

function nameOf({ name }: TensorSpec): string {
  return name;
}

/** Turns outputs into classes where that was asked for. */
class InferenceReceiver implements PredictReceiver {
  private readonly request: errors.OipRequestName;
  private readonly asked: readonly (OipParameters | null)[];
  private readonly receiver: OipReceiver;

  constructor(request: errors.OipRequestName, asked: readonly (OipParameters | null)[], receiver: OipReceiver) {
    this.request = request;
    this.asked = asked;
    this.receiver = receiver;
  }

  onAnswer(answer: PredictAnswer): void {
    const { target, outputs } = answer;
    const { servable, signature } = target;
    let answered: readonly JsonOutput[] = outputs;
    if (this.asked.some((parameters) => parameters?.has('classification'))) {
      try {
        answered = outputs.map((output, i) => classify(output, this.asked[i] ?? null, signature));
      } catch (error) {
        if (!(error instanceof OipError)) throw error;
        this.receiver.onFailure(asOipFailure(error)!);
        return;
      }
    }
    this.receiver.onOutputs(servable.model, String(servable.version), answered, this.asked, answer);
  }

  onFailure(error: WorkerError): void {
    this.receiver.onFailure(errors.translate(error, this.request));
  }
}
