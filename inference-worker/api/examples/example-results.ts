/** From the outputs of a run to classes with scores, or to values: what TensorFlow Serving makes of them, and its checks. */
import { DataType, dtypeName } from '../../../proto/tensor/dtype.ts';
import type { OutputView } from '../../batching/batcher.ts';
import { CLASSES_OUTPUT, SCORES_OUTPUT, type Signature, VALUES_OUTPUT } from '../../session/signature.ts';
import { invalidOutput } from './example-errors.ts';

export interface ClassScore {
  readonly label: string;
  readonly score: number;
}

/** Per example its classes, in the order of the outputs. */
export type Classifications = readonly (readonly ClassScore[])[];
/** Per example its value. */
export type Regressions = readonly number[];

/** One output of a signature, cut to the rows of one call. */
interface Rows {
  readonly dtype: number;
  readonly dims: readonly number[];
  at(row: number, column: number): unknown;
}

/** @throws WorkerError where the outputs are not what Classify needs. */
export function classificationsOf(
  signature: Signature,
  outputs: readonly OutputView[],
  rowStart: number,
  rowCount: number,
): Classifications {
  const classes = rowsOf(signature, CLASSES_OUTPUT, outputs, rowStart, rowCount);
  const scores = rowsOf(signature, SCORES_OUTPUT, outputs, rowStart, rowCount);
  if (classes !== null) checkMatrix(classes, CLASSES_OUTPUT, DataType.STRING, rowCount);
  if (scores !== null) checkMatrix(scores, SCORES_OUTPUT, DataType.FLOAT, rowCount);
  const count = (scores ?? classes)!.dims[1]!;
  if (classes !== null && classes.dims[1] !== count) {
    throw invalidOutput(`Tensors class and score should match in dim_size(1). Got ${classes.dims[1]} vs. ${count}`);
  }
  const labels = signature.examples?.labels ?? [];
  return Array.from({ length: rowCount }, (_row, row) =>
    Array.from({ length: count }, (_column, column) => ({
      label: classes === null ? (labels[column] ?? '') : String(classes.at(row, column)),
      score: scores === null ? 0 : Number(scores.at(row, column)),
    })),
  );
}

/** @throws WorkerError where the output is not what Regress needs. */
export function regressionsOf(
  signature: Signature,
  outputs: readonly OutputView[],
  rowStart: number,
  rowCount: number,
): Regressions {
  const values = rowsOf(signature, VALUES_OUTPUT, outputs, rowStart, rowCount)!;
  const { dims, dtype } = values;
  if (!(dims.length === 1 || (dims.length === 2 && dims[1] === 1))) {
    throw invalidOutput(
      `Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [${dims.join(',')}]`,
    );
  }
  if (dims[0] !== rowCount) {
    throw invalidOutput(`Input batch size did not match output batch size: ${rowCount} vs. ${dims[0]}`);
  }
  if (dtype !== DataType.FLOAT) throw invalidOutput(`Expected output Tensor of DT_FLOAT.  Got: ${dtypeName(dtype)}`);
  return Array.from({ length: rowCount }, (_, row) => Number(values.at(row, 0)));
}

/** Null where the signature has no such output. */
function rowsOf(
  signature: Signature,
  alias: string,
  outputs: readonly OutputView[],
  rowStart: number,
  rowCount: number,
): Rows | null {
  const position = signature.outputs.findIndex((output) => output.name === alias);
  if (position < 0) return null;
  const { spec, data, dims, batched, rowElements } = outputs[signature.graphOutputs?.[position] ?? position]!;
  const shown = batched ? [rowCount, ...dims.slice(1)] : dims;
  const columns = shown.slice(1).reduce((product, dim) => product * dim, 1);
  const from = batched ? rowStart * rowElements : 0;
  return { dtype: spec.dtype, dims: shown, at: (row, column) => data[from + row * columns + column] };
}

function checkMatrix({ dims, dtype }: Rows, alias: string, expected: number, rows: number): void {
  if (dims.length !== 2) {
    throw invalidOutput(`Expected Tensor shape: [batch_size num_classes] but got [${dims.join(',')}]`);
  }
  if (dtype !== expected) {
    throw invalidOutput(`Expected ${alias} Tensor of ${dtypeName(expected)}. Got: ${dtypeName(dtype)}`);
  }
  if (dims[0] !== rows) throw invalidOutput(`Expected ${alias} output batch size of ${rows}. Got: ${dims[0]}`);
}
