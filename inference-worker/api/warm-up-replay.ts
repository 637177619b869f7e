/**
 * Warms a servable up before it is AVAILABLE: replays the recorded requests beside it (TensorFlow Serving's file, a
 * TFRecord of PredictionLog), or, where there are none and loading could not try the model on zeros, makes one up.
 *
 * A recorded request that fails keeps its version from serving, as in TensorFlow Serving: what callers are known to send
 * must work. A made-up one may fail, because nobody ever sent it.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { allocateElements, DataType } from '../../proto/tensor/dtype.ts';
import { MessageFields } from '../../proto/tensor/message-fields.ts';
import { PredictRequestView, parsePredictRequest } from '../../proto/tensor/predict-message.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { PredictCall, Servable } from '../batching/batcher.ts';
import { readTfRecords, TfRecordError } from '../repository/tf-record.ts';
import {
  CLASSIFY_METHOD_NAME,
  DEFAULT_SIGNATURE_NAME,
  REGRESS_METHOD_NAME,
  type TensorSpec,
} from '../session/signature.ts';
import { WorkerError, warmUpFailed } from '../worker-error.ts';
import { readExampleRequest, readMultiInferenceRequest } from './examples/example-methods.ts';
import { inferOn, multiInferOn } from './examples/example-service.ts';
import { PredictOperation } from './predict-operation.ts';
import { chooseOutputs, predictTarget } from './predict-target.ts';
import { type RequestTensor, writeRequest } from './tensor-request.ts';

/** Records in one file: TensorFlow Serving's bound. */
export const MAX_WARM_UP_RECORDS = 1000;

export interface ReplayOptions {
  /** How often each record is run. */
  readonly iterations: number;
  /** Longest record, in bytes. */
  readonly maxRecordBytes: number;
}

/** Kinds of PredictionLog by field: the request is field 1 of each. Session runs and streams are passed over. */
const Log = { classify: 2, regress: 3, multiInference: 4, predict: 6 } as const;

/** Replays a file. Resolves with the number of records run; rejects with a WorkerError when one cannot be. */
export async function replayWarmUp(servable: Servable, path: string, options: ReplayOptions): Promise<number> {
  let records = 0;
  try {
    for await (const record of readTfRecords(path, options.maxRecordBytes)) {
      if (++records > MAX_WARM_UP_RECORDS) {
        const problem = `Number of warmup records exceeds the maximum (${MAX_WARM_UP_RECORDS}) at ${path}`;
        throw new WorkerError(GrpcStatus.INVALID_ARGUMENT, problem, 'model_load_failed');
      }
      for (let i = 0; i < options.iterations; i++) await replay(servable, record);
    }
  } catch (error) {
    throw failureOf(path, records, error);
  }
  return records;
}

function failureOf(path: string, records: number, error: unknown): WorkerError {
  if (error instanceof TfRecordError) {
    const detail = `${error.message}. Please verify your warmup data is in TFRecord format.`;
    return warmUpFailed(path, GrpcStatus.DATA_LOSS, detail);
  }
  if (error instanceof WorkerError && error.reason === 'model_load_failed') return error;
  const detail = `record ${records - 1}: ${(error as Error).message}`;
  if (error instanceof WorkerError) return warmUpFailed(path, error.code, detail);
  if (error instanceof WireError) return warmUpFailed(path, GrpcStatus.INVALID_ARGUMENT, detail);
  return warmUpFailed(path, GrpcStatus.UNKNOWN, detail, error);
}

async function replay(servable: Servable, record: Buffer): Promise<void> {
  for (const fields = new MessageFields(record, 0, record.length, 'PredictionLog'); fields.next(); ) {
    const kind = Object.values(Log).find((field) => fields.is(field));
    if (kind === undefined) continue;
    for (const log = fields.message('PredictionLog'); log.next(); ) {
      if (log.is(1)) await replayRequest(servable, kind, log.bytes());
    }
  }
}

/** The model and version a record names are those it was recorded from; what counts is the signature. */
async function replayRequest(servable: Servable, kind: number, request: Buffer): Promise<void> {
  if (kind === Log.predict) {
    await replayPredict(servable, request);
    return;
  }
  const fields = new MessageFields(request, 0, request.length, 'request');
  if (kind === Log.multiInference) {
    const { tasks, examples } = readMultiInferenceRequest(fields);
    await multiInferOn(servable, tasks, examples);
    return;
  }
  const { spec, examples } = readExampleRequest(fields);
  const method = kind === Log.classify ? CLASSIFY_METHOD_NAME : REGRESS_METHOD_NAME;
  await inferOn(servable, method, spec?.signatureName ?? '', examples);
}

async function replayPredict(servable: Servable, request: Buffer): Promise<void> {
  const view = new PredictRequestView();
  parsePredictRequest(view, request, 0, request.length);
  const filter: string[] = [];
  for (let i = 0; i < view.filterCount; i++) filter.push(view.filterAt(request, i));
  await predict(servable, view.modelSpec.signatureName(request), filter, (call) =>
    servable.submit(call, view, request),
  );
}

/** Submits one Predict and waits for its end. Rejects with WorkerError. */
function predict(
  servable: Servable,
  signatureName: string,
  filter: readonly string[],
  submit: (call: PredictCall) => WorkerError | null,
): Promise<void> {
  const target = predictTarget(servable, signatureName);
  if (target instanceof WorkerError) throw target;
  const chosen = chooseOutputs(target, filter);
  if (chosen instanceof WorkerError) throw chosen;
  return new Promise((resolve, reject) => {
    const receiver = { onAnswer: () => resolve(), onFailure: reject };
    const refusal = submit(new PredictOperation(target, chosen, { inputs: [] }, receiver));
    if (refusal !== null) reject(refusal);
  });
}

/** Elements of a made-up request at most. */
const MAX_GENERATED_ELEMENTS = 1024 * 1024;

/**
 * Runs one row of zeros whose open dimensions are 1. Resolves with whether that worked; null where there was no need,
 * because loading has run the model on its declared shapes.
 */
export async function generateWarmUp(servable: Servable): Promise<boolean | null> {
  const signature = servable.signatures.get(DEFAULT_SIGNATURE_NAME);
  if (signature === undefined || signature.inputs.every(({ shape }) => !shape.slice(1).includes(-1))) return null;
  const inputs = signature.inputs.map(zeros);
  if (inputs.some((input) => input === null)) return null;
  const { view, buf } = writeRequest(inputs as RequestTensor[]);
  try {
    await predict(servable, '', [], (call) => servable.submit(call, view, buf));
    return true;
  } catch (error) {
    if (error instanceof WorkerError) return false;
    throw error;
  }
}

function zeros({ name, dtype, shape }: TensorSpec): RequestTensor | null {
  const dims = shape.map((dim) => (dim === -1 ? 1 : dim));
  const count = dims.reduce((product, dim) => product * dim, 1);
  if (count > MAX_GENERATED_ELEMENTS) return null;
  const data = dtype === DataType.STRING ? new Array<string>(count).fill('') : allocateElements(dtype, count)!;
  return { name, dtype, dims, data };
}
