/** Predict requests and calls for tests of the worker's core: encode with our writer, submit, record what comes back. */

import { type OutputView, PredictCall, type Servable } from '../../inference-worker/batching/batcher.ts';
import { elementTypeOf } from '../../inference-worker/session/element-type.ts';
import type { Signature } from '../../inference-worker/session/signature.ts';
import type { WorkerError } from '../../inference-worker/worker-error.ts';
import { DataType } from '../../proto/tensor/dtype.ts';
import {
  PredictMessageWriter,
  PredictRequestView,
  parsePredictRequest,
  type TensorData,
  tensorKey,
} from '../../proto/tensor/tensor-view.ts';

/** A tensor of a request: type by onnxruntime's name. */
export interface TestTensor {
  type: string;
  dims: readonly number[];
  data: TensorData;
}

export function float32(dims: readonly number[], values: ArrayLike<number>): TestTensor {
  return { type: 'float32', dims, data: Float32Array.from(values) };
}

export interface EncodedRequest {
  view: PredictRequestView;
  buf: Buffer;
}

/** A parsed PredictRequest with these inputs. */
export function predictRequest(inputs: Readonly<Record<string, TestTensor>>): EncodedRequest {
  const writer = new PredictMessageWriter('request', true);
  writer.begin(Buffer.alloc(0));
  for (const [name, { type, dims, data }] of Object.entries(inputs)) {
    const dtype = type === 'bfloat16' ? DataType.BFLOAT16 : elementTypeOf(type).dtype;
    writer.add(tensorKey(name), dtype, dims, -1, data, 0, data.length);
  }
  const buf = Buffer.alloc(writer.byteLength);
  writer.write(buf, 0);
  return parsed(buf);
}

export function parsed(buf: Buffer): EncodedRequest {
  const view = new PredictRequestView();
  parsePredictRequest(view, buf, 0, buf.length);
  return { view, buf };
}

/** One output as the caller would send it on. */
export interface RecordedOutput {
  name: string;
  dims: number[];
  values: (number | bigint | string)[];
}

/** Copies its rows out, as the shell would, and counts how often it was answered. */
export class RecordingCall extends PredictCall {
  replies = 0;
  outputs: RecordedOutput[] | null = null;
  error: WorkerError | null = null;
  readonly settled: Promise<this>;
  private resolve!: (call: this) => void;

  constructor(signature: Signature) {
    super(signature);
    this.settled = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  override onOutputs(outputs: readonly OutputView[], rowStart: number, rowCount: number): void {
    this.replies++;
    this.outputs = outputs.map((view) => recorded(view, rowStart, rowCount));
    this.resolve(this);
  }

  override onFailure(error: WorkerError): void {
    this.replies++;
    this.error = error;
    this.resolve(this);
  }

  /** The values of the only, or the named, output. Throws what the call failed with. */
  values(name?: string): (number | bigint | string)[] {
    if (this.error !== null) throw this.error;
    const output = name === undefined ? this.outputs?.[0] : this.outputs?.find((candidate) => candidate.name === name);
    if (output === undefined) throw new Error('no such output');
    return output.values;
  }
}

function recorded(view: OutputView, rowStart: number, rowCount: number): RecordedOutput {
  const from = view.batched ? rowStart * view.rowElements : 0;
  const to = view.batched ? from + rowCount * view.rowElements : view.rowElements;
  const dims = view.batched ? [rowCount, ...view.dims.slice(1)] : [...view.dims];
  return { name: view.spec.name, dims, values: [...view.data.slice(from, to)] };
}

/** Submits the inputs; throws the refusal, if any. */
export function submit(
  servable: Servable,
  inputs: Readonly<Record<string, TestTensor>>,
  change?: (call: RecordingCall) => void,
): RecordingCall {
  const call = new RecordingCall(servable.signatures.get('serving_default')!);
  change?.(call);
  const { view, buf } = predictRequest(inputs);
  const refusal = servable.submit(call, view, buf);
  if (refusal !== null) throw refusal;
  return call;
}

/** What `act` is refused with. */
export function refusalOf(act: () => unknown): WorkerError {
  try {
    act();
  } catch (error) {
    return error as WorkerError;
  }
  throw new Error('expected a refusal');
}
