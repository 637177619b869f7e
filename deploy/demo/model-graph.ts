/**
 * Turns a trained network into the ONNX graph that serves it.
 *
 * Owns the signature that all demo models share, so any of them can stand in for another:
 *   features      float32 [batch, 12]   raw columns, in the order of FEATURES
 *   employment    int64   [batch, 1]    index into EMPLOYMENT
 *   probabilities float32 [batch, 2]    of repayment and of default
 *   label         int64   [batch]       0 repays, 1 defaults
 * Clients send raw values: choosing columns, normalising and one-hot encoding happen inside the graph.
 */
import { EMPLOYMENT, FEATURES } from './applicants.ts';
import type { OnnxConstant, OnnxModel, OnnxNode } from './onnx-writer.ts';
import { OnnxType } from './onnx-writer.ts';
import type { Layer } from './training.ts';

/** How raw columns become network inputs; learnt from the training data. */
export interface Normalisation {
  /** Mean of each of the first `columns` features. */
  readonly means: Float32Array;
  readonly deviations: Float32Array;
}

/** Normalised values are held within this many deviations, so one absurd input cannot dominate. */
export const NORMALISED_LIMIT = 4;

const OPSET = 17;

/** Describes the graph: normalise ▸ append the one-hot employment ▸ dense layers ▸ softmax and argmax. */
export function describeGraph(
  identity: { name: string; version: number; documentation: string },
  normalisation: Normalisation,
  layers: readonly Layer[],
  metadata: readonly (readonly [string, string])[],
): OnnxModel {
  const constants: OnnxConstant[] = [];
  const nodes: OnnxNode[] = [];
  appendEncoding(normalisation, constants, nodes);
  let value = 'encoded';
  layers.forEach((layer, i) => {
    value = appendDense(layer, i, value, i === layers.length - 1, constants, nodes);
  });
  nodes.push({ op: 'Softmax', inputs: [value], outputs: ['probabilities'], attributes: { axis: 1 } });
  nodes.push({ op: 'ArgMax', inputs: [value], outputs: ['label'], attributes: { axis: 1, keepdims: 0 } });
  return {
    ...identity,
    opset: OPSET,
    inputs: [
      { name: 'features', type: OnnxType.FLOAT, dims: ['batch', FEATURES.length] },
      { name: 'employment', type: OnnxType.INT64, dims: ['batch', 1] },
    ],
    outputs: [
      { name: 'probabilities', type: OnnxType.FLOAT, dims: ['batch', 2] },
      { name: 'label', type: OnnxType.INT64, dims: ['batch'] },
    ],
    constants,
    nodes,
    metadata,
  };
}

function appendEncoding(normalisation: Normalisation, constants: OnnxConstant[], nodes: OnnxNode[]): void {
  const columns = normalisation.means.length;
  let chosen = 'features';
  if (columns < FEATURES.length) {
    constants.push({
      name: 'columns',
      dims: [columns],
      data: BigInt64Array.from({ length: columns }, (_, i) => BigInt(i)),
    });
    nodes.push({ op: 'Gather', inputs: ['features', 'columns'], outputs: ['chosen'], attributes: { axis: 1 } });
    chosen = 'chosen';
  }
  constants.push(
    { name: 'means', dims: [columns], data: normalisation.means },
    { name: 'deviations', dims: [columns], data: normalisation.deviations },
    { name: 'least', dims: [], data: Float32Array.of(-NORMALISED_LIMIT) },
    { name: 'most', dims: [], data: Float32Array.of(NORMALISED_LIMIT) },
    { name: 'kinds', dims: [1, EMPLOYMENT.length], data: BigInt64Array.from(EMPLOYMENT.keys(), BigInt) },
  );
  nodes.push(
    { op: 'Sub', inputs: [chosen, 'means'], outputs: ['centred'] },
    { op: 'Div', inputs: ['centred', 'deviations'], outputs: ['scaled'] },
    { op: 'Clip', inputs: ['scaled', 'least', 'most'], outputs: ['normalised'] },
    // [batch, 1] against [1, kinds]: an unknown kind of employment matches none and leaves the row all zero.
    { op: 'Equal', inputs: ['employment', 'kinds'], outputs: ['matches'] },
    { op: 'Cast', inputs: ['matches'], outputs: ['one_hot'], attributes: { to: OnnxType.FLOAT } },
    { op: 'Concat', inputs: ['normalised', 'one_hot'], outputs: ['encoded'], attributes: { axis: 1 } },
  );
}

/** Appends one dense layer, with ReLU unless it is the last; returns the name of its result. */
function appendDense(
  layer: Layer,
  index: number,
  input: string,
  isLast: boolean,
  constants: OnnxConstant[],
  nodes: OnnxNode[],
): string {
  const name = `dense_${index}`;
  constants.push(
    { name: `${name}/weights`, dims: [layer.inputs, layer.outputs], data: Float32Array.from(layer.weights) },
    { name: `${name}/biases`, dims: [layer.outputs], data: Float32Array.from(layer.biases) },
  );
  nodes.push({ op: 'Gemm', inputs: [input, `${name}/weights`, `${name}/biases`], outputs: [name] });
  if (isLast) return name;
  nodes.push({ op: 'Relu', inputs: [name], outputs: [`${name}/relu`] });
  return `${name}/relu`;
}
