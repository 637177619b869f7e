/**
 * What may be asked of a running worker when its set of models is replaced, in TensorFlow Serving's words. Pure: the set
 * in force and the set wanted in, a refusal or nothing out.
 */
import {
  modelListedTwice,
  modelWithoutBasePath,
  modelWithoutName,
  platformChanged,
  platformUnsupported,
  type WorkerError,
} from '../worker-error.ts';
import type { ModelConfig } from './managed-model.ts';

/** Platforms a configuration may name: ours, and the one that files written for TensorFlow Serving name. */
export const PLATFORMS: readonly string[] = ['onnx', 'tensorflow'];

/** Models of one configuration; more is refused before anything is read from disk. */
export const MAX_MODELS = 10_000;

/** Why `next` cannot replace `current`, or null. A model whose platform was never said may name one later. */
export function reloadRefusal(
  current: ReadonlyMap<string, ModelConfig>,
  next: readonly ModelConfig[],
): WorkerError | null {
  const names = new Set<string>();
  for (const { name, basePath, platform } of next) {
    if (name === '') return modelWithoutName();
    if (names.has(name)) return modelListedTwice(name);
    names.add(name);
    if (basePath === '') return modelWithoutBasePath(name);
    if (platform === undefined) continue;
    if (!PLATFORMS.includes(platform)) return platformUnsupported(name, platform);
    const before = current.get(name)?.platform;
    if (before !== undefined && before !== platform) return platformChanged(name, before, platform);
  }
  return null;
}
