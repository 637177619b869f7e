/**
 * A slab: the memory of one batch, one SharedArrayBuffer holding every numeric input and pre-allocated output behind one
 * another. The plan says where each lies; it is plain data, so the front thread and the execution threads build the same
 * views from it.
 *
 *   | input 0: capacityRows x rowElements | input 1 | ... | output 0 | output 1 | ...      (each 64-byte aligned)
 *
 * Strings and outputs whose shape is not known beforehand have no place here; they travel by copy.
 */
import { type ElementType, elementTypeOf } from '../session/element-type.ts';
import type { ModelOutput, Signature, TensorSpec } from '../session/signature.ts';
import type { TensorData } from './batcher.ts';

/** Alignment of each tensor: a cache line, and at least what any element type needs. */
const ALIGNMENT = 64;

/** One tensor of a slab. */
export interface SlabTensor {
  readonly name: string;
  readonly ortType: string;
  /** Shape of one row, or of the whole tensor when the model has no batch axis. Holds no -1 if `byteOffset` >= 0. */
  readonly rowDims: readonly number[];
  /** Elements of one row; 0 for an output of unknown shape. */
  readonly rowElements: number;
  /** Where the tensor begins, or -1 when it is not in the slab (strings, outputs of unknown shape). */
  readonly byteOffset: number;
}

export interface SlabPlan {
  /** Whether tensors have a batch axis in front of `rowDims`. */
  readonly batched: boolean;
  /** Rows each tensor has room for; 1 when not `batched`. */
  readonly capacityRows: number;
  readonly inputs: readonly SlabTensor[];
  readonly outputs: readonly SlabTensor[];
  readonly byteLength: number;
}

/** Views over one slab in the order of the plan; null where the plan has no place for the tensor. */
export interface SlabViews {
  readonly inputs: readonly (TensorData | null)[];
  readonly outputs: readonly (TensorData | null)[];
}

/** An output onnxruntime allocated itself. */
export interface LooseOutput {
  readonly data: TensorData | readonly string[];
  readonly dims: readonly number[];
}

/**
 * Lays out a slab for requests whose input rows have the shapes `inputRowDims` (all known).
 * `outputs` says which outputs may be pre-allocated.
 */
export function planSlab(
  signature: Signature,
  outputs: readonly ModelOutput[],
  batched: boolean,
  inputRowDims: readonly (readonly number[])[],
  capacityRows: number,
): SlabPlan {
  let end = 0;
  const place = (spec: TensorSpec, rowDims: readonly number[], allocate: boolean): SlabTensor => {
    const type = elementTypeOf(spec.ortType);
    const known = allocate && type.array !== null && !rowDims.includes(-1);
    const rowElements = rowDims.includes(-1) ? 0 : elementsOf(rowDims);
    const byteOffset = known ? end : -1;
    if (known) end = align(end + capacityRows * rowElements * type.bytes);
    return { name: spec.name, ortType: spec.ortType, rowDims, rowElements, byteOffset };
  };
  const placedInputs = signature.inputs.map((spec, i) => place(spec, inputRowDims[i], true));
  const placedOutputs = signature.outputs.map((spec, i) =>
    place(spec, batched ? spec.shape.slice(1) : spec.shape, outputs[i].shapeIsCertain),
  );
  return { batched, capacityRows, inputs: placedInputs, outputs: placedOutputs, byteLength: Math.max(end, ALIGNMENT) };
}

/** Typed arrays over `memory` for every tensor the plan places there. */
export function slabViews(plan: SlabPlan, memory: SharedArrayBuffer): SlabViews {
  const view = (tensor: SlabTensor) =>
    tensor.byteOffset < 0
      ? null
      : arrayOver(elementTypeOf(tensor.ortType), memory, tensor.byteOffset, plan.capacityRows * tensor.rowElements);
  return { inputs: plan.inputs.map(view), outputs: plan.outputs.map(view) };
}

/** The shape of `rows` rows of a tensor of the plan. */
export function dimsOf(plan: SlabPlan, tensor: SlabTensor, rows: number): number[] {
  return plan.batched ? [rows, ...tensor.rowDims] : [...tensor.rowDims];
}

export function elementsOf(dims: readonly number[]): number {
  let elements = 1;
  for (const dim of dims) elements *= dim;
  return elements;
}

/** Bytes one row takes in a slab, outputs of known shape included; strings count as references. */
export function rowBytes(signature: Signature, batched: boolean, inputRowDims: readonly (readonly number[])[]): number {
  let bytes = 0;
  for (let i = 0; i < inputRowDims.length; i++) {
    bytes += elementsOf(inputRowDims[i]) * elementTypeOf(signature.inputs[i].ortType).bytes;
  }
  for (const { shape, ortType } of signature.outputs) {
    const rowDims = batched ? shape.slice(1) : shape;
    if (!rowDims.includes(-1)) bytes += elementsOf(rowDims) * elementTypeOf(ortType).bytes;
  }
  return bytes;
}

function arrayOver(
  type: ElementType,
  memory: SharedArrayBuffer,
  byteOffset: number,
  length: number,
): TensorData | null {
  return type.array === null ? null : new type.array(memory, byteOffset, length);
}

function align(byteOffset: number): number {
  return Math.ceil(byteOffset / ALIGNMENT) * ALIGNMENT;
}
