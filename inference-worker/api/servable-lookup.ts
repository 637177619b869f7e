/** From what a request asks for to the servable that answers it, or TensorFlow Serving's refusal. */
import type { Servable } from '../batching/batcher.ts';
import type { ServableView } from '../repository/servable-view.ts';
import {
  emptyModelName,
  missingModelSpec,
  servableNotFound,
  unknownVersionLabel,
  type WorkerError,
} from '../worker-error.ts';
import type { ModelSpec } from './model-spec.ts';

/** Looks up by name and version, label or neither; null is a request without a spec. */
export function findServable(view: ServableView, spec: ModelSpec | null): Servable | WorkerError {
  if (spec === null) return missingModelSpec();
  const { name, label } = spec;
  if (name === '') return emptyModelName();
  const model = view.get(name);
  if (spec.version === null && label === null) return model?.latest ?? servableNotFound(name, null);
  const version = label === null ? spec.version : model?.labels.get(label);
  if (version === null || version === undefined) return unknownVersionLabel(label ?? '');
  return model?.byVersion.get(version) ?? servableNotFound(name, version);
}
