/**
 * The models of the worker bench: perceptrons with fixed pseudo-random weights, the same bytes on every machine.
 *
 * `small` costs a few microseconds, so that what is measured is the server around it. `large` costs over a millisecond
 * at batch 1 and gains from batching, so that what is measured is how well batches are filled.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OnnxModel } from '../../support/onnx-writer.ts';

export interface BenchModel {
  readonly name: string;
  /** Values of one row of the input and of the output. */
  readonly inputs: number;
  readonly outputs: number;
  readonly build: () => Buffer;
}

/** Names of the one input and output. */
export const INPUT = 'x';
export const OUTPUT = 'y';

const SMALL_INPUTS = 32;
const SMALL_HIDDEN = 64;
const SMALL_OUTPUTS = 2;
const LARGE_WIDTH = 1024;
/** All layers share one matrix: the file stays at 4 MiB, the work is that of this many times as much. */
const LARGE_LAYERS = 8;

export const SMALL: BenchModel = {
  name: 'small',
  inputs: SMALL_INPUTS,
  outputs: SMALL_OUTPUTS,
  build: () => {
    const next = generator(1);
    const model = new OnnxModel('small')
      .input(INPUT, 'float32', ['batch', SMALL_INPUTS])
      .output(OUTPUT, 'float32', ['batch', SMALL_OUTPUTS])
      .initializer('w1', 'float32', [SMALL_INPUTS, SMALL_HIDDEN], weights(SMALL_INPUTS, SMALL_HIDDEN, next))
      .initializer('w2', 'float32', [SMALL_HIDDEN, SMALL_OUTPUTS], weights(SMALL_HIDDEN, SMALL_OUTPUTS, next));
    return model
      .node('MatMul', [INPUT, 'w1'], ['h'])
      .node('Relu', ['h'], ['r'])
      .node('MatMul', ['r', 'w2'], ['s'])
      .node('Softmax', ['s'], [OUTPUT])
      .build();
  },
};

export const LARGE: BenchModel = {
  name: 'large',
  inputs: LARGE_WIDTH,
  outputs: LARGE_WIDTH,
  build: () => {
    const model = new OnnxModel('large')
      .input(INPUT, 'float32', ['batch', LARGE_WIDTH])
      .output(OUTPUT, 'float32', ['batch', LARGE_WIDTH])
      .initializer('w', 'float32', [LARGE_WIDTH, LARGE_WIDTH], weights(LARGE_WIDTH, LARGE_WIDTH, generator(2)));
    let from = INPUT;
    for (let layer = 1; layer <= LARGE_LAYERS; layer++) {
      const to = layer === LARGE_LAYERS ? OUTPUT : `h${layer}`;
      model.node('MatMul', [from, 'w'], [`m${layer}`]).node('Tanh', [`m${layer}`], [to]);
      from = to;
    }
    return model.build();
  },
};

/** Writes `model` as version 1 of a base path under `folder` and returns the file's path. */
export function writeModel(folder: string, model: BenchModel): string {
  const file = join(folder, model.name, '1', 'model.onnx');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, model.build());
  return file;
}

/** Row `index` of the inputs all programs are given: values from -1 to 1. */
export function inputRow(model: BenchModel, index: number): Float32Array {
  const next = generator(1000 + index);
  return Float32Array.from({ length: model.inputs }, next);
}

/** Weights that keep the size of what passes through them. */
function weights(rows: number, columns: number, next: () => number): Float32Array {
  const scale = Math.sqrt(3 / rows);
  return Float32Array.from({ length: rows * columns }, () => next() * scale);
}

/** Pseudo-random numbers from -1 to 1 (xorshift, 32 bits). */
function generator(seed: number): () => number {
  let state = (seed * 2_654_435_769) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 31 - 1;
  };
}
