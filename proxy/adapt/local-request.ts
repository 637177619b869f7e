/**
 * What an answer without a model needs of its request: how many rows it has, the inputs that are looked at, and in which
 * form the caller wants its answer. Read from whichever protocol the call came in.
 *
 * Bounds: `MAX_LOCAL_ROWS` rows, `MAX_LOCAL_ELEMENTS` elements of an input, `MAX_LOCAL_JSON` bytes of JSON (all of which
 * has to be walked); beyond them the request is `too_large` and nothing is computed.
 */
import { JsonColumnReader } from '../../proto/tensor/json-columns.ts';
import type { JsonPredictFormat } from '../../proto/tensor/json-predict-request.ts';
import type { JsonOutput } from '../../proto/tensor/json-tensor-writer.ts';
import { OipInferRequest, parseInferRequest } from '../../proto/tensor/oip-infer-request.ts';
import { OipJsonReader } from '../../proto/tensor/oip-json-request.ts';
import { flagParameter } from '../../proto/tensor/oip-parameters.ts';
import { PredictRequestView, parsePredictRequest } from '../../proto/tensor/tensor-view.ts';
import { AdaptError } from './adapt-error.ts';
import { InferAnswer } from './infer-answer.ts';
import { batchRows } from './output-mapping.ts';
import { tensorElements } from './predict-answer.ts';

export const MAX_LOCAL_ROWS: number = 65_536;
export const MAX_LOCAL_ELEMENTS: number = 1024 * 1024;
export const MAX_LOCAL_JSON: number = 1024 * 1024;

export interface LocalRequest {
  readonly rows: number;
  /** The inputs that were wanted, as far as there are such. */
  readonly inputs: readonly JsonOutput[];
  /** Outputs asked for by name; empty for all. */
  readonly asked: readonly string[];
  readonly signature: string;
  readonly id: string;
  /** Open Inference: outputs as raw bytes, unless `binary` says otherwise for one. */
  readonly raw: boolean;
  readonly binary: ReadonlyMap<string, boolean>;
  /** TensorFlow Serving over REST. */
  readonly format: JsonPredictFormat;
}

const NO_FLAGS: ReadonlyMap<string, boolean> = new Map();
const BLANK = { asked: [], signature: '', id: '', raw: false, binary: NO_FLAGS, format: 'row' } as const;

const predict = new PredictRequestView();
const infer = new OipInferRequest();
const inferJson = new OipJsonReader();
const columns = new JsonColumnReader();

/** A PredictRequest at `[start, end)`. @throws WireError, AdaptError */
export function readPredict(buf: Buffer, start: number, end: number, wanted: ReadonlySet<string>): LocalRequest {
  parsePredictRequest(predict, buf, start, end);
  const { inputs: list } = predict;
  const inputs: JsonOutput[] = [];
  const shapes: { name: string; dtype: number; dims: readonly number[]; count: number }[] = [];
  for (let i = 0; i < list.count; i++) {
    const tensor = list.tensors[i]!;
    const name = list.nameAt(buf, i);
    if (tensor.problem !== '') throw new AdaptError('misfit', `${name}: ${tensor.problem}`);
    const shape = { name, dtype: tensor.dtype, dims: tensor.dims.slice(0, tensor.rank), count: tensor.elementCount };
    shapes.push(shape);
    if (!wanted.has(name)) continue;
    checkElements(name, shape.count);
    inputs.push({ ...shape, from: 0, data: tensorElements(buf, tensor) });
  }
  const asked = Array.from({ length: predict.filterCount }, (_, i) => predict.filterAt(buf, i));
  const signature = predict.modelSpec.signatureName(buf);
  return { ...BLANK, rows: checkRows(batchRows(shapes)), inputs, asked, signature };
}

/** A ModelInferRequest at `[start, end)`. @throws WireError, OipError, AdaptError */
export function readInfer(buf: Buffer, start: number, end: number, wanted: ReadonlySet<string>): LocalRequest {
  parseInferRequest(infer, buf, start, end);
  return ofInfer(buf, wanted);
}

/** An Open Inference request in JSON at `[start, jsonEnd)`, its binary tensors behind it. @throws OipError, AdaptError */
export function readInferJson(
  buf: Buffer,
  start: number,
  jsonEnd: number,
  end: number,
  wanted: ReadonlySet<string>,
): LocalRequest {
  if (jsonEnd - start > MAX_LOCAL_JSON) throw tooLarge(`${jsonEnd - start} bytes of JSON`);
  infer.reset();
  inferJson.parse(infer, buf, start, jsonEnd, end);
  return ofInfer(buf, wanted);
}

function ofInfer(buf: Buffer, wanted: ReadonlySet<string>): LocalRequest {
  const answer = new InferAnswer(infer, buf);
  const inputs: JsonOutput[] = [];
  for (const [i, input] of answer.outputs.entries()) {
    if (!wanted.has(input.name)) continue;
    checkElements(input.name, input.count);
    inputs.push({ ...input, from: 0, data: answer.elements(i) });
  }
  const binary = new Map<string, boolean>();
  for (const { name, parameters } of infer.outputs) {
    const flag = flagParameter(parameters, 'binary_data');
    if (flag !== null) binary.set(name, flag);
  }
  return {
    ...BLANK,
    rows: checkRows(batchRows(answer.outputs)),
    inputs,
    asked: infer.outputs.map(({ name }) => name),
    id: infer.id,
    raw: flagParameter(infer.parameters, 'binary_data_output') ?? infer.usesRaw,
    binary,
  };
}

/** TensorFlow Serving's REST request. @throws JsonError, WireError, AdaptError */
export function readPredictJson(buf: Buffer, start: number, end: number): LocalRequest {
  if (end - start > MAX_LOCAL_JSON) throw tooLarge(`${end - start} bytes of JSON`);
  const { format, rows, columns: inputs } = columns.read(buf, start, end, 'instances', 'inputs');
  for (const { name, count } of inputs) checkElements(name, count);
  return { ...BLANK, rows: checkRows(rows), inputs, format };
}

function checkRows(rows: number): number {
  if (rows > MAX_LOCAL_ROWS) throw tooLarge(`${rows} rows`);
  return rows;
}

function checkElements(name: string, count: number): void {
  if (count > MAX_LOCAL_ELEMENTS) throw tooLarge(`${count} elements of ${name}`);
}

function tooLarge(what: string): AdaptError {
  return new AdaptError('too_large', `${what} are not computed with`);
}
