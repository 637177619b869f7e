/** Small ONNX models for tests of the worker, and loading them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { Logger } from '../../base/logger.ts';
import type { Servable } from '../../inference-worker/batching/batcher.ts';
import { type BatchingOptions, DEFAULT_BATCHING } from '../../inference-worker/batching/batching-options.ts';
import type { LoadServableOptions } from '../../inference-worker/session/load-options.ts';
import { loadServable } from '../../inference-worker/session/loader.ts';
import { OnnxModel, type OnnxType } from './onnx-writer.ts';

/** Deterministic values in [-1, 1). */
export function wave(count: number, step = 1): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * step));
}

/** `y = sigmoid(relu(x * w1 + b1) * w2)`: x float32 [batch, 8], y float32 [batch, 3]. */
export function mlp(hidden = 16): Buffer {
  return new OnnxModel('mlp')
    .input('x', 'float32', ['batch', 8])
    .output('y', 'float32', ['batch', 3])
    .initializer('w1', 'float32', [8, hidden], wave(8 * hidden))
    .initializer('b1', 'float32', [hidden], wave(hidden, 2))
    .initializer('w2', 'float32', [hidden, 3], wave(hidden * 3, 3))
    .node('Gemm', ['x', 'w1', 'b1'], ['h'])
    .node('Relu', ['h'], ['r'])
    .node('MatMul', ['r', 'w2'], ['z'])
    .node('Sigmoid', ['z'], ['y'])
    .build();
}

/** y = x, of any type, [batch, 2]. */
export function identity(type: OnnxType): Buffer {
  return new OnnxModel('identity')
    .input('x', type, ['batch', 2])
    .output('y', type, ['batch', 2])
    .node('Identity', ['x'], ['y'])
    .build();
}

/** y = x + x over tails of any length: [batch, length]. */
export function anyLength(): Buffer {
  return new OnnxModel('any_length')
    .input('x', 'float32', ['batch', 'length'])
    .output('y', 'float32', ['batch', 'length'])
    .node('Add', ['x', 'x'], ['y'])
    .build();
}

/** y = table[i]: fails for an index outside of 0..3. i int64 [batch], y float32 [batch]. */
export function lookup(): Buffer {
  return new OnnxModel('lookup')
    .input('i', 'int64', ['batch'])
    .output('y', 'float32', ['batch'])
    .initializer('table', 'float32', [4], [10, 11, 12, 13])
    .node('Gather', ['table', 'i'], ['y'])
    .build();
}

/** y = the sum of as many ones as n says: n int64 [1], y float32 []. Allocates what its input tells it to. */
export function allocator(): Buffer {
  return new OnnxModel('allocator')
    .input('n', 'int64', [1])
    .output('y', 'float32', [1])
    .node('ConstantOfShape', ['n'], ['ones'], { value: { type: 'float32', dims: [1], values: [1] } })
    .node('ReduceSum', ['ones'], ['y'], { keepdims: 1 })
    .build();
}

/** Multiplies matrices of ones of the size its input says: n int64 [2], y float32 []. Runs as long as it is told to. */
export function spinner(): Buffer {
  return new OnnxModel('spinner')
    .input('n', 'int64', [2])
    .output('y', 'float32', [1, 1])
    .node('ConstantOfShape', ['n'], ['ones'], { value: { type: 'float32', dims: [1], values: [1] } })
    .node('MatMul', ['ones', 'ones'], ['sums'])
    .node('ReduceMax', ['sums'], ['y'], { keepdims: 1 })
    .build();
}

/** A model of `mebibytes` MiB of weights: x float32 [batch, 256], y float32 [batch, width]. */
export function large(mebibytes: number): Buffer {
  const width = mebibytes * 1024;
  const weights = Float32Array.from({ length: 256 * width }, (_, i) => (i % 251) / 251);
  return new OnnxModel('large')
    .input('x', 'float32', ['batch', 256])
    .output('y', 'float32', ['batch', width])
    .initializer('w', 'float32', [256, width], weights)
    .node('MatMul', ['x', 'w'], ['y'])
    .build();
}

/** Slow on purpose: x float32 [batch, 256] through `layers` matrices of 256 x 256. */
export function heavy(layers: number): Buffer {
  const model = new OnnxModel('heavy').input('x', 'float32', ['batch', 256]).output('y', 'float32', ['batch', 256]);
  const weights = wave(256 * 256).map((value) => value / 256);
  model.initializer('w', 'float32', [256, 256], weights);
  let from = 'x';
  for (let i = 0; i < layers; i++) {
    const to = i === layers - 1 ? 'y' : `h${i}`;
    model.node('MatMul', [from, 'w'], [to]);
    from = to;
  }
  return model.build();
}

/** Model files in a folder of their own, and servables loaded from them. */
export class TestModels {
  readonly directory = mkdtempSync(join(tmpdir(), 'understudy-models-'));
  private readonly servables: Servable[] = [];
  private files = 0;

  write(bytes: Buffer): string {
    const path = join(this.directory, `model-${++this.files}.onnx`);
    writeFileSync(path, bytes);
    return path;
  }

  async load(
    bytes: Buffer,
    batching: Partial<BatchingOptions> = {},
    options: Partial<LoadServableOptions> = {},
  ): Promise<Servable> {
    const servable = await loadServable({
      model: 'm',
      version: 1n,
      path: this.write(bytes),
      batching: { ...DEFAULT_BATCHING, maxBatchSize: 64, ...batching },
      clock: systemClock,
      log: new Logger('silent'),
      ...options,
    });
    this.servables.push(servable);
    return servable;
  }

  async close(): Promise<void> {
    await Promise.all(this.servables.map((servable) => servable.close()));
    rmSync(this.directory, { recursive: true });
  }
}
