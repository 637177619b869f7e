/** From what a request asks for to the servable that answers it, or TensorFlow Serving's refusal. */
import { type ModelSpecView, VersionChoice } from '../../proto/tensor/model-spec-view.ts';
import type { Servable } from '../batching/batcher.ts';
import type { ServableView } from '../repository/servable-view.ts';
import {
  emptyModelName,
  missingModelSpec,
  servableNotFound,
  unknownVersionLabel,
  type WorkerError,
} from '../worker-error.ts';

/** Looks up by name and version, label or neither. @throws WireError where the spec's text is not UTF-8. */
export function findServable(view: ServableView, spec: ModelSpecView, buf: Buffer): Servable | WorkerError {
  if (!spec.present) return missingModelSpec();
  const name = spec.name(buf);
  if (name === '') return emptyModelName();
  const model = view.get(name);
  if (spec.versionChoice === VersionChoice.none) return model?.latest ?? servableNotFound(name, null);
  let version: bigint;
  if (spec.versionChoice === VersionChoice.version) {
    version = spec.version();
  } else {
    const label = spec.label(buf);
    const labelled = model?.labels.get(label);
    if (labelled === undefined) return unknownVersionLabel(label);
    version = labelled;
  }
  return model?.byVersion.get(version) ?? servableNotFound(name, version);
}
