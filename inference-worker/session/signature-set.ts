/**
 * Makes the signatures of a servable: the graph's own, and those of a signature file once they are checked against the
 * graph. Every signature feeds all of the graph's inputs, so that requests of different signatures share batches.
 */
import { DataType } from '../../proto/tensor/dtype.ts';
import {
  CLASSES_OUTPUT,
  CLASSIFY_METHOD_NAME,
  type ExampleMapping,
  type FeatureMapping,
  REGRESS_METHOD_NAME,
  SCORES_OUTPUT,
  type Signature,
  type TensorSpec,
  VALUES_OUTPUT,
} from './signature.ts';
import type { SignatureEntry, SignatureFile } from './signature-file.ts';

/** The signatures by name, the graph's own among them unless the file has one of that name; or every mistake. */
export function signatureSet(
  graph: Signature,
  file: SignatureFile,
): { signatures: ReadonlyMap<string, Signature>; problems: readonly string[] } {
  const problems: string[] = [];
  const signatures = new Map<string, Signature>([[graph.name, graph]]);
  for (const entry of file.entries) signatures.set(entry.name, signatureOf(graph, entry, problems));
  return { signatures, problems };
}

function signatureOf(graph: Signature, entry: SignatureEntry, problems: string[]): Signature {
  const place = `signature ${entry.name}`;
  const inputs = aliasedInputs(graph, entry, place, problems);
  const { outputs, graphOutputs } = aliasedOutputs(graph, entry, place, problems);
  const { name, methodName } = entry;
  const examples = exampleMapping(entry, inputs, place, problems);
  checkMethod({ name, methodName, inputs, outputs }, place, problems);
  return { name, methodName, inputs, outputs, graphOutputs, examples };
}

function aliasedInputs(graph: Signature, entry: SignatureEntry, place: string, problems: string[]): TensorSpec[] {
  const aliasOf = new Map<string, string>();
  for (const [alias, tensor] of entry.inputs) {
    if (!graph.inputs.some((input) => input.name === tensor)) {
      problems.push(`${place}: the graph has no input ${tensor}, only ${namesOf(graph.inputs)}`);
    } else if (aliasOf.has(tensor)) problems.push(`${place}: input ${tensor} has two aliases`);
    else aliasOf.set(tensor, alias);
  }
  const inputs = graph.inputs.map((input) => ({ ...input, name: aliasOf.get(input.name) ?? input.name }));
  if (new Set(inputs.map((input) => input.name)).size < inputs.length) {
    problems.push(`${place}: two inputs have the same alias`);
  }
  return inputs;
}

function aliasedOutputs(
  graph: Signature,
  entry: SignatureEntry,
  place: string,
  problems: string[],
): { outputs: TensorSpec[]; graphOutputs: number[] } {
  const wanted = entry.outputs ?? new Map(graph.outputs.map(({ name }) => [name, name]));
  if (wanted.size === 0) problems.push(`${place}: expected at least one output`);
  const outputs: TensorSpec[] = [];
  const graphOutputs: number[] = [];
  for (const [alias, tensor] of wanted) {
    const index = graph.outputs.findIndex((output) => output.name === tensor);
    if (index < 0) {
      problems.push(`${place}: the graph has no output ${tensor}, only ${namesOf(graph.outputs)}`);
      continue;
    }
    outputs.push({ ...graph.outputs[index]!, name: alias });
    graphOutputs.push(index);
  }
  return { outputs, graphOutputs };
}

/** Without a word about features, an input's row is the feature of its alias. */
function exampleMapping(
  entry: SignatureEntry,
  inputs: readonly TensorSpec[],
  place: string,
  problems: string[],
): ExampleMapping {
  for (const alias of entry.features.keys()) {
    if (!inputs.some((input) => input.name === alias))
      problems.push(`${place}: features for an unknown input ${alias}`);
  }
  const features = inputs.map((input): FeatureMapping => {
    const row = entry.defaults.get(input.name);
    const fallback = row === undefined ? null : defaultRow(row, input.dtype);
    if (fallback?.length !== row?.length) problems.push(`${place}: the default of ${input.name} is not of its type`);
    return { from: entry.features.get(input.name) ?? [input.name], fallback };
  });
  return { features, labels: entry.labels };
}

const FLOATS: readonly number[] = [DataType.FLOAT, DataType.DOUBLE, DataType.HALF];

/** The values of a default as the feature would hold them; those of another type are left out. */
function defaultRow(row: readonly (number | string)[], dtype: number): (number | bigint | string)[] {
  if (dtype === DataType.STRING) return row.filter((value) => typeof value === 'string');
  const numbers = row.filter((value) => typeof value === 'number');
  return FLOATS.includes(dtype) ? numbers : numbers.filter(Number.isSafeInteger).map(BigInt);
}

function checkMethod(signature: Signature, place: string, problems: string[]): void {
  const has = (alias: string): boolean => signature.outputs.some((output) => output.name === alias);
  if (signature.methodName === CLASSIFY_METHOD_NAME && !has(CLASSES_OUTPUT) && !has(SCORES_OUTPUT)) {
    problems.push(`${place}: classify needs an output ${SCORES_OUTPUT} or ${CLASSES_OUTPUT}`);
  }
  if (signature.methodName === REGRESS_METHOD_NAME && !has(VALUES_OUTPUT)) {
    problems.push(`${place}: regress needs an output ${VALUES_OUTPUT}`);
  }
}

function namesOf(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => spec.name).join(', ');
}
