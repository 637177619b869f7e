/**
 * Classify, Regress and MultiInference as operations on plain examples, with no transport in them. They need a signature
 * that maps features to inputs; a model without a signature file has none, and whoever asks is told so.
 */
import { type OutputView, PredictCall, Priority, type Servable } from '../../batching/batcher.ts';
import {
  CLASSIFY_METHOD_NAME,
  DEFAULT_SIGNATURE_NAME,
  PREDICT_METHOD_NAME,
  REGRESS_METHOD_NAME,
  type Signature,
} from '../../session/signature.ts';
import {
  emptyInput,
  emptyModelName,
  exampleSignatureNotFound,
  multiInferenceSignatureNotFound,
  WorkerError,
} from '../../worker-error.ts';
import { type ModelSpec, modelSpecOf } from '../model-spec.ts';
import type { ServingService } from '../serving-service.ts';
import type { TaskTiming } from '../task-timing.ts';
import { writeRequest } from '../tensor-request.ts';
import {
  differentExampleInputs,
  differentModels,
  duplicateSignature,
  emptyTaskModelName,
  examplesUnimplemented,
  unsupportedMethod,
  wrongMethodName,
} from './example-errors.ts';
import type { Example } from './example-message.ts';
import { type Classifications, classificationsOf, type Regressions, regressionsOf } from './example-results.ts';
import { rowsOf } from './example-rows.ts';

export interface ExampleOptions {
  /** When the caller stops waiting, on the worker's clock. */
  readonly deadlineMs?: number;
  readonly priority?: number;
  /** One of `EntryPoint`, for metrics. */
  readonly entry?: number;
  /** Given the call once it is accepted: setting its `cancelled` takes it out of its queue. */
  readonly onAccepted?: (call: PredictCall) => void;
}

export type ExampleResult =
  | { readonly kind: 'classifications'; readonly classifications: Classifications }
  | { readonly kind: 'regressions'; readonly regressions: Regressions };

/** One result with who gave it. */
export interface ExampleAnswer extends TaskTiming {
  readonly servable: Servable;
  readonly signatureName: string;
  readonly result: ExampleResult;
}

/** One task of MultiInference. */
export interface InferenceTask {
  readonly spec: ModelSpec | null;
  /** `tensorflow/serving/classify` or `tensorflow/serving/regress`. */
  readonly methodName: string;
}

export class ExampleService {
  private readonly service: ServingService;

  constructor(service: ServingService) {
    this.service = service;
  }

  /** One result of kind `classifications`. Rejects with WorkerError. */
  classify(spec: ModelSpec | null, examples: readonly Example[], options?: ExampleOptions): Promise<ExampleAnswer> {
    return this.single(CLASSIFY_METHOD_NAME, spec, examples, options);
  }

  /** One result of kind `regressions`. Rejects with WorkerError. */
  regress(spec: ModelSpec | null, examples: readonly Example[], options?: ExampleOptions): Promise<ExampleAnswer> {
    return this.single(REGRESS_METHOD_NAME, spec, examples, options);
  }

  /** One result per task, from one run over the same examples. Rejects with WorkerError. */
  async multiInference(
    tasks: readonly InferenceTask[],
    examples: readonly Example[],
    options: ExampleOptions = {},
  ): Promise<ExampleAnswer[]> {
    const first = tasks[0]?.spec ?? null;
    if (first === null) throw emptyModelName();
    const servable = this.service.servable(first);
    return await run(servable, multiSignatures(servable, tasks), examples, options);
  }

  private async single(
    methodName: string,
    spec: ModelSpec | null,
    examples: readonly Example[],
    options: ExampleOptions = {},
  ): Promise<ExampleAnswer> {
    return await inferOn(this.service.servable(spec), methodName, spec!.signatureName, examples, options);
  }
}

/** Classify or Regress on a servable at hand, in the view or not. Rejects with WorkerError. */
export async function inferOn(
  servable: Servable,
  methodName: string,
  signatureName: string,
  examples: readonly Example[],
  options: ExampleOptions = {},
): Promise<ExampleAnswer> {
  const signature = servable.signatures.get(signatureName || DEFAULT_SIGNATURE_NAME);
  if (signature === undefined) throw exampleSignatureNotFound(signatureName || DEFAULT_SIGNATURE_NAME);
  checkMethod(servable, signature, methodName);
  return (await run(servable, [signature], examples, options))[0]!;
}

