/** From the name and version of an Open Inference Protocol request to servables, or the refusal. */
import type { Servable } from '../../batching/batcher.ts';
import type { ModelView, ServableView } from '../../repository/servable-view.ts';
import { DEFAULT_SIGNATURE_NAME, type Signature } from '../../session/signature.ts';
import { WorkerError } from '../../worker-error.ts';
import { malformedVersion, noVersions, unknownModel, unknownVersion } from './oip-errors.ts';

/** The servable of a model and version; '' means the highest that serves, and a label stands for its version. */
export function findOipServable(view: ServableView, name: string, version: string): Servable | WorkerError {
  const model = view.get(name);
  if (model === undefined) return unknownModel(name);
  if (version === '') return model.latest ?? noVersions(name);
  const number = versionOf(model, version);
  if (number === null) return malformedVersion(version);
  return model.byVersion.get(number) ?? unknownVersion(name, version);
}

/** As `findOipServable`. @throws WorkerError */
export function oipServable(view: ServableView, name: string, version: string): Servable {
  const found = findOipServable(view, name, version);
  if (found instanceof WorkerError) throw found;
  return found;
}

/** Versions of a model that serve, lowest first. */
export function servingVersions(model: ModelView): string[] {
  return [...model.byVersion.keys()].sort((a, b) => (a < b ? -1 : 1)).map(String);
}

function versionOf(model: ModelView, text: string): bigint | null {
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  return model.labels.get(text) ?? null;
}

/** The signature this protocol speaks of: it has no word for others. */
export function mainSignature(servable: Servable): Signature {
  const { signatures } = servable;
  return signatures.get(DEFAULT_SIGNATURE_NAME) ?? signatures.values().next().value!;
}

/** Whether rows of several requests go into one batch: every input and output begins with an open dimension. */
export function hasBatchAxis({ inputs, outputs }: Signature): boolean {
  return inputs.length > 0 && [...inputs, ...outputs].every(({ shape }) => shape[0] === -1);
}
