/**
 * The classification extension: instead of an output, the `classification` largest values of each row as strings
 * `VALUE:INDEX` or, where the model names its classes, `VALUE:INDEX:LABEL`.
 */
import { DataType, type ElementArray } from '../../../proto/tensor/dtype.ts';
import type { JsonOutput } from '../../../proto/tensor/json-tensor-writer.ts';
import { OipError } from '../../../proto/tensor/oip-error.ts';
import { numberParameter, type OipParameters } from '../../../proto/tensor/oip-parameters.ts';
import type { Signature } from '../../session/signature.ts';
import { hasBatchAxis } from './oip-lookup.ts';

/** The output as its parameters ask for it. */
export function classify(output: JsonOutput, parameters: OipParameters | null, signature: Signature): JsonOutput {
  const wanted = numberParameter(parameters, 'classification', 0);
  if (!(wanted > 0)) return output;
  const { name, dtype, dims, from, count } = output;
  if (dtype === DataType.STRING || dtype === DataType.BOOL || dtype === DataType.HALF) {
    throw new OipError(`class result not available for output '${name}' due to unsupported type`);
  }
  const batched = hasBatchAxis(signature);
  const rows = batched ? dims[0] : 1;
  const classes = rows === 0 ? 0 : count / rows;
  const kept = Math.min(Math.floor(wanted), classes);
  const labels = signature.examples?.labels ?? [];
  const data: string[] = [];
  for (let row = 0; row < rows; row++) {
    putTop(data, output.data as ElementArray, from + row * classes, classes, kept, dtype, labels);
  }
  return { name, dtype: DataType.STRING, dims: batched ? [rows, kept] : [kept], data, from: 0, count: data.length };
}

function putTop(
  into: string[],
  data: ElementArray,
  from: number,
  classes: number,
  kept: number,
  dtype: number,
  labels: readonly string[],
): void {
  const order = Array.from({ length: classes }, (_, i) => i);
  order.sort((a, b) => compare(data[from + b], data[from + a]) || a - b);
  const isDecimal = dtype === DataType.FLOAT || dtype === DataType.DOUBLE;
  for (let i = 0; i < kept; i++) {
    const index = order[i];
    const value = data[from + index];
    const text = isDecimal ? Number(value).toFixed(DECIMALS) : String(value);
    const label = labels[index];
    into.push(label === undefined ? `${text}:${index}` : `${text}:${index}:${label}`);
  }
}

/** Decimals of C++'s `std::to_string`. */
const DECIMALS = 6;

/** NaN goes last. */
function compare(a: number | bigint, b: number | bigint): number {
  if (a > b) return 1;
  if (a < b) return -1;
  if (a === b) return 0;
  return Number.isNaN(a as number) ? (Number.isNaN(b as number) ? 0 : -1) : 1;
}
