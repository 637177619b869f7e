/** The requests of the worker bench, and what a direct `session.run` answers to each. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import {
  copyTensorInto,
  modelSpecField,
  PredictMessageWriter,
  PredictResponseView,
  parsePredictResponse,
  tensorKey,
} from '../../../proto/tensor/tensor-view.ts';
import { type BenchModel, INPUT, inputRow, OUTPUT } from './models.ts';

const CASES = 64;
const PREFIX_BYTES = 5;
const DT_FLOAT = 1;

export class PredictCase {
  /** Framed PredictRequest with the row as `tensor_content`, as numerical clients send it. */
  readonly request: Buffer;
  readonly expected: Float32Array;
  private readonly tolerance: number;
  /** The last answer found right: an equal one needs no second look. */
  private right: Buffer | null = null;

  constructor(request: Buffer, expected: Float32Array, tolerance: number) {
    this.tolerance = tolerance;
    this.request = request;
    this.expected = expected;
  }

  /** Whether the framed answer `bytes[0..length)` holds the values a direct run gives. */
  isRight(bytes: Buffer, length: number): boolean {
    if (this.right !== null && this.right.compare(bytes, 0, length) === 0) return true;
    if (!this.matches(bytes, length)) return false;
    this.right = Buffer.from(bytes.subarray(0, length));
    return true;
  }

  private matches(bytes: Buffer, length: number): boolean {
    if (length < PREFIX_BYTES || bytes.readUInt32BE(1) !== length - PREFIX_BYTES) return false;
    parsePredictResponse(view, bytes, PREFIX_BYTES, length);
    const tensor = view.outputs.find(bytes, OUTPUT);
    if (tensor === null || tensor.problem !== '' || tensor.elementCount !== this.expected.length) return false;
    const values = new Float32Array(this.expected.length);
    copyTensorInto(bytes, tensor, values, 0, values.length);
    return values.every((value, i) => Math.abs(value - this.expected[i]!) <= this.tolerance);
  }
}

const view = new PredictResponseView();

/** Makes the cases of `model`, whose file is `file`; answers may be `tolerance` from the CPU's. */
export async function makeCases(model: BenchModel, file: string, tolerance: number): Promise<PredictCase[]> {
  const session = await InferenceSession.create(file, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const cases: PredictCase[] = [];
  for (let i = 0; i < CASES; i++) {
    const row = inputRow(model, i);
    const outputs = await session.run({ [INPUT]: new Tensor('float32', row, [1, model.inputs]) });
    const expected = Float32Array.from(outputs[OUTPUT]!.data as Float32Array);
    cases.push(new PredictCase(requestOf(model, row), expected, tolerance));
  }
  await session.release();
  return cases;
}

function requestOf(model: BenchModel, row: Float32Array): Buffer {
  const writer = new PredictMessageWriter('request', true);
  writer.begin(modelSpecField(1, model.name, null, ''));
  writer.add(tensorKey(INPUT), DT_FLOAT, [1, model.inputs], -1, row, 0, row.length);
  const body = Buffer.alloc(PREFIX_BYTES + writer.byteLength);
  body.writeUInt32BE(writer.byteLength, 1);
  writer.write(body, PREFIX_BYTES);
  return body;
}
