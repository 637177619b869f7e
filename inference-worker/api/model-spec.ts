/** What a request asks for, as plain values: the same whether it came over gRPC, REST or the Open Inference Protocol. */
import { type ModelSpecView, VersionChoice } from '../../proto/tensor/model-spec-view.ts';

/** `version` and `label` are never both set; neither means the highest version that serves. */
export interface ModelSpec {
  readonly name: string;
  readonly version: bigint | null;
  readonly label: string | null;
  /** '' means `serving_default`. */
  readonly signatureName: string;
}

/** A spec from its name and whatever else was said. */
export function modelSpecOf(name: string, more: Partial<Omit<ModelSpec, 'name'>> = {}): ModelSpec {
  return { name, version: more.version ?? null, label: more.label ?? null, signatureName: more.signatureName ?? '' };
}

/** The spec a parsed message holds; null where it has none. @throws WireError where a text is not UTF-8. */
export function readModelSpec(view: ModelSpecView, buf: Buffer): ModelSpec | null {
  if (!view.present) return null;
  return {
    name: view.name(buf),
    version: view.versionChoice === VersionChoice.version ? view.version() : null,
    label: view.versionChoice === VersionChoice.label ? view.label(buf) : null,
    signatureName: view.signatureName(buf),
  };
}
