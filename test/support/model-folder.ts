/** A temporary folder of ONNX models for workers under test. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OnnxModel } from './onnx-writer.ts';

export class ModelFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'understudy-worker-'));

  /** Path of something in the folder. */
  at(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  /** Puts a version in place at once, as an atomic rename does. */
  put(model: string, version: number | string, bytes: Buffer): void {
    const staged = this.at(model, `.staged-${version}`);
    mkdirSync(staged, { recursive: true });
    writeFileSync(join(staged, 'model.onnx'), bytes);
    renameSync(staged, this.at(model, String(version)));
  }

  /** Overwrites the file of a version. */
  replace(model: string, version: number | string, bytes: Buffer): void {
    writeFileSync(this.at(model, String(version), 'model.onnx'), bytes);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** y = x * factor, x and y of shape [batch, 2]. */
export function scaleModel(factor: number): Buffer {
  return new OnnxModel('scale')
    .input('x', 'float32', ['batch', 2])
    .output('y', 'float32', ['batch', 2])
    .initializer('factor', 'float32', [1], [factor])
    .node('Mul', ['x', 'factor'], ['y'])
    .build();
}

/** y = a + b, all of shape [batch, 2]. */
export function sumModel(): Buffer {
  return new OnnxModel('sum')
    .input('a', 'float32', ['batch', 2])
    .input('b', 'float32', ['batch', 2])
    .output('y', 'float32', ['batch', 2])
    .node('Add', ['a', 'b'], ['y'])
    .build();
}
