/** What Predict needs to know of a servable and signature, made once: the constant bytes of its answers. */
import { modelSpecField, tensorKey } from '../../proto/tensor/tensor-writer.ts';
import type { Servable } from '../batching/batcher.ts';
import { DEFAULT_SIGNATURE_NAME, type Signature } from '../session/signature.ts';
import { duplicateOutput, outputNotFound, predictSignatureNotFound, type WorkerError } from '../worker-error.ts';

export interface PredictTarget {
  readonly servable: Servable;
  readonly signature: Signature;
  /** The answer's whole `model_spec` field: name, version in force, signature. */
  readonly modelSpecField: Buffer;
  /** Aliases of the signature's outputs. */
  readonly outputNames: readonly string[];
  /** Where each of them is among the graph's outputs, which is what a call is handed. */
  readonly graphOutputs: readonly number[];
  /** Every position in `outputNames`: the choice of a request without a filter. */
  readonly allOutputs: readonly number[];
  /** The key field of each output's map entry, in the signature's order. */
  readonly outputKeys: readonly Buffer[];
}

const targets = new WeakMap<Servable, Map<string, PredictTarget>>();

/** The target for a signature name; empty means `serving_default`. Kept per servable, at most one per signature. */
export function predictTarget(servable: Servable, signatureName: string): PredictTarget | WorkerError {
  const name = signatureName === '' ? DEFAULT_SIGNATURE_NAME : signatureName;
  let known = targets.get(servable);
  if (known === undefined) {
    known = new Map();
    targets.set(servable, known);
  }
  const target = known.get(name);
  if (target !== undefined) return target;
  const signature = servable.signatures.get(name);
  if (signature === undefined) return predictSignatureNotFound(name);
  const outputNames = signature.outputs.map((output) => output.name);
  const made: PredictTarget = {
    servable,
    signature,
    modelSpecField: modelSpecField(2, servable.model, servable.version, name),
    outputNames,
    graphOutputs: signature.graphOutputs ?? outputNames.map((_, i) => i),
    allOutputs: outputNames.map((_, i) => i),
    outputKeys: outputNames.map(tensorKey),
  };
  known.set(name, made);
  return made;
}

/** Positions in `outputNames` of what `output_filter` names, in its order; all when it is empty. */
export function chooseOutputs(target: PredictTarget, filter: readonly string[]): readonly number[] | WorkerError {
  if (filter.length === 0) return target.allOutputs;
  const chosen: number[] = [];
  for (const name of filter) {
    const position = target.outputNames.indexOf(name);
    if (position < 0) return outputNotFound(name, target.outputNames);
    if (chosen.includes(position)) return duplicateOutput(name);
    chosen.push(position);
  }
  return chosen;
}