/** MultiInference on a servable at hand; the names in the specs are only compared with each other. */
export async function multiInferOn(
  servable: Servable,
  tasks: readonly InferenceTask[],
  examples: readonly Example[],
  options: ExampleOptions = {},
): Promise<ExampleAnswer[]> {
  return await run(servable, multiSignatures(servable, tasks), examples, options);
}

function checkMethod(servable: Servable, signature: Signature, methodName: string): void {
  if (signature.methodName === methodName) return;
  const any = [...servable.signatures.values()].some((one) => one.methodName !== PREDICT_METHOD_NAME);
  if (!any) throw examplesUnimplemented(servable.model, servable.version);
  throw wrongMethodName(methodName, signature.methodName);
}

function multiSignatures(servable: Servable, tasks: readonly InferenceTask[]): Signature[] {
  const signatures: Signature[] = [];
  let model = '';
  for (const { spec, methodName } of tasks) {
    const { name, signatureName } = spec ?? modelSpecOf('');
    if (name === '') throw emptyTaskModelName();
    if (model !== '' && model !== name) throw differentModels();
    model = name;
    const signature = servable.signatures.get(signatureName || DEFAULT_SIGNATURE_NAME);
    if (signatures.some((known) => known === signature && known !== undefined))
      throw duplicateSignature(signature!.name);
    if (signature === undefined) throw multiInferenceSignatureNotFound(signatureName || DEFAULT_SIGNATURE_NAME);
    if (methodName !== CLASSIFY_METHOD_NAME && methodName !== REGRESS_METHOD_NAME) throw unsupportedMethod(methodName);
    checkMethod(servable, signature, methodName);
    if (signatures.length > 0 && !sameInputs(signatures[0]!, signature)) throw differentExampleInputs();
    signatures.push(signature);
  }
  return signatures;
}

/** Whether examples become the same tensors for both: aliases may differ, what fills them may not. */
function sameInputs(a: Signature, b: Signature): boolean {
  return JSON.stringify(a.examples!.features) === JSON.stringify(b.examples!.features);
}

/** One run over the examples, read by every signature. */
function run(
  servable: Servable,
  signatures: readonly Signature[],
  examples: readonly Example[],
  options: ExampleOptions,
): Promise<ExampleAnswer[]> {
  if (examples.length === 0) throw emptyInput();
  const { view, buf } = writeRequest(rowsOf(signatures[0]!, examples));
  return new Promise((resolve, reject) => {
    const call = new ExampleCall(servable, signatures, resolve, reject);
    call.deadlineMs = options.deadlineMs ?? Number.POSITIVE_INFINITY;
    call.priority = options.priority ?? Priority.primary;
    if (options.entry !== undefined) call.entry = options.entry;
    const refusal = servable.submit(call, view, buf);
    if (refusal !== null) reject(refusal);
    else options.onAccepted?.(call);
  });
}

class ExampleCall extends PredictCall {
  private readonly servable: Servable;
  private readonly signatures: readonly Signature[];
  private readonly resolve: (answers: ExampleAnswer[]) => void;
  private readonly reject: (error: WorkerError) => void;

  constructor(
    servable: Servable,
    signatures: readonly Signature[],
    resolve: (answers: ExampleAnswer[]) => void,
    reject: (error: WorkerError) => void,
  ) {
    super(signatures[0]!);
    this.servable = servable;
    this.signatures = signatures;
    this.resolve = resolve;
    this.reject = reject;
  }

  onOutputs(outputs: readonly OutputView[], rowStart: number, rowCount: number): void {
    const { servable, queueMs, batchMs, computeMs } = this;
    try {
      this.resolve(
        this.signatures.map((signature) => ({
          servable,
          signatureName: signature.name,
          result: resultOf(signature, outputs, rowStart, rowCount),
          queueMs,
          batchMs,
          computeMs,
        })),
      );
    } catch (error) {
      if (!(error instanceof WorkerError)) throw error;
      this.reject(error);
    }
  }

  onFailure(error: WorkerError): void {
    this.reject(error);
  }
}

function resultOf(
  signature: Signature,
  outputs: readonly OutputView[],
  rowStart: number,
  rowCount: number,
): ExampleResult {
  if (signature.methodName === REGRESS_METHOD_NAME) {
    return { kind: 'regressions', regressions: regressionsOf(signature, outputs, rowStart, rowCount) };
  }
  return { kind: 'classifications', classifications: classificationsOf(signature, outputs, rowStart, rowCount) };
}
