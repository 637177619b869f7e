/**
 * Checks what the document says of adapted answers and of answers without a model. Every mistake is found here: a mapping
 * that no answer could pass is refused when it is written, not when the primary is down.
 */

import { DataType, dtypeFromOip, dtypeToOip } from '../../proto/tensor/dtype.ts';
import { canCast } from '../../proto/tensor/element-cast.ts';
import { elementsOfText } from '../../proto/tensor/element-text.ts';
import type { OutputMapping, OutputRule } from './answer-policy.ts';
import type { ModelDocument } from './document-fields.ts';
import { nearestHint } from './nearest-name.ts';
import type { ProblemList } from './problem.ts';

type FallbackDocument = ModelDocument['fallback'][number];
type AdaptDocument = NonNullable<FallbackDocument['adapt']>;
type OutputEntry = AdaptDocument['outputs'][number];

/** An output somebody has declared: dtype 0 and shape null are not known. */
export interface Signature {
  readonly name: string;
  readonly dtype: number;
  readonly shape: readonly number[] | null;
}

/** A fallback's declared outputs. */
export function checkSignature(
  outputs: FallbackDocument['outputs'],
  path: string,
  problems: ProblemList,
): readonly Signature[] {
  checkUnique(outputs, path, problems);
  return outputs.map(({ name, dtype, shape }) => ({ name, dtype: dtypeFromOip(dtype ?? ''), shape }));
}

/** The mapping of one fallback, checked against both sides as far as they are declared. */
export function checkMapping(
  adapt: AdaptDocument,
  primary: readonly Signature[],
  fallback: readonly Signature[],
  path: string,
  problems: ProblemList,
): OutputMapping {
  checkUnique(adapt.outputs, `${path}.outputs`, problems);
  checkUnique(adapt.inputs, `${path}.inputs`, problems);
  for (const [i, { from }] of adapt.inputs.entries()) {
    const first = adapt.inputs.findIndex((other) => other.from === from);
    if (first < i && from !== '') problems.add(`${path}.inputs[${i}].from`, from, 'each input once');
  }
  const keepsOthers = adapt.others === 'keep';
  const outputs = adapt.outputs.map((entry, i) =>
    checkOutput(entry, primary, fallback, `${path}.outputs[${i}]`, problems),
  );
  if (outputs.length === 0 && !keepsOthers && !problems.covers(`${path}.outputs`)) {
    problems.add(path, undefined, 'at least one output, since others are dropped');
  }
  for (const output of primary) {
    if (outputs.some(({ name }) => name === output.name)) continue;
    const kept = keepsOthers ? fallback.find(({ name }) => name === output.name) : undefined;
    // Without the fallback's signature nobody knows whether it has an output of this name.
    if (keepsOthers && fallback.length === 0) continue;
    if (kept === undefined) {
      problems.add(
        `${path}.outputs`,
        output.name,
        'an entry for each output of the model',
        'with a fill if the fallback has no such output',
      );
    } else {
      checkResult(output, kept.dtype, kept.shape, path, problems);
    }
  }
  const sources = new Set(outputs.filter(({ fill }) => fill === null).map(({ from }) => from));
  const only = fallback.length === 1 ? fallback[0]!.name : sources.size === 1 ? [...sources][0]! : '';
  return { inputs: adapt.inputs, outputs, keepsOthers, soleOutput: only };
}

function checkOutput(
  entry: OutputEntry,
  primary: readonly Signature[],
  fallback: readonly Signature[],
  path: string,
  problems: ProblemList,
): OutputRule {
  const { name, rounding, overflow, fill } = entry;
  const from = entry.from ?? name;
  const dtype = dtypeFromOip(entry.dtype ?? '');
  const rule = { name, from, dtype, shape: entry.shape, rounding, overflow, fill };
  // What could not be read says nothing about the rest.
  if (['from', 'dtype', 'shape', 'fill'].some((key) => problems.covers(`${path}.${key}`))) return rule;
  if (name === '' && !problems.covers(`${path}.name`)) problems.add(`${path}.name`, name, 'a name');
  checkShape(entry.shape, `${path}.shape`, problems);
  const target = primary.find((output) => output.name === name);
  if (primary.length > 0 && target === undefined && name !== '') {
    problems.add(
      `${path}.name`,
      name,
      'an output of the model',
      nearestHint(
        name,
        primary.map((output) => output.name),
      ),
    );
  }
  const source = fallback.find((output) => output.name === from);
  if (fallback.length > 0 && source === undefined && fill === null) {
    const hint =
      nearestHint(
        from,
        fallback.map((output) => output.name),
      ) ?? 'or a fill';
    problems.add(`${path}.from`, from, 'an output of the fallback', hint);
  }
  if (source !== undefined) checkConversion(rule, source, entry, path, problems);
  if (fill !== null) checkFill(rule, path, problems);
  if (target !== undefined) {
    const shape = rule.shape ?? source?.shape ?? null;
    checkResult(target, rule.dtype || (source?.dtype ?? DataType.INVALID), shape, path, problems);
  }
  return rule;
}

