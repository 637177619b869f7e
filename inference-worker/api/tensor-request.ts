/** Turns tensors given as plain values into what a servable takes: the view of a Predict request and its bytes. */
import {
  PredictMessageWriter,
  PredictRequestView,
  parsePredictRequest,
  type TensorData,
  tensorKey,
} from '../../proto/tensor/tensor-view.ts';
import { tensorParsingError } from '../worker-error.ts';

/** An input by its alias. The dimensions multiply to the number of elements; `bool` is bytes, `half` its bits. */
export interface RequestTensor {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

const NO_SPEC = Buffer.alloc(0);
const writer = new PredictMessageWriter('request', true);
const view = new PredictRequestView();

/** The request, valid until the next one is written. @throws WorkerError for a shape that does not hold its elements. */
export function writeRequest(inputs: readonly RequestTensor[]): { view: PredictRequestView; buf: Buffer } {
  writer.begin(NO_SPEC);
  for (const { name, dtype, dims, data } of inputs) {
    if (dims.reduce((product, dim) => product * dim, 1) !== data.length) throw tensorParsingError(name);
    writer.add(tensorKey(name), dtype, dims, -1, data, 0, data.length);
  }
  const buf = Buffer.allocUnsafe(writer.byteLength);
  writer.write(buf, 0);
  parsePredictRequest(view, buf, 0, buf.length);
  return { view, buf };
}
