/** Loading a model file and finding out what it is: the same in the front and in an execution thread. */
import type { DeviceLock } from './device-lock.ts';
import { declaresBatchAxis, followedAxes, type ModelInfo, synthesizeSignature } from './model-info.ts';
import { NativeSession } from './native-session.ts';
import type { ExecutionSettings } from './provider-options.ts';
import { threadCpuMs } from './thread-cpu.ts';
import { warmUp } from './warm-up.ts';

export interface LoadedModel {
  readonly session: NativeSession;
  /** See `ModelInfo`. */
  readonly loadMs: number;
  readonly loadCpuMs: number;
}

/** Throws onnxruntime's error for a file that is not a model it can run. Blocks. */
export function loadModel(
  path: string,
  execution: ExecutionSettings,
  lock: DeviceLock | null,
  instance = 0,
): LoadedModel {
  const beganMs = performance.now();
  const beganCpuMs = threadCpuMs();
  const session = new NativeSession(path, execution, instance, lock);
  const loadMs = performance.now() - beganMs;
  const loadCpuMs = threadCpuMs() - beganCpuMs;
  return { session, loadMs, loadCpuMs: Number.isNaN(loadCpuMs) ? loadMs : loadCpuMs };
}

/** Signature, batch axis and costs. Throws a WorkerError, having released the session, when a tensor has no usable type. */
export function inspectModel(
  { session, loadMs, loadCpuMs }: LoadedModel,
  maxBatchSize: number,
  allowedBatchSizes: readonly number[],
): ModelInfo {
  try {
    const signature = synthesizeSignature(session.inputs, session.outputs);
    const declared = declaresBatchAxis(session.inputs, session.outputs);
    const found = warmUp(session, signature, declared, maxBatchSize, allowedBatchSizes);
    const outputs = found.outputs.map((output, i) => ({
      ...output,
      followed: followedAxes(session.outputs[i], session.inputs),
    }));
    return { signature, loadMs, loadCpuMs, ...found, outputs };
  } catch (error) {
    session.release();
    throw error;
  }
}