/** Whether the fallback's output can become what the entry says. */
function checkConversion(
  { dtype, shape }: OutputRule,
  source: Signature,
  entry: OutputEntry,
  path: string,
  problems: ProblemList,
): void {
  if (dtype !== DataType.INVALID && source.dtype !== DataType.INVALID && !canCast(source.dtype, dtype)) {
    problems.add(`${path}.dtype`, entry.dtype!, `a type that ${source.name}, which is of another kind, can be cast to`);
  }
  if (shape === null || source.shape === null || problems.covers(`${path}.shape`)) return;
  const [have, want] = [sizeOf(source.shape), sizeOf(shape)];
  // With open dimensions on one side only, the open one has to make up the difference.
  const isImpossible =
    have.open === want.open
      ? have.open <= 1 && have.known !== want.known
      : have.open === 0 && want.open === 1 && (want.known === 0 ? have.known !== 0 : have.known % want.known !== 0);
  if (isImpossible)
    problems.add(`${path}.shape`, shown(shape), `a shape of as many elements as ${shown(source.shape)}`);
}

/** Whether what comes out is what the primary's callers expect. */
function checkResult(
  target: Signature,
  dtype: number,
  shape: readonly number[] | null,
  path: string,
  problems: ProblemList,
): void {
  if (target.dtype !== DataType.INVALID && dtype !== DataType.INVALID && target.dtype !== dtype) {
    problems.add(`${path}.dtype`, undefined, `${dtypeToOip(target.dtype)}, as the model's ${target.name} has it`);
  }
  if (target.shape === null || shape === null) return;
  const fits =
    target.shape.length === shape.length &&
    target.shape.every((size, i) => size === -1 || shape[i] === -1 || size === shape[i]);
  if (!fits)
    problems.add(`${path}.shape`, shown(shape), `a shape that fits ${shown(target.shape)}, the model's ${target.name}`);
}

function checkFill({ dtype, shape, fill }: OutputRule, path: string, problems: ProblemList): void {
  if (dtype === DataType.INVALID) problems.add(`${path}.dtype`, undefined, 'a type, since there is a fill');
  if (shape === null) problems.add(`${path}.shape`, undefined, 'a shape, since there is a fill');
  if (dtype === DataType.INVALID || shape === null || problems.covers(`${path}.shape`)) return;
  checkConstant(dtype, shape, fill!, `${path}.fill`, problems);
}

/** A constant of this type for each row. */
export function checkConstant(
  dtype: number,
  shape: readonly number[],
  values: readonly string[],
  path: string,
  problems: ProblemList,
): void {
  if (shape.slice(1).includes(-1)) problems.add(path, shown(shape), 'a shape whose only open dimension is the first');
  const width = sizeOf(shape).known;
  if (values.length !== 1 && values.length !== width) {
    problems.add(path, String(values.length), width === 1 ? 'one value' : `one value, or ${width} for a row`);
  } else if (elementsOfText(dtype, values) === null) {
    problems.add(path, values.join(', '), 'values that the type can hold');
  }
}

/** At most one open dimension. */
function checkShape(shape: readonly number[] | null, path: string, problems: ProblemList): void {
  if (shape !== null && sizeOf(shape).open > 1) problems.add(path, shown(shape), 'at most one -1');
}

/** Each name once: two entries of one name would both be the output. */
export function checkUnique(entries: readonly { readonly name: string }[], path: string, problems: ProblemList): void {
  for (const [i, { name }] of entries.entries()) {
    const first = entries.findIndex((other) => other.name === name);
    if (first < i && name !== '')
      problems.add(`${path}[${i}].name`, name, `a name that ${path}[${first}] does not have`);
  }
}

function sizeOf(shape: readonly number[]): { readonly known: number; readonly open: number } {
  let known = 1;
  let open = 0;
  for (const size of shape) {
    if (size < 0) open++;
    else known *= size;
  }
  return { known, open };
}

export function shown(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
