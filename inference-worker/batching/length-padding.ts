/**
 * Inputs of different lengths in one batch. An open dimension behind the first is rounded up to a length from a short
 * series, so that requests of similar length share a queue; shorter rows are filled up with the first value of their
 * tensor, as TensorFlow Serving fills them. Outputs that follow an input's dimension, by its symbolic name in the graph,
 * are cut back to the request's own length: padding never reaches a caller.
 *
 * Lengths: up to 8 as one, then four to each doubling (10, 12, 14, 16, 20, ...), so at most a quarter is padding.
 */
import type { TensorView } from '../../proto/tensor/tensor-view.ts';
import type { ModelOutput, TensorSpec } from '../session/signature.ts';
import type { OutputView, PredictCall, TensorData } from './batcher.ts';
import { elementsOf, type SlabPlan } from './slab.ts';

const SHORTEST = 8;
const STEPS_PER_DOUBLING = 4;

/** The length a row of `length` is padded to. */
export function paddedLength(length: number): number {
  if (length <= SHORTEST) return length === 0 ? 0 : SHORTEST;
  const step = 2 ** (31 - Math.clz32(length - 1)) / STEPS_PER_DOUBLING;
  return Math.ceil(length / step) * step;
}

/** The row shape a tensor is executed with: its own, open dimensions padded. `tensor` has the batch axis in front. */
export function paddedRowDims(spec: TensorSpec, tensor: TensorView): number[] {
  const dims: number[] = [];
  for (let i = 1; i < tensor.rank; i++) dims.push(spec.shape[i] === -1 ? paddedLength(tensor.dims[i]) : tensor.dims[i]);
  return dims;
}

/** The row shapes of a request, or null when all are as `plan` runs them. */
export function ownTails(plan: SlabPlan, tensors: readonly TensorView[]): number[][] | null {
  const tails = plan.inputs.map((_, i) => tensors[i].dims.slice(1, tensors[i].rank));
  return tails.some((tail, i) => !sameDims(tail, plan.inputs[i].rowDims)) ? tails : null;
}

/** Writes `rows` rows of shape `from`, lying in `source`, to `target` from `offset` on, each padded to shape `to`. */
export function padRows(
  source: TensorData | readonly string[],
  from: readonly number[],
  target: TensorData | string[],
  offset: number,
  to: readonly number[],
  rows: number,
): void {
  const rowElements = elementsOf(to);
  const filled = target as (number | bigint | string)[];
  const filling = (source.length > 0 ? source[0] : emptyOf(target)) as never;
  while (Array.isArray(target) && target.length < offset + rows * rowElements) target.push('');
  filled.fill(filling, offset, offset + rows * rowElements);
  const own = elementsOf(from);
  for (let row = 0; row < rows; row++) copyBox(source, row * own, from, filled, offset + row * rowElements, to, from);
}

/** The outputs of a call whose rows were padded, cut back to its own lengths; copies, because rows no longer lie as they were. */
export function cutOutputs(
  outputs: readonly OutputView[],
  axes: readonly ModelOutput[],
  plan: SlabPlan,
  { inputTails }: PredictCall,
  rowStart: number,
  rowCount: number,
): readonly OutputView[] {
  return outputs.map((output, i) => {
    const ran = output.dims.slice(1);
    const own = ran.map((dim, j) => {
      const source = axes[i].followed?.[j + 1] ?? null;
      if (source === null || plan.inputs[source.input].rowDims[source.axis - 1] !== dim) return dim;
      return inputTails![source.input][source.axis - 1];
    });
    const { data, rowElements } = output;
    const kept = elementsOf(own);
    const cut = likeArray(data, rowCount * kept);
    for (let row = 0; row < rowCount; row++) {
      copyBox(data, (rowStart + row) * rowElements, ran, cut as never[], row * kept, own, own);
    }
    const dims = [rowCount, ...own];
    return { spec: output.spec, data: cut, dims, batched: true, rowElements: kept };
  });
}

/** An empty array of the same kind with room for `length` elements. */
export function likeArray(data: TensorData | readonly string[], length: number): TensorData | string[] {
  if (!ArrayBuffer.isView(data)) return new Array<string>(length).fill('');
  return new (data.constructor as new (length: number) => TensorData)(length);
}

/** Copies the box `box` at the origin of a tensor of shape `from` to that of one of shape `to`. */
function copyBox(
  source: TensorData | readonly string[],
  at: number,
  from: readonly number[],
  target: { [index: number]: number | bigint | string },
  to: number,
  toDims: readonly number[],
  box: readonly number[],
): void {
  if (box.length === 0) {
    target[to] = source[at];
    return;
  }
  const fromStride = elementsOf(from.slice(1));
  const toStride = elementsOf(toDims.slice(1));
  for (let i = 0; i < box[0]; i++) {
    copyBox(source, at + i * fromStride, from.slice(1), target, to + i * toStride, toDims.slice(1), box.slice(1));
  }
}

function emptyOf(target: TensorData | string[]): number | bigint | string {
  if (Array.isArray(target)) return '';
  return target instanceof BigInt64Array || target instanceof BigUint64Array ? 0n : 0;
}

function sameDims(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}
