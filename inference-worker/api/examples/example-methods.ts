/** Classify, Regress and MultiInference over gRPC: their requests read, their answers written. */

import { MessageBuilder } from '../../../proto/tensor/message-builder.ts';
import { MessageFields } from '../../../proto/tensor/message-fields.ts';
import { modelSpecField } from '../../../proto/tensor/tensor-view.ts';
import { EntryPoint } from '../../metrics/entry-points.ts';
import { WorkerError } from '../../worker-error.ts';
import type { GrpcCall, GrpcMethod } from '../grpc-call.ts';
import type { ModelSpec } from '../model-spec.ts';
import type { TaskTiming } from '../task-timing.ts';
import { type Example, readInput } from './example-message.ts';
import type { ExampleAnswer, ExampleOptions, ExampleResult, ExampleService, InferenceTask } from './example-service.ts';

/** A ClassificationRequest or RegressionRequest. */
export interface ExampleRequest {
  readonly spec: ModelSpec | null;
  readonly examples: readonly Example[];
}

export interface MultiInferenceRequest {
  readonly tasks: readonly InferenceTask[];
  readonly examples: readonly Example[];
}

/** Tasks of one MultiInference; each needs a signature of its own, so more cannot succeed. */
const MAX_TASKS = 1_024;

/** @throws WireError */
export function readExampleRequest(fields: MessageFields): ExampleRequest {
  let spec: ModelSpec | null = null;
  let examples: Example[] = [];
  while (fields.next()) {
    if (fields.is(1)) spec = readSpec(fields.message('ModelSpec'), spec);
    else if (fields.is(2)) examples = readInput(fields.message('Input'));
  }
  return { spec, examples };
}

/** @throws WireError */
export function readMultiInferenceRequest(fields: MessageFields): MultiInferenceRequest {
  const tasks: InferenceTask[] = [];
  let examples: Example[] = [];
  while (fields.next()) {
    if (fields.is(1)) tasks.push(readTask(fields.message('InferenceTask')));
    else if (fields.is(2)) examples = readInput(fields.message('Input'));
    if (tasks.length > MAX_TASKS) fields.fail(`more than ${MAX_TASKS} tasks`);
  }
  return { tasks, examples };
}

function readTask(fields: MessageFields): InferenceTask {
  let spec: ModelSpec | null = null;
  let methodName = '';
  while (fields.next()) {
    if (fields.is(1)) spec = readSpec(fields.message('ModelSpec'), spec);
    else if (fields.is(2)) methodName = fields.text();
  }
  return { spec, methodName };
}

/** A spec, merged into an earlier one of the same message. */
function readSpec(fields: MessageFields, before: ModelSpec | null): ModelSpec {
  let { name, version, label, signatureName } = before ?? { name: '', version: null, label: null, signatureName: '' };
  while (fields.next()) {
    if (fields.is(1)) name = fields.text();
    else if (fields.is(3)) signatureName = fields.text();
    else if (fields.is(4)) {
      label = fields.text();
      version = null;
    } else if (fields.is(2)) {
      version ??= 0n;
      label = null;
      for (const value = fields.message('Int64Value'); value.next(); ) if (value.isInt(1)) version = value.int();
    }
  }
  return { name, version, label, signatureName };
}

/** Classify or Regress: the same request, another kind of result. */
export class ExampleMethod implements GrpcMethod {
  readonly path: string;
  private readonly infer: 'classify' | 'regress';
  private readonly entry: number;
  private readonly service: ExampleService;

  constructor(service: ExampleService, infer: 'classify' | 'regress') {
    this.service = service;
    this.infer = infer;
    this.entry = infer === 'classify' ? EntryPoint.classifyGrpc : EntryPoint.regressGrpc;
    this.path = `/tensorflow.serving.PredictionService/${infer === 'classify' ? 'Classify' : 'Regress'}`;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { spec, examples } = readExampleRequest(new MessageFields(buf, start, end, 'request'));
    const answer = this.service[this.infer](spec, examples, optionsOf(call, this.entry));
    reply(call, answer, timingOf, ({ servable, signatureName, result }) =>
      new MessageBuilder()
        .message(1, resultMessage(result))
        .raw(modelSpecField(2, servable.model, servable.version, signatureName)),
    );
  }
}

export class MultiInferenceMethod implements GrpcMethod {
  readonly path = '/tensorflow.serving.PredictionService/MultiInference';
  private readonly service: ExampleService;

  constructor(service: ExampleService) {
    this.service = service;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { tasks, examples } = readMultiInferenceRequest(new MessageFields(buf, start, end, 'MultiInferenceRequest'));
    reply(
      call,
      this.service.multiInference(tasks, examples, optionsOf(call, EntryPoint.multiInferenceGrpc)),
      ([first]) => first!,
      (answers) => {
        const message = new MessageBuilder();
        for (const { servable, signatureName, result } of answers) {
          const spec = modelSpecField(1, servable.model, servable.version, signatureName);
          const field = result.kind === 'classifications' ? 2 : 3;
          message.message(1, new MessageBuilder().raw(spec).message(field, resultMessage(result)));
        }
        return message;
      },
    );
  }
}

function optionsOf(call: GrpcCall, entry: number): ExampleOptions {
  return {
    entry,
    deadlineMs: call.deadlineMs,
    priority: call.head.priority,
    onAccepted: (accepted) => {
      call.cancellable = {
        cancel: () => {
          accepted.cancelled = true;
        },
      };
    },
  };
}

function timingOf(answer: ExampleAnswer): TaskTiming {
  return answer;
}

function reply<T>(
  call: GrpcCall,
  answer: Promise<T>,
  timing: (value: T) => TaskTiming,
  message: (value: T) => MessageBuilder,
): void {
  answer.then(
    (value) => call.reply(message(value).finish(), timing(value)),
    (error: unknown) => {
      // Anything but an operating error is a mistake of ours and ends the process, as in every other method.
      if (error instanceof WorkerError) call.fail(error);
      else setImmediate(() => call.failWith(error));
    },
  );
}

function resultMessage(result: ExampleResult): MessageBuilder {
  const message = new MessageBuilder();
  if (result.kind === 'regressions') {
    for (const value of result.regressions) message.message(1, new MessageBuilder().float(1, value));
    return message;
  }
  for (const row of result.classifications) {
    const classes = new MessageBuilder();
    for (const { label, score } of row) classes.message(1, new MessageBuilder().text(1, label).float(2, score));
    message.message(1, classes);
  }
  return message;
}
